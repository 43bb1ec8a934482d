import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

import skysift as ss
from skysift.compsep import pose
from skysift.compsep.devices import over_devices, take_turns, usable
from skysift.compsep.likelihood import Stream

SCRIPT = Path(__file__).with_name("on_eight_devices.py")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def facts():
    """What the script found, its warnings errors as they are here."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-W", "ignore::DeprecationWarning", str(SCRIPT)],
        env=os.environ
        | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_devices_are_usable(facts):
    assert (facts["devices"], facts["usable"], facts["usable by name"]) == (8, 8, 1)


def test_ptep_does_not_depend_on_devices(facts):
    ptep = facts["ptep"]
    assert ptep["converged"]
    assert ptep["two"] == 0.0
    assert len(ptep["on two"]["terms"]) == 2
    assert len(ptep["on two"]["bounded_solve"]) > 1  # several batches of blocks


def test_a_default_device_confines(facts):
    """Threads, blocks and devices that the stream names notwithstanding."""
    ptep = facts["ptep"]
    assert ptep["confined"] == 0.0
    names = ("terms", "bounded_solve", "masked_inverse", "amplitudes")
    assert ptep["on one"] == {name: [0] for name in names}
    assert ptep["on the other"] == {name: [1] for name in names}


def test_realisations_over_devices_are_those_in_series(facts):
    found = facts["set"]
    assert found["over eight"] == 0.0
    assert found["serially on"]["terms"] == [0]
    assert len(found["over eight on"]["terms"]) > 1


def test_one_sky_on_all_devices(facts):
    assert facts["set"]["eight"] == 0.0
    assert len(facts["set"]["on eight"]["terms"]) > 1


def test_fewer_chunks_than_devices(facts):
    few = facts["few cells"]
    assert few["count"] < 8 * 256
    assert few["count"] % 256 > 0
    assert few["eight"] == 0.0
    assert set(few["on"]["terms"]) < set(range(8))


def test_each_task_has_a_device(facts):
    tasks = facts["tasks"]
    assert tasks["items"] == list(range(16))
    assert tasks["told"] == tasks["computed"]
    assert set(tasks["told"]) == set(range(8))
    assert set(tasks["some"]) <= {3, 4}


def test_cells_reach_all_devices():
    """On accelerators chunks are larger than most skies: they shrink to what each device gets."""
    four = (usable()[0],) * 4
    stream = Stream(chunk=1 << 18, tile=1 << 18, threads=1, devices=four).spread(49_152)
    assert (stream.chunk, stream.tile, len(list(stream.chunks(49_152)))) == (12_288, 12_288, 4)
    large = Stream(chunk=1 << 18, tile=1 << 18, threads=1, devices=four).spread(12 << 20)
    assert (large.chunk, large.tile) == (1 << 18, 1 << 18)


@pytest.mark.parametrize("cells", [1, 1023, 1024, 1025, 4096, 7000, 9830, 100_000])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_chunks_of_several_devices_are_whole_tiles(cells, count):
    stream = Stream(chunk=4096, tile=1024, threads=1, devices=(usable()[0],) * count).spread(cells)
    assert stream.tile == 1024
    assert stream.chunk % stream.tile == 0
    assert stream.chunk <= 4096
    parts = list(stream.chunks(cells))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, cells)
    assert len(parts) >= min(count, -(-cells // 1024) // 2)


def test_one_device_keeps_its_chunks():
    stream = Stream.default()
    one = Stream(stream.chunk, stream.tile, stream.threads, usable()[:1])
    assert one.spread(10) == one
    assert stream.devices is None


def test_one_device_takes_turns_in_the_callers_thread():
    def task(_):
        return threading.get_ident(), jax.config.jax_default_device

    assert list(take_turns(task, range(3), usable()[:1])) == 3 * [(threading.get_ident(), None)]


def test_a_problem_travels_between_processes():
    """Devices cannot be pickled, so a problem must not hold them."""
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=2)
    problem = pose(sim.maps, "LiteBIRD")
    copy = pickle.loads(pickle.dumps(problem))
    assert copy.likelihood.stream == problem.likelihood.stream


def test_errors_wait_for_the_other_items():
    done = []

    def task(item):
        if item in (1, 3):
            raise ValueError(f"item {item}")
        done.append(item)

    with pytest.raises(ValueError, match="item 1"):
        over_devices(task, range(5))
    assert done == [0, 2, 4]


def test_results_are_in_order_and_may_be_nothing():
    assert over_devices(lambda item: None if item else 0, range(3)) == [0, None, None]
    assert over_devices(str, []) == []


@pytest.mark.parametrize("times", [0, 2])
def test_devices_are_checked(times):
    with pytest.raises(ValueError, match=r"devices: expected at least one and each once, got \["):
        over_devices(str, range(3), times * usable()[:1])
