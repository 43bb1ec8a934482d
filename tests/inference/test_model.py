"""Models: what maps they take and refuse, and their files."""

import json
import warnings

import equinox as eqx
import healpy as hp
import jax
import numpy as np
import pytest

import skysift as ss
from skysift.grid import Grid, Ordering
from skysift.inference.heads import Scoring
from skysift.inference.model import Family, Model, Network, load, packaged, start
from skysift.inference.regions import FullSky, RandomCaps, Shared, cap
from skysift.inference.simulators import GaussianSky, Split, t4
from skysift.inference.summaries import Filter, Filtered
from skysift.inference.theory import OpticalDepth
from skysift.maps import Stokes
from skysift.units import Unit

FULL = t4(nside=2)


def untrained(simulator):
    """A model that knows nothing yet."""
    kind = Filter.ANALYSIS if isinstance(simulator.region, FullSky) else Filter.PSEUDO
    network = Network(Filtered.of(simulator, kind=kind), Scoring(components=1, width=4))
    members = start(network, simulator.prior.size, jax.random.key(0), 2)
    rng = np.random.default_rng(0)
    # Zeros at the start would hide what maps do.
    members = jax.tree.map(
        lambda leaf: (
            leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)
            if eqx.is_inexact_array(leaf)
            else leaf
        ),
        members,
    )
    return Model(network, members, Family.of(simulator), {"note": "untrained"})


@pytest.fixture(scope="module")
def model():
    return untrained(FULL)


@pytest.fixture(scope="module")
def maps():
    return np.asarray(FULL.batch(Split.TEST.key(0), 2)[1].values, float)


@pytest.fixture(scope="module")
def expected(model, maps):
    return model(maps).mean


def test_batches_do_not_matter(model, maps, expected):
    np.testing.assert_allclose(model(maps[0]).mean, expected[:1], rtol=1e-4)
    np.testing.assert_allclose(
        model(np.concatenate([maps] * 70)).mean, np.tile(expected, (70, 1)), rtol=1e-4
    )


def test_ordering_and_maps_with_headers(model, maps, expected):
    nested = maps[..., hp.nest2ring(2, np.arange(48))]
    np.testing.assert_allclose(model(nested, ordering=Ordering.NESTED).mean, expected, rtol=1e-6)
    held = ss.Maps(nested, Grid(2, Ordering.NESTED), Stokes.QU)
    np.testing.assert_allclose(model(held).mean, expected, rtol=1e-6)
    more = np.concatenate([np.full_like(maps[:, :1], np.nan), maps], axis=1)
    of_all = ss.Maps(more, Grid(2), Stokes.IQU)
    np.testing.assert_allclose(model(of_all).mean, expected, rtol=1e-6)
    assert not np.allclose(model(nested).mean, expected, rtol=1e-3)


def with_value(maps, value):
    out = maps.copy()
    out[0, 0, 3] = value
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: hp.ud_grade(m[0], 4), r"expected nside 2 \(48 cells\), got nside 4"),
        (lambda m: m[..., :40], "got no full sky"),
        (lambda m: m[:, :1], r"expected shape \(map, 2, 48\)"),
        (lambda m: with_value(m, np.nan), "expected values in all cells.*got 1 missing"),
        (lambda m: with_value(m, hp.UNSEEN), "expected values in all cells"),
        (lambda m: with_value(m, np.inf), "expected values in all cells"),
        (lambda m: ss.Maps(m, Grid(2), Stokes.QU, Unit.UK_RJ), "expected the unit 'uK_CMB'"),
        (lambda m: ss.Maps(m[:, :1], Grid(2), Stokes.I), "expected Stokes QU"),
    ],
)
def test_maps_of_another_kind_are_refused(model, maps, change, message):
    with pytest.raises(ValueError, match=message):
        model(change(maps))


def test_bare_values_with_a_unit(model, maps):
    with pytest.raises(ValueError, match="expected the unit"):
        model(maps, unit=Unit.MJY_SR)


def test_masks_that_a_model_does_not_know_warn(model, maps):
    mask = np.ones(48, dtype=bool)
    mask[3] = False
    with pytest.warns(UserWarning, match="trained on the full sky; 2 of 2 maps"):
        model(with_value(maps, np.nan), mask=mask)
    with pytest.raises(ValueError, match="mask: expected booleans of shape"):
        model(maps, mask=mask.astype(float))
    with pytest.raises(ValueError, match="expected at least one cell seen"):
        model(maps, mask=~np.ones(48, dtype=bool))


def test_models_of_one_mask_see_no_more_than_it(maps):
    mask = cap(0.5, 2)
    simulator = GaussianSky(OpticalDepth(5), 2, region=Shared(Grid.from_mask(mask)))
    model = untrained(simulator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everywhere = model(maps).mean
        holes = np.where(mask, maps, hp.UNSEEN)
        np.testing.assert_array_equal(model(holes).mean, everywhere)
    holes[0, 0, np.flatnonzero(mask)[0]] = np.nan
    with pytest.warns(UserWarning, match="one mask, which has more cells; 1 of 2 maps"):
        model(holes)


def test_models_of_random_caps_know_their_size(maps):
    model = untrained(GaussianSky(OpticalDepth(5), 2, region=RandomCaps(0.5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(maps, mask=cap(0.5, 2, seed=5))
    with pytest.warns(UserWarning, match=r"caps of 0\.5 of the sky"):
        model(maps, mask=cap(0.1, 2))


def test_files_hold_all_of_a_model(model, maps, expected, tmp_path):
    path = model.save(tmp_path / "depth.skysift")
    again = load(path)
    np.testing.assert_array_equal(again(maps).mean, expected)
    assert again.family == model.family
    assert again.figures == {"note": "untrained"}


def test_files_that_are_not_whole_are_refused(model, tmp_path):
    path = model.save(tmp_path / "depth.skysift")
    raw = path.read_bytes()
    head, start_of = raw.split(b"\n")[1], raw.index(b"\n") + 1
    said = json.loads(head)

    def replaced(**changes):
        other = json.dumps({**said, **changes}).encode()
        return raw[:start_of] + other + raw[start_of + len(head) :]

    flipped = raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:]
    for content, message in (
        (flipped, "damaged"),
        (raw[:-100], "damaged"),
        (raw[: start_of + 50], "damaged"),
        (b"SIMPLE  = T", "expected a file of skysift.inference"),
        (replaced(version=99), "expected version 1 of the format, got 99"),
        (replaced(kind="checkpoint"), "expected a model, got a checkpoint"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load(path)
    header = said["header"] | {"members": 3}
    path.write_bytes(replaced(header=header))
    with pytest.raises(ValueError, match="expected arrays of the shapes"):
        load(path)
    wrong = json.loads(
        json.dumps(said["header"])
        .replace("OpticalDepth", "Other")
        .replace("skysift.inference.summaries:Filtered", "os:system")
    )
    path.write_bytes(replaced(header=wrong))
    with pytest.raises(ValueError, match="expected a class of skysift"):
        load(path)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="name: expected a file, or a packaged model"):
        load("no-such-model")
    assert all(path.is_file() for path in packaged().values())
