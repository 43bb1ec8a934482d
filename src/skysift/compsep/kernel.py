"""The spectral objective of each cell in closed form, with its exact gradient and Hessian.

In one cell with mixing matrix A(theta), inverse noise variances W and data d the amplitudes that
fit best are s = (A^T W A)^-1 A^T W d, and what they leave is r = d - A s. The objective is

    F(theta) = 1/2 r^T W r                                           (summed over Stokes parameters)

With A_k = dA/dtheta_k, A_kl the second derivative, v_k = A_k s and u_k = A^T W v_k - A_k^T W r:

    dF/dtheta_k           = - r^T W v_k
    d2F/dtheta_k dtheta_l = v_k^T W v_l - u_k^T (A^T W A)^-1 u_l - r^T W A_kl s

Leaving out the terms with r gives the Gauss-Newton (variable projection, Kaufman 1975) matrix,
which is never negative. Only one column of A depends on a parameter, so everything is sums over
channels of products of SED columns and their derivatives; automatic differentiation gives those
for any emission law. Source of the objective: Stompor et al. 2009, MNRAS 392, 216, eq. 5 and 6.

Arrays have the cell last; small matrices over components are Python lists of such arrays, so that
XLA sees element-wise arithmetic only.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.instrument import Instrument
from skysift.sky.component import AbstractComponent
from skysift.sky.model import SkyModel

Row = Float[Array, " cell"]
Column = Float[Array, "channel cell"]
Data = Float[Array, "channel stokes cell"]
Weights = Float[Array, "channel #stokes #cell"]


class CellTerms(NamedTuple):
    """What a Newton step needs of each cell; the Hessians hold the lower triangle row by row."""

    objective: Row
    gradient: Float[Array, "free cell"]
    hessian: Float[Array, "triangle cell"]
    gauss_newton: Float[Array, "triangle cell"]


class CellAmplitudes(NamedTuple):
    """What a fit reports of each cell."""

    amplitudes: Float[Array, "component stokes cell"]
    covariance: Float[Array, "component component #stokes cell"]
    derivative: Float[Array, "component free stokes cell"]
    chi2: Row


class Spectra(NamedTuple):
    """Columns of the mixing matrix and their derivatives in the free parameters."""

    value: list[Column]
    first: list[Column]
    second: dict[tuple[int, int], Column]


class Kernel(eqx.Module):
    """The emission laws in an instrument's channels, differentiated.

    Args:
        components: emission laws, one column of the mixing matrix each.
        free: names of the parameters that are fitted.
        frequency: band nodes [GHz].
        response: their weights (`Instrument.quadrature`).
    """

    components: tuple[AbstractComponent, ...]
    free: tuple[str, ...] = eqx.field(static=True)
    frequency: Float[Array, "channel node"]
    response: Float[Array, "channel node"]

    @staticmethod
    def of(model: SkyModel, instrument: Instrument) -> Kernel:
        """The kernel of a model as an instrument sees it."""
        frequency, response = instrument.quadrature()
        names = tuple(parameter.name for parameter in model.free)
        return Kernel(model.components, names, jnp.asarray(frequency), jnp.asarray(response))

    @property
    def owner(self) -> tuple[int, ...]:
        """For each free parameter the index of the component it belongs to."""
        return tuple(
            index
            for index, component in enumerate(self.components)
            for parameter in component.parameters
            if parameter.name in self.free
        )

    @eqx.filter_jit
    def columns(
        self, theta: Float[Array, "free cell"], fixed: dict[str, Float[Array, "#cell"]]
    ) -> list[Column]:
        """Mixing matrix columns at the parameters of each cell."""
        own: list[dict[str, Row]] = [{} for _ in self.components]
        for k, index in enumerate(self.owner):
            own[index][self.free[k]] = theta[k]
        return [self._column(index, values, fixed) for index, values in enumerate(own)]

    def _column(
        self, index: int, own: dict[str, Row], fixed: dict[str, Float[Array, "#cell"]]
    ) -> Column:
        component = self.components[index]
        constant = {p.name: fixed[p.name] for p in component.parameters if p.name in fixed}
        sed = component.sed(self.frequency[:, :, None], {**constant, **own})
        return jnp.sum(self.response[:, :, None] * sed, axis=1)

    def spectra(
        self, theta: Float[Array, "free cell"], fixed: dict[str, Float[Array, "#cell"]]
    ) -> Spectra:
        """Mixing matrix columns and derivatives at the parameters of each cell."""
        names, owner = self.free, self.owner

        def along(k: int, function):
            """Derivative of a function of the component's own parameters along parameter k."""

            def derivative(own: dict[str, Row]) -> Column:
                tangent = {
                    n: (jnp.ones_like if n == names[k] else jnp.zeros_like)(v)
                    for n, v in own.items()
                }
                return jax.jvp(function, (own,), (tangent,))[1]

            return derivative

        value, first, second = [], [], {}
        for index in range(len(self.components)):
            mine = [k for k in range(len(names)) if owner[k] == index]
            own = {names[k]: theta[k] for k in mine}

            def spectrum(values: dict[str, Row], index: int = index) -> Column:
                return self._column(index, values, fixed)

            value.append(spectrum(own))
            for k in mine:
                slope = along(k, spectrum)
                first.append(slope(own))
                second.update({(k, m): along(m, slope)(own) for m in mine if m <= k})
        return Spectra(value, first, second)

    def terms(
        self,
        theta: Float[Array, "free cell"],
        fixed: dict[str, Float[Array, "#cell"]],
        data: Data,
        weights: Weights,
    ) -> CellTerms:
        """Objective, gradient and Hessians of each cell."""
        # Without the barrier XLA computes the exponentials again for every sum that uses them.
        spectra = jax.lax.optimization_barrier(self.spectra(theta, fixed))
        owner, free, cells = self.owner, range(theta.shape[0]), theta.shape[-1]
        objective = jnp.zeros(cells)
        gradient = [jnp.zeros(cells) for _ in free]
        hessian = {(k, m): jnp.zeros(cells) for k in free for m in range(k + 1)}
        gauss_newton = dict(hessian)
        for x in range(data.shape[1]):
            weight, factor = _stokes_system(spectra.value, weights, x)
            amplitude, residual = _fit(spectra.value, weight, factor, data[:, x])
            weighted = weight * residual
            objective += 0.5 * jnp.sum(weighted * residual, axis=0)
            scale = [amplitude[owner[k]] for k in free]
            drop = [jnp.sum(spectra.first[k] * weighted, axis=0) for k in free]
            tangent = [_project(spectra.value, weight, spectra.first[k] * scale[k]) for k in free]
            kaufman = [_forward(factor, tangent[k]) for k in free]
            exact = [_forward(factor, _subtract_at(tangent[k], owner[k], drop[k])) for k in free]
            for k, m in hessian:
                norm = (
                    jnp.sum(weight * spectra.first[k] * spectra.first[m], axis=0)
                    * scale[k]
                    * scale[m]
                )
                gauss_newton[k, m] += norm - _dot(kaufman[k], kaufman[m])
                hessian[k, m] += norm - _dot(exact[k], exact[m])
                if (k, m) in spectra.second:
                    hessian[k, m] -= jnp.sum(spectra.second[k, m] * weighted, axis=0) * scale[k]
            for k in free:
                gradient[k] -= drop[k] * scale[k]
        return CellTerms(
            objective,
            _stack(gradient, cells),
            _stack(list(hessian.values()), cells),
            _stack(list(gauss_newton.values()), cells),
        )

    def amplitudes(
        self,
        theta: Float[Array, "free cell"],
        fixed: dict[str, Float[Array, "#cell"]],
        data: Data,
        weights: Weights,
    ) -> CellAmplitudes:
        """Amplitudes with their covariance, their derivative in the parameters, and chi squared."""
        spectra = jax.lax.optimization_barrier(self.spectra(theta, fixed))
        owner, free, cells = self.owner, range(theta.shape[0]), theta.shape[-1]
        count = len(self.components)
        amplitudes, derivatives, covariances, chi2 = [], [], [], jnp.zeros(cells)
        for x in range(data.shape[1]):
            weight, factor = _stokes_system(spectra.value, weights, x)
            amplitude, residual = _fit(spectra.value, weight, factor, data[:, x])
            chi2 += jnp.sum(weight * residual**2, axis=0)
            amplitudes.append(_stack(amplitude, cells))
            change = []
            for k in free:
                scale = amplitude[owner[k]]
                tangent = _project(spectra.value, weight, spectra.first[k] * scale)
                drop = jnp.sum(spectra.first[k] * weight * residual, axis=0)
                solved = _solve(factor, _subtract_at(tangent, owner[k], drop))
                change.append(_stack([-part for part in solved], cells))
            derivatives.append(jnp.stack(change, 1) if change else jnp.zeros((count, 0, cells)))
            if x < weights.shape[1]:
                units = [
                    [jnp.full(cells, float(i == j)) for i in range(count)] for j in range(count)
                ]
                covariances.append(
                    jnp.stack([_stack(_solve(factor, unit), cells) for unit in units])
                )
        return CellAmplitudes(
            jnp.stack(amplitudes, 1), jnp.stack(covariances, 2), jnp.stack(derivatives, 2), chi2
        )


