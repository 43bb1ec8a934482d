import numpy as np
import pytest
from scipy import integrate

from skysift.compsep import GaussianPrior
from skysift.cosmology.covariance import BandpowerCovariance
from skysift.cosmology.likelihoods import HamimecheLewis, Wishart
from skysift.cosmology.tensor_ratio import FreeLensing, TensorRatio, fit_r
from skysift.harmonic import CMBSpectra, spectra
from skysift.sky import simulate

THEORY = CMBSpectra.packaged()
LMAX = 100
NOISE = (2.5 * np.pi / 10800) ** 2
ELL = np.arange(LMAX + 1)


def power(r, a_lens=1.0):
    return THEORY.cl(r=r, a_lens=a_lens, lmax=LMAX)[2] + NOISE


def drawn(r, count, seed):
    """Spectra of full-sky Gaussian fields."""
    dof = 2 * ELL + 1
    return power(r) * np.random.default_rng(seed).chisquare(dof, (count, LMAX + 1)) / dof


@pytest.mark.parametrize("r", [0.0, 0.003, 0.05, 1.0])
@pytest.mark.parametrize("a_lens", [1.0, 0.3, 0.0])
def test_theory_gives_its_r_back(r, a_lens):
    result = fit_r(power(r, a_lens), noise=NOISE, fsky=1.0, a_lens=a_lens)
    assert abs(result.r - r) < 1e-6
    np.testing.assert_allclose(result.model, power(r, a_lens)[2:], rtol=1e-5)
    covariance = BandpowerCovariance.analytic(power(0.01), 0.7 * (2 * ELL + 1))
    other = fit_r(
        power(r, a_lens),
        noise=NOISE,
        fsky=0.7,
        a_lens=a_lens,
        likelihood=HamimecheLewis(covariance),
    )
    assert abs(other.r - r) < 1e-6


def test_free_lensing_amplitude_is_found_and_costs_precision():
    result = fit_r(power(0.01, 0.6), noise=NOISE, fsky=1.0, a_lens=FreeLensing())
    assert result.r == pytest.approx(0.01, abs=0.05 * result.sigma_plus)
    assert result.a_lens == pytest.approx(0.6, abs=0.2 * result.a_lens_error)
    held = fit_r(power(0.01, 0.6), noise=NOISE, fsky=1.0, a_lens=0.6)
    assert result.sigma_plus > 1.2 * held.sigma_plus
    tight = FreeLensing(GaussianPrior(0.6, 1e-4))
    known = fit_r(power(0.01, 0.6), noise=NOISE, fsky=1.0, a_lens=tight)
    assert known.sigma_plus == pytest.approx(held.sigma_plus, rel=1e-3)
    assert known.a_lens_error == pytest.approx(1e-4, rel=0.01)


def test_free_lensing_agrees_with_an_integral_over_the_amplitude():
    observed = drawn(0.02, 1, 5)[0]
    result = fit_r(observed, noise=NOISE, fsky=1.0, a_lens=FreeLensing())
    likelihood = Wishart.of_fsky(1.0, ELL[2:])

    def density(a, r):
        model = r * THEORY.tensor[2, 2 : LMAX + 1] + NOISE
        model = model + a * THEORY.lensed_scalar[2, 2 : LMAX + 1]
        return np.exp(likelihood.log_likelihood(observed[2:], model) + 60.0)

    for point in (100, 180, 260):
        pair = result.grid[[point, 150]]
        areas = [integrate.quad(density, 0.5, 1.5, args=(r,), epsrel=1e-8)[0] for r in pair]
        expected = result.likelihood[point] / result.likelihood[150]
        assert areas[0] / areas[1] == pytest.approx(expected, rel=1e-5)


