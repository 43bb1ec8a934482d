r"""The tensor-to-scalar ratio of observed B-mode power.

The model of the power in a bin is $C_b(r, A) = r\, T_b + A\, L_b + N_b$ with tensors at r = 1,
lensing and noise. Tensors have the spectral index n_t = 0 at every r, pivot 0.05 / Mpc, as in
`CMBSpectra`, from which simulated skies are drawn as well: the model is exactly linear in r.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from skysift.compsep import GaussianPrior
from skysift.cosmology.adaptive_grid import Axis, Density, adapt
from skysift.cosmology.likelihoods import AbstractLikelihood, Wishart
from skysift.cosmology.power import Power, power_of
from skysift.harmonic import CMBSpectra
from skysift.harmonic.bandpowers import Bandpowers

if TYPE_CHECKING:
    import xarray as xr

_COARSE, _FINE, _CLOSE = (33, 17), (401, 65), 9
_CHUNK = 1 << 22  # numbers of a model held at once


@dataclass(frozen=True)
class FreeLensing:
    """Amplitude of lensing B modes that is fitted and marginalised over.

    Args:
        prior: of the amplitude, flat by default.
    """

    prior: GaussianPrior | None = None

    def log_prior(self, a_lens: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Logarithm of the prior, up to a constant."""
        if self.prior is None:
            return np.zeros(np.shape(a_lens))
        return -0.5 * ((a_lens - self.prior.mean) / self.prior.sigma) ** 2