def _stokes_system(
    columns: list[Column], weights: Weights, x: int
) -> tuple[Column, list[list[Row]]]:
    """Weights of one Stokes parameter and the Cholesky factor of A^T W A.

    A cell without data has all weights zero: its matrix is replaced by the identity, so that all
    its terms come out as zero.
    """
    weight = weights[:, x if weights.shape[1] > 1 else 0]
    weighted = [weight * column for column in columns]
    count = len(columns)
    normal = [
        [jnp.sum(weighted[i] * columns[j], axis=0) for j in range(i + 1)] for i in range(count)
    ]
    factor: list[list[Row]] = []
    for i in range(count):
        row: list[Row] = []
        for j in range(i):
            row.append((normal[i][j] - _dot(row, factor[j][:j])) / factor[j][j])
        pivot = normal[i][i] + (normal[i][i] == 0.0)
        row.append(jnp.sqrt(pivot - _dot(row, row)))
        factor.append(row)
    return weight, factor


def _fit(
    columns: list[Column], weight: Column, factor: list[list[Row]], data: Column
) -> tuple[list[Row], Column]:
    """Best amplitudes and what they leave; refined once, so that it is orthogonal to rounding."""
    amplitude = _solve(factor, _project(columns, weight, data))
    residual = data - _combine(columns, amplitude)
    correction = _solve(factor, _project(columns, weight, residual))
    amplitude = [a + c for a, c in zip(amplitude, correction, strict=True)]
    return amplitude, data - _combine(columns, amplitude)


