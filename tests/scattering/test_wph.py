import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import synthesise
from skysift.scattering.families import WPH
from skysift.scattering.plane.lags import lag_vectors
from skysift.scattering.sphere.wavelets import Steerable
from skysift.scattering.statistics import Statistics

from ..oracles.phases import Sky, Waves, flat_phases, sphere_phases
from ..oracles.scattering import Legendre, bump, unpacked
from .checks import against_finite_difference, against_oracle, moments, require_converged
from .fields import peer_plane, red_alm, red_noise

LMAX, SCALES = 6, 2
ORDERS = ("S1", "S11", "S00", "S01", "C01", "Cphase")


@pytest.fixture(scope="module")
def statistic():
    return WPH.plane((32, 32), 2, 2, shifts=1, angles=2)


@pytest.fixture(scope="module")
def field():
    return red_noise((32, 32))


@pytest.fixture(scope="module")
def sphere():
    return WPH.sphere(8, 2, handed=True, moduli=True)


def still(shape, orientations):
    """No shift of any orientation."""
    return {(turn, 0, 0): (0,) * len(shape) for turn in range(orientations)}


@pytest.mark.parametrize(
    ("shape", "scales", "orientations"), [((40,), 3, 1), ((36, 45), 3, 2), ((8, 9, 10), 2, 3)]
)
def test_phases_oracle(shape, scales, orientations):
    x = red_noise(shape)
    waves = Waves(bump, orientations, shape)
    found = flat_phases(x[None], waves, scales, still(shape, orientations))
    against_oracle(WPH.plane(shape, scales, orientations)(x), found, ORDERS)


def test_phases_oracle_two_channels_and_shifts():
    shape, lags = (24, 32), {}
    x = red_noise(shape, batch=(2,))
    x[1] += 0.5 * x[0]
    statistic = WPH.plane(shape, 2, 2, channels=2, oversampling=4, shifts=2, angles=2, moduli=True)
    for turn in range(2):
        lags[turn, 0, 0] = (0, 0)
        for step in (1, 2):
            for angle in range(4):
                at = turn * np.pi / 2 - angle * np.pi / 2
                way = 2**step * np.array([np.sin(at), np.cos(at)])
                lags[turn, step, angle] = tuple(np.rint(way).astype(int).tolist())
    found = flat_phases(x, Waves(bump, 2, shape, full=True), 2, lags)
    phi = statistic(x)
    against_oracle(phi, found, (*ORDERS, "C00"))
    # The same in cells, where shifts are of the fields and of their weights.
    cells = WPH.plane(
        shape,
        2,
        2,
        channels=2,
        oversampling=4,
        shifts=2,
        angles=2,
        moduli=True,
        weights=np.full(shape, 0.3),
    )
    for a, b in zip(cells(x).values, phi.values, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-12)


