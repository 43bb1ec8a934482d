"""Separations on eight forced host devices; `test_devices` runs this in a process of its own.

JAX counts its devices once, when it starts. Prints what was measured.
"""

import dataclasses
import json
import sys
import threading

import jax
import numpy as np

import problems
import skysift as ss
from skysift.compsep import Problem, Separation, blocks, likelihood, pose, solve
from skysift.compsep.devices import over_devices, usable

DEVICES = tuple(jax.devices())
SEEDS = range(16)
SEEN: dict[str, set[int]] = {}


def watch(module, name):
    """Note on which devices the results of a compiled function are."""
    function = getattr(module, name)

    def noting(*arguments):
        out = function(*arguments)
        for leaf in jax.tree.leaves(out):
            SEEN.setdefault(name, set()).update(device.id for device in leaf.devices())
        return out

    setattr(module, name, noting)


def seen() -> dict[str, list[int]]:
    """Devices in use since this was asked last."""
    out = {name.lstrip("_"): sorted(ids) for name, ids in SEEN.items()}
    SEEN.clear()
    return out


def streamed(problem: Problem, **settings) -> Problem:
    stream = dataclasses.replace(problem.likelihood.stream, **settings)
    return dataclasses.replace(
        problem, likelihood=dataclasses.replace(problem.likelihood, stream=stream)
    )


def difference(one: Separation, other: Separation) -> float:
    """Largest relative difference of parameters, errors, objective, CMB and chi squared."""

    def numbers(fit: Separation) -> np.ndarray:
        cmb = np.asarray(fit.components["cmb"].values).ravel()
        return np.concatenate([fit.theta, *fit.errors.values(), [fit.objective], cmb, fit.chi2])

    a, b = numbers(one), numbers(other)
    assert np.array_equal(np.isnan(a), np.isnan(b))
    known = ~np.isnan(a) & (a != b)
    return float(np.max(np.abs(a[known] / b[known] - 1.0), initial=0.0))


def ptep(facts: dict) -> None:
    """PTEP-64 on one device, on two, and on one of these when only it may be used."""
    reference = problems.ptep64()
    with jax.default_device(DEVICES[0]):
        problem = pose(reference.maps, **reference.arguments)
        alone = solve(problem)
    facts["ptep"] = {"converged": alone.status.converged, "on one": seen()}
    two = streamed(problem, devices=DEVICES[:2])
    facts["ptep"] |= {"two": difference(solve(two), alone), "on two": seen()}
    with jax.default_device(DEVICES[1]):
        facts["ptep"] |= {"confined": difference(solve(two), alone), "on the other": seen()}


def realisations(facts: dict) -> None:
    """A small sky on all devices, then a set of realisations over them and one after the other.

    A model and maps of which little has to be compiled, eight times.
    """
    sims = [ss.simulate("c1s1", "LiteBIRD", nside=16, seed=seed, stokes="I") for seed in SEEDS]
    patches = ss.Patches.kmeans(sims[0].maps.grid, beta_pl=40, seed=0)
    options = ss.SolverOptions(errors=False)

    def posed(maps: ss.Maps, patches: ss.Patches | None = None) -> Problem:
        whole = pose(maps, "LiteBIRD", "c+s", patches, options=options)
        return streamed(whole, chunk=256, tile=256)

    problem = posed(sims[0].maps, patches)

    def fit(seed: int) -> Separation:
        return solve(problem.with_maps(sims[seed].maps))

    with jax.default_device(DEVICES[0]):
        serial = over_devices(fit, SEEDS)
    facts["set"] = {"serially on": seen()}
    facts["set"] |= {"eight": difference(fit(0), serial[0]), "on eight": seen()}
    fits = over_devices(fit, SEEDS)
    worst = max(difference(a, b) for a, b in zip(fits, serial, strict=True))
    facts["set"] |= {"over eight": worst, "over eight on": seen()}

    few = sims[0].maps.masked(ss.galactic_mask("GAL020", nside=16))
    small = posed(few)
    with jax.default_device(DEVICES[0]):
        alone = solve(small)
    seen()
    facts["few cells"] = {"count": small.likelihood.cells, "eight": difference(solve(small), alone)}
    facts["few cells"] |= {"on": seen()}


def tasks(facts: dict) -> None:
    """Tasks that all wait for each other: they end only if each device has one at a time."""
    together = threading.Barrier(len(DEVICES), timeout=60)

    def task(item: int) -> tuple[int, int, int]:
        together.wait()
        return item, usable()[0].id, jax.numpy.ones(1).device.id

    items, told, computed = zip(*over_devices(task, range(2 * len(DEVICES))), strict=True)
    facts["tasks"] = {"items": items, "told": told, "computed": computed}
    some = over_devices(lambda _: usable()[0].id, range(20), DEVICES[3:5])
    facts["tasks"] |= {"some": sorted(set(some))}


def main() -> None:
    for name in ("_terms", "_amplitudes"):
        watch(likelihood, name)
    for name in ("_bounded_solve", "_masked_inverse"):
        watch(blocks, name)
    facts: dict = {"devices": len(DEVICES), "usable": len(usable())}
    with jax.default_device("cpu"):
        facts["usable by name"] = len(usable())
    ptep(facts)
    realisations(facts)
    tasks(facts)
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