def _project(columns: list[Column], weight: Column, vector: Column) -> list[Row]:
    weighted = weight * vector
    return [jnp.sum(column * weighted, axis=0) for column in columns]


def _combine(columns: list[Column], amplitude: list[Row]) -> Column:
    return sum(column * a for column, a in zip(columns[1:], amplitude[1:], strict=True)) + (
        columns[0] * amplitude[0]
    )


def _forward(factor: list[list[Row]], vector: list[Row]) -> list[Row]:
    out: list[Row] = []
    for row, value in zip(factor, vector, strict=True):
        out.append((value - _dot(row[:-1], out)) / row[-1])
    return out


def _solve(factor: list[list[Row]], vector: list[Row]) -> list[Row]:
    count = len(factor)
    out = _forward(factor, vector)
    for i in reversed(range(count)):
        for j in range(i + 1, count):
            out[i] = out[i] - factor[j][i] * out[j]
        out[i] = out[i] / factor[i][i]
    return out


def _dot(left: list[Row], right: list[Row]) -> Row | float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _subtract_at(vector: list[Row], index: int, value: Row) -> list[Row]:
    return [part - value if i == index else part for i, part in enumerate(vector)]


def _stack(rows: list[Row], cells: int) -> Float[Array, "row cell"]:
    return (
        jnp.stack([jnp.broadcast_to(row, (cells,)) for row in rows])
        if rows
        else jnp.zeros((0, cells))
    )
