"""Slow, independent NumPy and SciPy version of parametric component separation.

Emission laws by their textbook formulae, amplitudes by a dense solve in each cell, derivatives by
complex steps (Martins, Sturdza & Alonso 2003, ACM TOMS 29, 245), minima by SciPy's optimisers.
Nothing here uses skysift.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.constants as const
from scipy.optimize import least_squares, minimize

T_CMB = 2.7255
_STEP = 1e-30


def photon_energy(nu):
    """h nu / k [K] for nu in GHz."""
    return const.h * nu * 1e9 / const.k


def rj_to_cmb(nu):
    """Thermodynamic per Rayleigh-Jeans temperature."""
    x = photon_energy(nu) / T_CMB
    return np.expm1(x) ** 2 / (x**2 * np.exp(x))


def _relative(nu, nu0):
    return rj_to_cmb(nu) / rj_to_cmb(nu0)


def cmb(nu):
    """The CMB in uK_CMB."""
    return np.ones_like(nu)


def sunyaev_zeldovich(nu):
    """Thermal SZ in uK_CMB per 1e-6 of Compton y."""
    x = photon_energy(nu) / T_CMB
    return T_CMB * (x * (np.exp(x) + 1) / (np.exp(x) - 1) - 4)


def dust(nu, beta, temperature, nu0=160.0):
    """Modified black body in uK_CMB per uK_CMB at nu0."""
    planck = np.expm1(photon_energy(nu0) / temperature) / np.expm1(photon_energy(nu) / temperature)
    return (nu / nu0) ** (1 + beta) * planck * _relative(nu, nu0)


def two_dusts(nu, beta, temperature, beta_cold, temperature_cold, fraction, nu0=160.0):
    """Two modified black bodies mixed at nu0."""
    hot, cold = dust(nu, beta, temperature, nu0), dust(nu, beta_cold, temperature_cold, nu0)
    return (1 - fraction) * hot + fraction * cold


def synchrotron(nu, beta, nu0=20.0):
    """Power law in uK_RJ."""
    return (nu / nu0) ** beta * _relative(nu, nu0)


def curved_synchrotron(nu, beta, curvature, nu0=20.0, pivot=23.0):
    """Power law with a curvature about the pivot."""
    bend = np.log(nu / pivot) ** 2 - np.log(nu0 / pivot) ** 2
    return (nu / nu0) ** beta * np.exp(curvature * bend) * _relative(nu, nu0)


def spinning_dust(nu, peak, width, nu0=30.0):
    """Log-normal in flux."""
    bend = np.log(nu / peak) ** 2 - np.log(nu0 / peak) ** 2
    return (nu / nu0) ** -2 * np.exp(-0.5 * bend / width**2) * _relative(nu, nu0)


@dataclass(frozen=True)
class Law:
    """An emission law and the names of its parameters."""

    function: Callable
    parameters: tuple[str, ...] = ()


LAWS = {
    "c": Law(cmb),
    "y": Law(sunyaev_zeldovich),
    "d": Law(dust, ("beta_dust", "temp_dust")),
    "dd": Law(two_dusts, ("beta_dust", "temp_dust", "beta_cold", "temp_cold", "fraction_cold")),
    "s": Law(synchrotron, ("beta_pl",)),
    "sc": Law(curved_synchrotron, ("beta_pl", "curvature_pl")),
    "a": Law(spinning_dust, ("peak_ame", "width_ame")),
}


def laws_of(text: str) -> list[Law]:
    """The laws of a model written in letters."""
    return [LAWS[letter] for letter in text.split("+")]


def band_average(function, low, high, count=401):
    """Average of a uK_CMB spectrum over a top-hat band of brightness, by Simpson's rule."""
    nu = np.linspace(low, high, count)
    x = photon_energy(nu) / T_CMB
    simpson = np.ones(count)
    simpson[1:-1:2], simpson[2:-1:2] = 4.0, 2.0
    weight = simpson * nu**4 * np.exp(x) / np.expm1(x) ** 2
    return np.sum(weight * function(nu)) / np.sum(weight)


def mixing(laws, nu, values, bandwidth=None):
    """Mixing matrix (channel, component) of one cell; `bandwidth` [GHz] for top-hat bands."""
    columns = []
    for law in laws:
        own = [values[name] for name in law.parameters]
        if bandwidth is None:
            columns.append(law.function(nu, *own) + 0 * sum(own, 0.0))
            continue
        columns.append(
            [
                band_average(
                    lambda x, law=law, own=own: law.function(x, *own), f - w / 2, f + w / 2
                )
                for f, w in zip(nu, bandwidth, strict=True)
            ]
        )
    return np.stack([np.asarray(column) for column in columns], axis=1)


def profile(matrix, data, weights):
    """Objective, amplitudes and residual of one cell and Stokes parameter; zero without any weight.

    Plain transposes and no conjugates, so that complex steps pass through.
    """
    count = matrix.shape[1]
    if not np.any(weights > 0):
        return 0.0, np.zeros(count), np.zeros_like(data)
    seen = weights > 0
    matrix, root = matrix[seen], np.sqrt(weights[seen])
    if np.iscomplexobj(matrix):
        weighted = matrix * root[:, None]
        amplitude = np.linalg.solve(weighted.T @ weighted, weighted.T @ (root * data[seen]))
    else:
        amplitude = np.linalg.lstsq(matrix * root[:, None], root * data[seen])[0]
    residual = root * (data[seen] - matrix @ amplitude)
    return 0.5 * np.sum(residual**2), amplitude, residual