def test_limits_agree_with_numeric_quantiles():
    observed = power(0.002)
    result = fit_r(observed, noise=NOISE, fsky=0.2)
    likelihood = Wishart.of_fsky(0.2, ELL[2:])

    def density(r):
        model = r * THEORY.tensor[2, 2 : LMAX + 1] + power(0.0)[2:]
        return float(np.exp(likelihood.log_likelihood(observed[2:], model)))

    def mass(low, high):
        return integrate.quad(density, low, high, epsabs=0, epsrel=1e-9, limit=200)[0]

    best, least, most = 0.002, result.grid[0], result.grid[-1]
    for level in (0.68, 0.95):
        low, high = result.limits(level)
        assert mass(low, best) / mass(least, best) == pytest.approx(level, abs=1e-4)
        assert mass(best, high) / mass(best, most) == pytest.approx(level, abs=1e-4)
    top = result.upper(0.95)
    assert mass(least, top) / mass(least, most) == pytest.approx(0.95, abs=1e-4)
    assert result.sigma_plus > 1.05 * result.sigma_minus
    assert result.r + result.sigma_plus == pytest.approx(result.limits(0.68)[1])


def test_range_that_misses_is_widened_and_said():
    free = fit_r(power(0.01), noise=NOISE, fsky=1.0)
    assert free.notes == ()
    for r_range in ((-0.005, 0.005), (0.5, 0.6), (-3.0, -2.0), (0.0099, 0.0101)):
        result = fit_r(power(0.01), noise=NOISE, fsky=1.0, r_range=r_range)
        assert result.r == pytest.approx(free.r, abs=1e-8)
        assert result.sigma_plus == pytest.approx(free.sigma_plus, rel=1e-3)
        assert "it was widened to" in result.notes[0]
    wide = fit_r(power(0.01), noise=NOISE, fsky=1.0, r_range=(-1e-4, 100.0))
    assert wide.notes == ()
    assert wide.sigma_plus == pytest.approx(free.sigma_plus, rel=1e-3)
    assert np.all(free.likelihood[[0, -1]] < np.exp(-12.0))


def test_negative_r_is_found_unless_it_must_be_physical():
    low = power(0.0) - 5e-5 * THEORY.tensor[2, : LMAX + 1]
    free = fit_r(low, noise=NOISE, fsky=1.0)
    assert free.r == pytest.approx(-5e-5, abs=1e-8)
    kept = fit_r(low, noise=NOISE, fsky=1.0, physical=True)
    assert kept.r == 0.0
    assert kept.sigma_minus == 0.0
    assert kept.grid[0] == 0.0
    assert 0 < kept.limits(0.68)[1] < kept.upper(0.95) == pytest.approx(kept.limits(0.95)[1])


def test_debiased_spectra_are_those_with_their_noise_back():
    observed = drawn(0.01, 3, 2)
    plain = fit_r(observed, noise=NOISE, fsky=1.0)
    other = fit_r(observed - NOISE, noise=NOISE, fsky=1.0, debiased=True)
    np.testing.assert_allclose(other.r, plain.r, atol=1e-9)
    np.testing.assert_allclose(other.sigma_plus, plain.sigma_plus, rtol=1e-6)


@pytest.mark.parametrize("r", [0.0, 0.01])
def test_estimates_are_unbiased_and_their_intervals_honest(r):
    count = 300
    result = fit_r(drawn(r, count, 11), noise=NOISE, fsky=1.0)
    assert result.r.shape == result.sigma_plus.shape == (count,)
    assert result.grid.shape == result.likelihood.shape
    error = result.r.std() / np.sqrt(count)
    assert abs(result.r.mean() - r) < 2.5 * error
    low, high = result.limits(0.68)
    covered = np.mean((low <= r) & (r <= high))
    assert abs(covered - 0.68) < 2.5 * np.sqrt(0.68 * 0.32 / count)