def test_phases_of_another_package():
    # pywph 1.1.3, J = 4, L = 4, dn = 2, float64, not normalised: rows (j1, t1, p1, j2, t2, p2, n,
    # a) of the scales from 1 on, the finest of which is folded at the band limit there.
    rows = {
        (1, 0, 1, 1, 0, 1, 0, 0): 0.013384135749687182,
        (2, 1, 1, 2, 1, 1, 2, 3): (-0.0010448003805146834 - 0.008337873130069624j),
        (3, 2, 0, 3, 2, 0, 0, 0): 0.0011559275564123218,
        (2, 3, 0, 2, 3, 0, 1, 2): (0.0025910288092416737 + 1.5302151024191053e-19j),
        (1, 1, 0, 1, 1, 1, 0, 0): (0.0012546363591132079 - 2.776496162336749e-05j),
        (1, 0, 0, 3, 2, 1, 0, 0): (0.0012145350371678232 + 2.5526388967204907e-05j),
        (2, 3, 0, 3, 3, 1, 2, 5): (0.0004525336108640071 - 0.0004948071806561886j),
        (1, 2, 1, 3, 2, 4, 0, 0): (-0.0002668978183392467 - 0.0003381339345464046j),
        (1, 1, 1, 2, 1, 2, 1, 6): (0.0016727638589445718 + 3.029094851196481e-05j),
    }
    statistic = WPH.plane((64, 64), 4, 4, oversampling=16, shifts=2)
    raw = eqx.filter_jit(statistic.moments)(jnp.asarray(peer_plane())[None, None])
    phi = Statistics(tuple(one[0] for one in raw), statistic.layout)
    for (j1, t1, p1, j2, t2, p2, n, a), expected in rows.items():
        if (j1, t1) == (j2, t2):
            order = {(1, 1): "S11", (0, 0): "S00", (0, 1): "S01"}[p1, p2]
            axes = {"scale": j1, "orientation": t1, "shift": n, "angle": a}
        elif (p1, p2) == (0, 1):
            axes = {"scale": j1, "scale2": j2, "orientation": t1, "orientation2": t2}
            order, axes = "C01", axes | {"shift": n, "angle": a}
        else:
            order = "Cphase"
            axes = {"scale": j1, "scale2": j2, "orientation": t1, "shift": n, "angle": a}
        if order == "S01":
            axes = {"scale": j1, "orientation": t1}
        got = phi.select(order, **axes)[order]
        np.testing.assert_allclose(got, [expected], rtol=1e-9, err_msg=f"{order} {axes}")
    low = [
        0.10636403073165382,
        0.08097416425034172,
        0.25503349809710607,
        0.05592457558748595,
        0.03676528902134224,
        0.14574532314753247,
        0.0209468930144067,
        0.010808021955797872,
        0.05818326875296222,
    ]
    np.testing.assert_allclose(phi["L"], low, rtol=1e-11)


def test_lag_vectors():
    lags = [(0, 0), (1, 0), (1, 1), (2, 3)]
    vectors = lag_vectors(2, 2, lags, 2)
    np.testing.assert_array_equal(vectors[0], [[0, 0], [0, 2], [-2, 0], [4, 0]])
    np.testing.assert_array_equal(vectors[1], [[0, 0], [2, 0], [0, 2], [0, -4]])
    np.testing.assert_array_equal(lag_vectors(1, 1, [(2, 0), (2, 1)], 1)[0], [[4], [-4]])