@dataclass(frozen=True)
class SpectralProblem:
    """A whole separation: data (channel, stokes, cell), weights of that shape, patches.

    Args:
        text: model in letters.
        nu: channel frequencies [GHz].
        data: zero where not observed.
        weights: inverse variances, zero where not observed.
        labels: patch of each cell, per free parameter, in the order of the parameter vector.
        fixed: values (cell,) of the other parameters.
        priors: mean and standard deviation per parameter.
        bandwidth: of top-hat bands [GHz].
    """

    text: str
    nu: np.ndarray
    data: np.ndarray
    weights: np.ndarray
    labels: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    priors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bandwidth: np.ndarray | None = None

    @property
    def counts(self):
        return [int(labels.max()) + 1 for labels in self.labels.values()]

    def split(self, theta):
        parts = np.split(np.asarray(theta), np.cumsum(self.counts)[:-1])
        return dict(zip(self.labels, parts, strict=True))

    def cell_values(self, theta, cell):
        own = {name: value[self.labels[name][cell]] for name, value in self.split(theta).items()}
        return own | {name: value[cell] for name, value in self.fixed.items()}

    def cell_objective(self, values, cell):
        matrix = mixing(laws_of(self.text), self.nu, values, self.bandwidth)
        return sum(
            profile(matrix, self.data[:, x, cell], self.weights[:, x, cell])[0]
            for x in range(self.data.shape[1])
        )

    def prior(self, theta):
        return sum(
            np.sum((self.split(theta)[name] - mean) ** 2) / (2 * sigma**2)
            for name, (mean, sigma) in self.priors.items()
        )

    def objective(self, theta):
        cells = range(self.data.shape[-1])
        return self.prior(theta) + sum(
            self.cell_objective(self.cell_values(theta, cell), cell) for cell in cells
        )

    def cell_gradient(self, values, cell, names=None):
        """Exact gradient of one cell's objective by complex steps."""
        out = []
        for name in names or self.labels:
            moved = dict(values) | {name: values[name] + 1j * _STEP}
            out.append(np.imag(self.cell_objective(moved, cell)) / _STEP)
        return np.array(out)

    def cell_hessian(self, values, cell, steps):
        """Hessian of one cell's objective: extrapolated central differences of the gradient."""
        rows = []
        for name, step in zip(self.labels, steps, strict=True):

            def slope(h, name=name):
                up = self.cell_gradient(dict(values) | {name: values[name] + h}, cell)
                down = self.cell_gradient(dict(values) | {name: values[name] - h}, cell)
                return (up - down) / (2 * h)

            rows.append((4 * slope(step) - slope(2 * step)) / 3)
        return np.array(rows)

    def gradient(self, theta):
        out = {name: np.zeros(count) for name, count in zip(self.labels, self.counts, strict=True)}
        for cell in range(self.data.shape[-1]):
            slopes = self.cell_gradient(self.cell_values(theta, cell), cell)
            for name, slope in zip(self.labels, slopes, strict=True):
                out[name][self.labels[name][cell]] += slope
        for name, (mean, sigma) in self.priors.items():
            out[name] += (self.split(theta)[name] - mean) / sigma**2
        return np.concatenate(list(out.values()))

    def residuals(self, theta):
        """Weighted residuals and prior pulls, whose half sum of squares is the objective."""
        parts = []
        for cell in range(self.data.shape[-1]):
            matrix = mixing(
                laws_of(self.text), self.nu, self.cell_values(theta, cell), self.bandwidth
            )
            for x in range(self.data.shape[1]):
                left = profile(matrix, self.data[:, x, cell], self.weights[:, x, cell])[2]
                parts.append(np.pad(left, (0, self.nu.size - left.size)))
        for name, (mean, sigma) in self.priors.items():
            parts.append((self.split(theta)[name] - mean) / sigma)
        return np.concatenate(parts)

    def least_squares(self, start, low, high):
        """Minimum within bounds by SciPy's trust-region reflective algorithm."""
        scale = np.maximum(np.abs(start), 0.1)
        return least_squares(
            self.residuals,
            start,
            bounds=(low, high),
            x_scale=scale,
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=200,
        )

    def quasi_newton(self, start, low, high):
        """Minimum within bounds by SciPy's L-BFGS-B."""
        return minimize(
            self.objective,
            start,
            jac=self.gradient,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"ftol": 1e-16, "gtol": 1e-9, "maxiter": 2000},
        )


def bounded_quadratic(matrix, gradient, low, high):
    """Minimise g x + x H x / 2 within bounds by trying every set of active bounds."""
    best, value = None, np.inf
    size = gradient.size
    for code in range(3**size):
        digits = np.array([(code // 3**i) % 3 for i in range(size)])
        x = np.where(digits == 1, low, np.where(digits == 2, high, 0.0))
        free = digits == 0
        if free.any():
            right = -(gradient + matrix @ x)[free]
            x[free] = np.linalg.solve(matrix[np.ix_(free, free)], right)
        if np.any(x < low - 1e-12) or np.any(x > high + 1e-12):
            continue
        cost = gradient @ x + 0.5 * x @ matrix @ x
        if cost < value:
            best, value = x, cost
    return best