def test_realisations_together_are_those_one_by_one():
    observed = drawn(0.005, 4, 0).reshape(2, 2, -1)
    for a_lens in (1.0, FreeLensing()):
        together = fit_r(observed, noise=NOISE, fsky=0.5, a_lens=a_lens)
        alone = fit_r(observed[1, 0], noise=NOISE, fsky=0.5, a_lens=a_lens)
        assert together.r.shape == (2, 2)
        assert together.r[1, 0] == pytest.approx(alone.r, abs=2e-3 * alone.sigma_plus)
        assert together.sigma_plus[1, 0] == pytest.approx(alone.sigma_plus, rel=2e-3)
        assert together.model.shape == (2, 2, LMAX - 1)


def test_simulated_skies_have_the_r_of_their_tag():
    # Simulation and model share the convention n_t = 0. With n_t = -r / 8 of r = 1, normalised at
    # the pivot, the template is larger at low l: this many multipoles tell the two apart.
    skies = [
        simulate("cr100", "LiteBIRD", nside=32, noise_ratio=0.0, seed=seed).truth.components["cmb"]
        for seed in range(6)
    ]
    observed = spectra(skies[0].replace(np.stack([sky.values for sky in skies])))
    result = fit_r(observed, noise=0.0)
    error = np.mean(result.sigma_plus) / np.sqrt(len(skies))
    assert abs(result.r.mean() - 0.1) < 2.5 * error
    tilted = THEORY.tensor * np.linspace(2.0, 1.0, 81)[np.minimum(np.arange(THEORY.lmax + 1), 80)]
    other = fit_r(observed, CMBSpectra(THEORY.lensed_scalar, tilted), noise=0.0)
    assert abs(other.r.mean() - 0.1) > 10 * error


def test_dataset_round_trip(tmp_path):
    for observed in (power(0.01), drawn(0.01, 3, 0)):
        result = fit_r(observed, noise=NOISE, fsky=1.0, r_range=(0.0, 1e-3))
        data = result.to_dataset()
        data.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
        again = TensorRatio.from_dataset(data.load())
        for name in ("r", "sigma_minus", "sigma_plus", "grid", "likelihood", "model"):
            np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
        assert again.notes == result.notes
        assert again.name == result.name
        assert data.attrs["tensor_index"] == 0.0
    with pytest.raises(ValueError, match="data: expected the dataset of a tensor-to-scalar ratio"):
        TensorRatio.from_dataset(data.drop_vars("grid"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": None}, "noise: expected the power of the noise in `observed`"),
        ({"noise": np.zeros(5)}, "noise: expected one number or 101"),
        ({"noise": -1e-6}, "noise: expected power not below zero, got -1e-06"),
        ({"noise": np.where(ELL == 5, np.nan, 0.0)}, "noise: expected finite power"),
        ({"fsky": None}, "fsky: expected the fraction of the sky behind the C_l, got none"),
        ({"fsky": 1.5}, "fsky: expected a fraction of the sky above 0 and at most 1, got 1.5"),
        ({"lmin": 1}, "lmin, lmax: expected 2 <= lmin <= lmax <= 100"),
        ({"lmin": 50, "lmax": 40}, "got 50 and 40"),
        ({"lmax": 101}, "got 2 and 101"),
        ({"a_lens": -1.0}, "a_lens: expected a number not below zero"),
        ({"r_range": (1.0, 0.0)}, "r_range: expected two finite numbers"),
        ({"likelihood": Wishart.of_fsky(1.0, np.arange(2, 9))}, "likelihood: expected one of the"),
        ({"observed": np.ones(2)}, r"observed: expected C_l\^BB from l = 0"),
        ({"observed": power(0.0) * np.where(ELL == 7, -1, 1)}, "at l = 7 and 0 more"),
        ({"observed": power(0.0) * np.where(ELL == 7, np.nan, 1)}, "got nan at l = 7"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"observed": power(0.0), "noise": NOISE, "fsky": 1.0} | change
    with pytest.raises(ValueError, match=message):
        fit_r(arguments.pop("observed"), **arguments)


def test_level_is_a_probability():
    result = fit_r(power(0.01), noise=NOISE, fsky=1.0)
    with pytest.raises(ValueError, match="level: expected a probability"):
        result.limits(95)