def test_variance_of_a_modulus(statistic, field):
    phi = statistic(field)
    S00 = phi.select("S00", shift=0)["S00"]
    np.testing.assert_allclose(S00, 1.0, rtol=1e-12)
    twice = statistic(2.0 * field, reference=phi)
    np.testing.assert_allclose(twice["S00"], 4.0 * phi["S00"], rtol=1e-11)
    np.testing.assert_allclose(twice["C01"], 4.0 * phi["C01"], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(twice["S1"], 2.0 * phi["S1"], rtol=1e-12)


def test_phases_of_a_gaussian_field_are_random(statistic):
    x = red_noise((32, 32), skewed=False, batch=(60,))
    skewed = statistic(np.exp(0.5 * x))
    phi = statistic(x)
    for order in ("S01", "C01", "Cphase"):
        values = np.real(np.asarray(phi[order]))
        error = values.std(axis=0, ddof=1) / np.sqrt(60.0)
        assert np.max(np.abs(values.mean(axis=0)) / error) < 4.5
        signal = np.real(np.asarray(skewed[order])).mean(axis=0)
        assert np.max(np.abs(signal) / error) > 10.0


def test_batch_is_a_loop(statistic):
    x = red_noise((32, 32), batch=(2,))
    phi = statistic(x)
    for where in range(2):
        for a, b in zip(phi.values, statistic(x[where]).values, strict=True):
            np.testing.assert_allclose(a[where], b, rtol=1e-10, atol=1e-14)


def test_translation(statistic, field):
    phi, moved = statistic(field), statistic(np.roll(field, (2, 6), (0, 1)))
    for a, b in zip(moved.values, phi.values, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize(
    ("move", "turned", "wrapped", "angle"),
    [
        (
            lambda x: np.roll(np.flip(x, 1), 1, 1).T,
            lambda turn: (turn + 1) % 2,
            lambda turn: turn == 0,
            lambda angle: angle,
        ),
        (
            lambda x: np.roll(np.flip(x, 0), 1, 0),
            lambda turn: -turn % 2,
            lambda turn: turn == 1,
            lambda angle: -angle % 4,
        ),
    ],
    ids=["right angle", "flip"],
)
def test_rotation_and_flip(statistic, field, move, turned, wrapped, angle):
    # A coefficient of the opposite direction is the conjugate; its shift is the opposite too.
    phi, moved = statistic(field), statistic(move(field))
    for order in ("S11", "S00", "S01", "C01", "Cphase"):
        table = phi.layout[order]
        place = {tuple(row): n for n, row in enumerate(table.index.tolist())}
        checked = 0
        for row, value in zip(table.index.tolist(), np.asarray(phi[order]), strict=True):
            named = dict(zip(table.axes, row, strict=True))
            second = named.get("orientation2", named["orientation"])
            for axis in ("orientation", "orientation2"):
                if axis in named:
                    named[axis] = turned(named[axis])
            if named.get("shift"):
                named["angle"] = angle(named["angle"])
                if wrapped(second):
                    named["angle"] = (named["angle"] + 2) % 4
            at = place.get(tuple(named.values()))
            if at is None:
                continue
            checked += 1
            expected = np.conj(value) if wrapped(second) else value
            np.testing.assert_allclose(np.asarray(moved[order])[at], expected, atol=1e-12)
        assert checked >= 0.6 * table.size


def test_gradient_finite_difference():
    # Where a coefficient is near zero, its phase turns fast.
    statistic = WPH.plane((16, 16), 2, 2, shifts=1, angles=2)
    step = np.random.default_rng(6).standard_normal((16, 16))
    against_finite_difference(statistic, red_noise((16, 16)), step, 1e-7, 1e-6)


def test_masked_gaussian_field_is_unbiased():
    weights = np.ones((64, 64))
    weights[10:30, 20:50] = 0.0
    x = red_noise((64, 64), skewed=False, batch=(60,))
    whole, part = (
        WPH.plane((64, 64), 3, 2, weights=w, shifts=1, angles=1, moduli=True)
        for w in (None, weights)
    )
    full, left = whole(x), part(np.where(weights > 0.0, x, np.nan), reference=None)
    assert left.masked == 600
    for order in (*ORDERS, "C00", "L"):
        for side in (np.real, np.imag):
            values = side(np.asarray(left[order])) - side(np.asarray(full[order]))
            error = values.std(axis=0, ddof=1) / np.sqrt(60.0)
            assert np.all(np.abs(values.mean(axis=0)) <= 4.5 * error + 1e-12), order


def test_single_precision(statistic, field):
    phi, single = statistic(field), statistic(field.astype(np.float32))
    assert all(one.dtype in (np.float32, np.complex64) for one in single.values)
    for a, b in zip(single.values, phi.values, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-4 * np.abs(b).max())


def test_bad_input(statistic, field):
    with pytest.raises(ValueError, match="power at every scale, got none at"):
        statistic(np.ones((32, 32)))
    wave = np.cos(2.0 * np.pi * 8.0 * np.arange(32) / 32) * np.ones((32, 1))
    with pytest.raises(ValueError, match="got none"):
        statistic(wave)
    with pytest.raises(ValueError, match="shifts: expected 0 to 4 for a field"):
        WPH.plane((32, 32), 3, shifts=5)
    with pytest.raises(ValueError, match="angles: expected 1 for a field of this shape, got 4"):
        WPH.plane((32,), 3, 1, shifts=1, angles=4)
    with pytest.raises(ValueError, match="reference: expected statistics of wavelet phase"):
        statistic(field, reference=WPH.plane((16, 16), 1, 1)(field[:16, :16]))
    with pytest.raises(ValueError, match="away from the mask at every scale"):
        statistic(np.where(np.arange(32) % 4 == 0, np.nan, field))


def test_a_region_narrower_than_a_shift_is_refused(field):
    kept = np.zeros((32, 32))
    kept[:, :13] = 1.0
    statistic = WPH.plane((32, 32), 1, 2, shifts=4, angles=1, weights=kept)
    with pytest.raises(ValueError, match="in pairs of cells away from the mask at region 0"):
        statistic(field)


def test_one_scale(field):
    phi = WPH.plane((32, 32), 1, 4)(field)
    assert phi["C01"].shape == phi["Cphase"].shape == (0,)
    assert phi["S01"].shape == (4,)


def test_synthesis():
    statistic = WPH.plane((16, 16), 2, 2)
    target = statistic(red_noise((16, 16), seed=2))
    require_converged(synthesise(target, statistic, samples=1, seed=1, tolerance=0.1), 0.1)


def test_sphere_oracle():
    statistic = WPH.sphere(
        4,
        SCALES,
        lmax=LMAX,
        channels=2,
        handed=True,
        moduli=True,
        wavelet=Steerable(2),
        harmonics=2,
    )
    alms = red_alm(LMAX, seed=3, batch=(2,))
    alms[:, 0] = 2.0
    alms[1] += 0.5 * alms[0]
    grids = [Legendre(statistic.bank.grid(scale).lmax) for scale in range(SCALES)]
    bands = [statistic.bank.band(scale) for scale in range(SCALES)]
    sky = Sky(LMAX, grids, 2, 5, 2)
    found = sphere_phases([unpacked(alm, LMAX) for alm in alms], sky, SCALES, bands)
    values = moments(statistic, alms).values()
    phi = Statistics(tuple(jnp.asarray(one) for one in values), statistic.layout)
    against_oracle(phi, found, (*ORDERS, "C00"), 1e-9)


def test_sphere_rotation_and_mirror(sphere):
    alm = red_alm(16, seed=3)
    phi = moments(sphere, alm)
    turned = alm.copy()
    hp.rotate_alm(turned, 0.5, 1.1, -0.7)
    rotated, mirrored = moments(sphere, turned), moments(sphere, np.conj(alm))
    tolerance = {"S11": 1e-10, "S1": 2e-3, "Cphase": 0.05}
    for order in (*ORDERS, "C00"):
        margin = tolerance.get(order, 0.02) * np.abs(phi[order]).max()
        np.testing.assert_allclose(rotated[order], phi[order], 0.0, margin, err_msg=order)
        table = sphere.layout[order]
        sign = 1.0 - 2.0 * table.column("part") if "part" in table.axes else 1.0
        np.testing.assert_allclose(mirrored[order], sign * phi[order], 0.0, 1e-11)


def test_sphere_even_products_only(sphere):
    even = WPH.sphere(8, 2, moduli=True)
    alm = red_alm(16, seed=3)
    whole = Statistics(tuple(jnp.asarray(v) for v in moments(sphere, alm).values()), sphere.layout)
    kept = moments(even, alm)
    np.testing.assert_allclose(kept["C01"], whole.select("C01", part=0)["C01"], rtol=1e-12)
    odd = WPH.sphere(4, 2, lmax=LMAX, channels=2, pseudoscalar=(False, True), directions=5).layout
    for order in ("S01", "C01"):
        table = odd[order]
        np.testing.assert_array_equal(table.column("part"), table.column("channel2"))
    assert set(odd["Cphase"].column("channel")) == {0}
    assert not np.any(odd["S11"].column("channel") != odd["S11"].column("channel2"))


def test_sphere_gradient():
    statistic = WPH.sphere(
        4, SCALES, lmax=LMAX, handed=True, moduli=True, wavelet=Steerable(2), harmonics=2
    )
    x, step = np.random.default_rng(5).standard_normal((2, 192))
    against_finite_difference(statistic, x, step, 1e-7, 1e-6)


def test_sphere_masked_gaussian_field_is_unbiased():
    maps = np.stack([hp.alm2map(one, 16, lmax=24) for one in red_alm(24, batch=(30,))])
    theta, _ = hp.pix2ang(16, np.arange(3072))
    weights = (theta > 0.9).astype(float)
    whole, part = (WPH.sphere(16, 2, lmax=24, weights=w, directions=5) for w in (None, weights))
    full, left = whole(maps), part(maps)
    for order in ORDERS:
        difference = np.asarray(left[order]) - np.asarray(full[order])
        error = difference.std(axis=0, ddof=1) / np.sqrt(30.0)
        margin = 4.5 * error + 0.02 * np.abs(np.asarray(full[order]).mean(axis=0))
        assert np.all(np.abs(difference.mean(axis=0)) <= margin), order