@dataclass(frozen=True, eq=False)
class TensorRatio:
    """Posterior of the tensor-to-scalar ratio, flat prior; of many realisations with leading axes.

    Args:
        r: where the posterior is greatest.
        grid: values of r that reach down to 12.5 below the maximum in ln L, or to where the model
            ends.
        likelihood: on the grid, marginalised over a free lensing amplitude, greatest value 1.
        a_lens: lensing amplitude: as given, or the mean of its posterior.
        a_lens_error: its standard deviation, zero where it was given.
        power: what was fitted, bin by bin.
        name: of the likelihood.
        physical: whether r (and a free lensing amplitude) was kept from falling below zero.
        notes: what a reader should know of the fit.
    """

    r: Float[np.ndarray, "*realisation"]
    grid: Float[np.ndarray, "*realisation point"]
    likelihood: Float[np.ndarray, "*realisation point"]
    a_lens: Float[np.ndarray, "*realisation"]
    a_lens_error: Float[np.ndarray, "*realisation"]
    power: Power
    name: str
    physical: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sigma_minus(self) -> Float[np.ndarray, "*realisation"]:
        """Distance down to the lower end of `limits(0.68)`."""
        return self.r - self.limits(0.68)[0]

    @property
    def sigma_plus(self) -> Float[np.ndarray, "*realisation"]:
        """Distance up to the upper end of `limits(0.68)`."""
        return self.limits(0.68)[1] - self.r

    def limits(
        self, level: float = 0.95
    ) -> tuple[Float[np.ndarray, "*realisation"], Float[np.ndarray, "*realisation"]]:
        """Interval around the maximum that holds `level` of the probability.

        It takes the share `level` of the probability below the maximum, and of that above it. At
        68 % these are the one-sided errors of furax-cs. Where the maximum is at r = 0 the lower end
        is too.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        level = _checked_level(level)
        return self._quantile(lambda at, _: (1 - level) * at), self._quantile(
            lambda at, total: at + level * (total - at)
        )

    def upper(self, level: float = 0.95) -> Float[np.ndarray, "*realisation"]:
        """Value of r that holds `level` of the probability below it.

        Raises:
            ValueError: for a level outside (0, 1).
        """
        level = _checked_level(level)
        return self._quantile(lambda _, total: level * total)

    @property
    def model(self) -> Float[np.ndarray, "*realisation bin"]:
        """Expected power at the best fit, noise included."""
        return self.power.model(np.asarray(self.r)[..., None], np.asarray(self.a_lens)[..., None])

    def to_dataset(self) -> xr.Dataset:
        """All numbers with named axes and units, ready for NetCDF."""
        import xarray as xr  # a fifth of a second that nothing else needs

        each = tuple(f"realisation_{axis}" for axis in range(np.ndim(self.r)))
        low, high = self.limits(0.95)
        numbers = {
            "r": self.r,
            "sigma_minus": self.sigma_minus,
            "sigma_plus": self.sigma_plus,
            "lower_95": low,
            "upper_95": high,
            "a_lens": self.a_lens,
            "a_lens_error": self.a_lens_error,
        }
        data = xr.Dataset({name: (each, np.asarray(values)) for name, values in numbers.items()})
        data["grid"] = ((*each, "point"), self.grid)
        data["likelihood"] = ((*each, "point"), self.likelihood)
        data["model"] = ((*each, "bin"), self.model, {"units": "uK_CMB^2"})
        for field in dataclasses.fields(self.power):
            values = np.asarray(getattr(self.power, field.name))
            axes = (*each, "bin") if field.name == "observed" else ("bin",)
            units = {} if field.name in ("ell", "dof") else {"units": "uK_CMB^2"}
            data[field.name] = (axes, values, units)
        data.attrs = {
            "name": self.name,
            "physical": int(self.physical),
            "notes": list(self.notes),
            "tensor_index": 0.0,
            "pivot_per_Mpc": 0.05,
        }
        return data

    @staticmethod
    def from_dataset(data: xr.Dataset) -> TensorRatio:
        """What `to_dataset` gave.

        Raises:
            ValueError: for a dataset of something else.
        """
        fields = [field.name for field in dataclasses.fields(Power)]
        missing = {"r", "grid", "likelihood", *fields} - set(map(str, data.variables))
        if missing:
            raise ValueError(
                f"data: expected the dataset of a tensor-to-scalar ratio, got one without "
                f"{', '.join(sorted(missing))}. Write it with TensorRatio.to_dataset."
            )
        return TensorRatio(
            data["r"].values,
            data["grid"].values,
            data["likelihood"].values,
            data["a_lens"].values,
            data["a_lens_error"].values,
            Power(**{name: data[name].values for name in fields}),
            str(data.attrs["name"]),
            bool(data.attrs["physical"]),
            tuple(str(note) for note in np.atleast_1d(data.attrs["notes"]) if str(note)),
        )

    def _quantile(
        self, wanted: Callable[[float, float], float]
    ) -> Float[np.ndarray, "*realisation"]:
        """Value of r below which the probability is what `wanted` makes of (up to r, all)."""
        shape = np.shape(self.r)
        out = np.empty(math.prod(shape))
        points = self.grid.shape[-1]
        rows = zip(
            np.ravel(self.r),
            self.grid.reshape(-1, points),
            self.likelihood.reshape(-1, points),
            strict=True,
        )
        for row, (best, grid, likelihood) in enumerate(rows):
            # The maximum becomes a point of the grid: it lies between two of them.
            where = int(np.searchsorted(grid, best))
            x, y = np.insert(grid, where, best), np.insert(likelihood, where, 1.0)
            sums = np.concatenate([[0.0], np.cumsum(0.5 * (y[1:] + y[:-1]) * np.diff(x))])
            out[row] = np.interp(wanted(sums[where], sums[-1]), sums, x)
        return out.reshape(shape)[()]


def fit_r(
    observed: Float[np.ndarray, "*realisation ell"] | Bandpowers,
    theory: CMBSpectra | None = None,
    *,
    noise: float | Float[np.ndarray, " ell"] | None = None,
    fsky: float | None = None,
    lmin: int = 2,
    lmax: int | None = None,
    a_lens: float | FreeLensing = 1.0,
    likelihood: AbstractLikelihood | None = None,
    r_range: tuple[float, float] | None = None,
    physical: bool = False,
    debiased: bool = False,
) -> TensorRatio:
    """Measure the tensor-to-scalar ratio of B-mode power.

    The posterior of r is computed on a grid that finds its place and width by itself. Without
    `physical`, r may be negative as long as the model stays positive: an estimator without the
    bias that a bound brings.

    Args:
        observed: BB bandpowers, or C_l from l = 0 [uK_CMB^2], with as many leading axes as wanted:
            all realisations are fitted together.
        theory: spectra of tensors and lensing, by default those that skies are simulated from.
        noise: power of the noise: per multipole or bin as `observed`, or one number for white
            noise.
        fsky: fraction of the sky behind C_l; bandpowers know their own.
        lmin: smallest multipole.
        lmax: largest multipole, by default the last there is.
        a_lens: amplitude of the lensing B modes, or `FreeLensing` to marginalise over it.
        likelihood: of the bins from the first to the last, by default the f_sky-scaled `Wishart`.
        r_range: where to look first; the grid leaves it where the likelihood does.
        physical: keep r, and a free lensing amplitude, from falling below zero.
        debiased: `observed` is free of the noise (cross-spectra, or noise subtracted): the noise
            is added back to it, so that it counts in the scatter only. For cross-spectra it is the
            geometric mean of those of the two maps.

    Raises:
        ValueError: for spectra, noise, ranges or likelihoods that do not fit each other, and for
            power that is not positive. The message names the argument and the remedy.

    Examples:
        >>> theory = CMBSpectra.packaged()
        >>> observed = theory.cl(r=0.01, lmax=128)[2] + 1e-6
        >>> result = fit_r(observed, noise=1e-6, fsky=0.6)
        >>> round(float(result.r), 6)
        0.01

    References:
        Stompor, Errard & Poletti 2016, PRD 94, 083526; Mangilli, Plaszczynski & Tristram 2015,
        MNRAS 453, 3174 (power of the noise as an offset of cross-spectra).
    """
    theory = CMBSpectra.packaged() if theory is None else theory
    power, keep = power_of(observed, theory, noise, fsky, lmin=lmin, lmax=lmax, debiased=debiased)
    if likelihood is None:
        likelihood = Wishart(power.dof)
    elif likelihood.size != keep.size:
        raise ValueError(
            f"likelihood: expected one of the {keep.size} bins of `observed`, got "
            f"{likelihood.size}. Make it for the same bins; lmin and lmax select among them."
        )
    else:
        likelihood = likelihood.selected(keep)
    lensing = a_lens if isinstance(a_lens, FreeLensing) else _checked_a_lens(a_lens)
    rows = np.reshape(power.observed, (-1, power.ell.size))

    def density(r: np.ndarray, a: np.ndarray) -> np.ndarray:
        prior = lensing.log_prior(a) if isinstance(lensing, FreeLensing) else np.zeros(a.shape)
        step = max(1, _CHUNK // (r.shape[1] * a.shape[1] * rows.shape[1]))
        out = np.empty((rows.shape[0], r.shape[1], a.shape[1]))
        for begin in range(0, rows.shape[0], step):
            part = slice(begin, begin + step)
            model = power.model(r[part, :, None, None], a[part, None, :, None])
            out[part] = likelihood.log_likelihood(rows[part, None, None], model)
        return out + prior[:, None, :]

    x, y = adapt(density, *_start(power, rows, lensing, r_range, physical), _COARSE)
    grid, a_grid = x.points(_FINE[0]), y.points(_FINE[1])
    values = density(grid, a_grid)
    r, peak = _maximum(density, grid, _marginal(values), a_grid, x.bound)
    posterior = np.exp(_marginal(values) - peak[:, None])
    on_a = np.exp(values - values.max(axis=(1, 2), keepdims=True)).sum(axis=1)
    on_a /= on_a.sum(axis=1, keepdims=True)
    mean = np.sum(on_a * a_grid, axis=1)
    spread = np.sqrt(np.sum(on_a * (a_grid - mean[:, None]) ** 2, axis=1))
    shape = power.observed.shape[:-1]
    return TensorRatio(
        r.reshape(shape)[()],
        grid.reshape(*shape, -1),
        posterior.reshape(*shape, -1),
        mean.reshape(shape)[()],
        spread.reshape(shape)[()],
        power,
        likelihood.name,
        physical,
        () if r_range is None else _widening(r_range, x),
    )


def _start(
    power: Power,
    rows: Float[np.ndarray, "realisation bin"],
    lensing: float | FreeLensing,
    r_range: tuple[float, float] | None,
    physical: bool,
) -> tuple[Axis, Axis]:
    """Where to look first: between the smallest and the largest r that a single bin would give."""
    count, bound = rows.shape[0], 0.0 if physical else -np.inf
    amplitude = 1.0 if isinstance(lensing, FreeLensing) else lensing
    least = power.least(amplitude)
    ratios = power.ratios(amplitude).reshape(count, -1)
    low = np.maximum(np.nanmin(ratios, axis=1), max(least, bound))
    high = np.maximum(np.nanmax(ratios, axis=1), low)
    room = 1e-3 * (high - least) + 1e-9
    low, high = np.maximum(low - room, bound), high + room
    if r_range is not None:
        first, last = _checked_range(r_range)
        if last > max(least, bound):
            low, high = np.full(count, max(first, bound)), np.full(count, last)
    if not isinstance(lensing, FreeLensing):
        held = np.full(count, float(lensing))
        return Axis(low, high, bound), Axis(held, held)
    return Axis(low, high, bound), Axis(np.zeros(count), np.full(count, 2.0), bound)


def _marginal(values: Float[np.ndarray, "realisation x y"]) -> Float[np.ndarray, "realisation x"]:
    """Logarithm of a density summed over its last axis."""
    return np.asarray(logsumexp(values, axis=2))


def _maximum(
    density: Density,
    grid: Float[np.ndarray, "realisation x"],
    marginal: Float[np.ndarray, "realisation x"],
    a_grid: Float[np.ndarray, "realisation y"],
    bound: float,
) -> tuple[Float[np.ndarray, " realisation"], Float[np.ndarray, " realisation"]]:
    """Where a density on a grid is greatest, between its points too, and its logarithm there."""
    rows = np.arange(grid.shape[0])
    step = grid[:, 1] - grid[:, 0]
    centre = grid[rows, marginal.argmax(axis=1)]
    close = np.maximum(centre[:, None] + step[:, None] * np.linspace(-1.0, 1.0, _CLOSE), bound)
    values = _marginal(density(close, a_grid))
    best = values.argmax(axis=1)
    place, peak = close[rows, best], values[rows, best]
    at = np.clip(best, 1, _CLOSE - 2)
    below, above = peak - values[rows, at - 1], peak - values[rows, at + 1]
    # A parabola through three points; none at a bound, or next to where the model ends.
    curved = (at == best) & (close[rows, at - 1] < place) & (below + above > 0)
    curved &= np.isfinite(below + above)
    below, above = np.where(curved, below, 1.0), np.where(curved, above, 1.0)
    shift = (below - above) / (below + above)
    width = 2.0 * step / (_CLOSE - 1)
    return place + 0.5 * width * shift, peak + 0.125 * (below + above) * shift**2


def _widening(r_range: tuple[float, float], axis: Axis) -> tuple[str, ...]:
    low, high = float(axis.low.min()), float(axis.high.max())
    if low >= r_range[0] and high <= r_range[1]:
        return ()
    return (
        f"r_range {r_range[0]:g} to {r_range[1]:g} did not hold the likelihood: it was widened to "
        f"{low:.4g} to {high:.4g}",
    )


def _checked_range(r_range: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(value) for value in r_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"r_range: expected two finite numbers, the lower one first, got {tuple(r_range)}. "
            "Leave it out to have the range found."
        )
    return low, high


def _checked_a_lens(a_lens: float) -> float:
    if not (math.isfinite(a_lens) and a_lens >= 0):
        raise ValueError(
            f"a_lens: expected a number not below zero, got {a_lens!r}. Give FreeLensing() to have "
            "it fitted."
        )
    return float(a_lens)


def _checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level!r}.")
    return level
