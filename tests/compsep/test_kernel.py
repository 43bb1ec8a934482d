"""The closed form of each cell against dense algebra and complex steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.compsep.kernel import CellTerms, Kernel
from skysift.instrument import Channel, Instrument, TopHatBand
from skysift.sky.model import SkyModel

from ..oracles.spectral import SpectralProblem, laws_of, mixing, profile
from .problems import INSTRUMENT, NU, clean_data, draw_problem, model_of

CELLS = 6


def free_names(text, fixed=()):
    return [p.name for p in SkyModel.parse(text).free if p.name not in fixed]


def per_cell_problem(text, **options) -> tuple[SpectralProblem, np.ndarray]:
    names = free_names(text, options.get("fixed", ()))
    labels = {name: np.arange(CELLS) for name in names}
    return draw_problem(text, labels, cells=CELLS, **options)


def case(name):
    match name:
        case "two Stokes":
            return per_cell_problem("c+d+s")
        case "four components":
            return per_cell_problem("c+d+s+a", seed=1)
        case "two dusts":
            return per_cell_problem("c+dd+s", seed=2)
        case "curved":
            return per_cell_problem("c+d+sc", seed=3)
        case "temperature too":
            return per_cell_problem("c+d+s", stokes=3, uneven=True, seed=4)
        case "temperature of the dust known":
            return per_cell_problem("c+d+s", fixed=("temp_dust",), seed=5)
        case "with sz":
            return per_cell_problem("c+y+d", stokes=1, seed=6)
        case "dust alone":
            return per_cell_problem("d", stokes=1, seed=7)
        case "finite bands":
            problem, theta = per_cell_problem("c+d+s", seed=8)
            return dataclasses.replace(problem, bandwidth=0.3 * NU), theta
    raise AssertionError(name)


CASES = [
    "two Stokes",
    "four components",
    "two dusts",
    "curved",
    "temperature too",
    "temperature of the dust known",
    "with sz",
    "dust alone",
    "finite bands",
]


def instrument_of(problem):
    if problem.bandwidth is None:
        return INSTRUMENT
    channels = [
        Channel(f"{nu:g}", TopHatBand(nu, width))
        for nu, width in zip(NU, problem.bandwidth, strict=True)
    ]
    return Instrument("bands", tuple(channels))


def eager(kernel, *inputs):
    """Without compilation, which would take most of the time for so few cells."""
    return kernel.terms(*inputs), kernel.amplitudes(*inputs)


def evaluate(problem, theta):
    kernel = Kernel.of(model_of(problem), instrument_of(problem))
    fixed = {name: jnp.asarray(value) for name, value in problem.fixed.items()}
    inputs = (theta.reshape(-1, CELLS), fixed, problem.data, problem.weights)
    inputs = jax.tree.map(jnp.asarray, inputs)
    return jax.tree.map(np.asarray, eager(kernel, *inputs))


def square(triangle, count):
    full = np.zeros((count, count, triangle.shape[-1]))
    rows, columns = np.tril_indices(count)
    full[rows, columns] = triangle
    full[columns, rows] = triangle
    return full


def away(theta):
    """Somewhere that is no minimum."""
    return theta + 0.05 * np.abs(theta) * np.cos(np.arange(theta.size))


@pytest.mark.parametrize("name", CASES)
def test_terms_of_each_cell_are_those_of_the_oracle(name):
    problem, theta = case(name)
    point = away(theta)
    terms: CellTerms = evaluate(problem, point)[0]
    names = list(problem.labels)
    hessian = square(terms.hessian, len(names))
    slopes = square(terms.gauss_newton, len(names))
    for cell in range(CELLS if problem.bandwidth is None else 1):
        values = problem.cell_values(point, cell)
        steps = [4e-4 * max(abs(values[n]), 0.1) for n in names]
        np.testing.assert_allclose(
            terms.objective[cell], problem.cell_objective(values, cell), rtol=1e-10
        )
        gradient = problem.cell_gradient(values, cell)
        np.testing.assert_allclose(
            terms.gradient[:, cell], gradient, rtol=1e-8, atol=1e-9 * np.abs(gradient).max()
        )
        # Entries are compared in units of what the data can tell, for parameters differ by decades.
        unit = np.sqrt(np.einsum("kk->k", slopes[..., cell]))
        expected = problem.cell_hessian(values, cell, steps) / np.outer(unit, unit)
        np.testing.assert_allclose(hessian[..., cell] / np.outer(unit, unit), expected, atol=3e-6)


@pytest.mark.parametrize("name", ["two Stokes", "temperature too", "two dusts"])
def test_gauss_newton_matrix_is_the_square_of_projected_tangents(name):
    problem, theta = case(name)
    point = away(theta)
    names = list(problem.labels)
    matrix = square(evaluate(problem, point)[0].gauss_newton, len(names))
    for cell in range(CELLS):
        values = problem.cell_values(point, cell)
        a = mixing(laws_of(problem.text), NU, values)
        slopes = [
            mixing(laws_of(problem.text), NU, dict(values) | {n: values[n] + 1e-30j}).imag / 1e-30
            for n in names
        ]
        expected = 0.0
        for x in range(problem.data.shape[1]):
            weight = problem.weights[:, x, cell]
            root = np.sqrt(weight)
            amplitude = profile(a, problem.data[:, x, cell], weight)[1]
            q = np.linalg.qr(root[:, None] * a)[0]
            tangents = np.stack([root * (slope @ amplitude) for slope in slopes], axis=1)
            across = tangents - q @ (q.T @ tangents)
            expected = expected + across.T @ across
        unit = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(
            matrix[..., cell] / np.outer(unit, unit), expected / np.outer(unit, unit), atol=1e-8
        )
        assert np.linalg.eigvalsh(matrix[..., cell] / np.outer(unit, unit)).min() > -1e-12


@pytest.mark.parametrize("name", ["two Stokes", "temperature too", "temperature of the dust known"])
def test_amplitudes_covariance_and_their_derivatives(name):
    problem, theta = case(name)
    point = away(theta)
    out = evaluate(problem, point)[1]
    for cell in range(CELLS):
        values = problem.cell_values(point, cell)
        matrix = mixing(laws_of(problem.text), NU, values)
        chi2 = 0.0
        for x in range(problem.data.shape[1]):
            data, weight = problem.data[:, x, cell], problem.weights[:, x, cell]
            half, amplitude, _ = profile(matrix, data, weight)
            chi2 += 2 * half
            np.testing.assert_allclose(out.amplitudes[:, x, cell], amplitude, rtol=1e-9)
            covariance = np.linalg.inv(matrix.T @ (weight[:, None] * matrix))
            shown = out.covariance[:, :, x, cell]
            np.testing.assert_allclose(shown, covariance, rtol=1e-8)
            for k, n in enumerate(problem.labels):
                moved = mixing(laws_of(problem.text), NU, dict(values) | {n: values[n] + 1e-30j})
                slope = profile(moved, data, weight)[1].imag / 1e-30
                np.testing.assert_allclose(
                    out.derivative[:, k, x, cell], slope, rtol=1e-7, atol=1e-9 * np.abs(slope).max()
                )
        np.testing.assert_allclose(out.chi2[cell], chi2, rtol=1e-10)


def test_shared_weights_are_the_same_as_weights_written_out():
    problem, theta = case("two Stokes")
    kernel = Kernel.of(model_of(problem), INSTRUMENT)
    point = away(theta).reshape(-1, CELLS)
    short = eager(kernel, point, {}, problem.data, problem.weights[:, :1, :1])
    full = eager(kernel, point, {}, problem.data, problem.weights)
    for a, b in zip(short[0], full[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    assert short[1].covariance.shape[2] == 1
    np.testing.assert_allclose(short[1].covariance[:, :, 0], full[1].covariance[:, :, 1])


def test_a_channel_without_weight_is_as_if_it_were_not_there():
    problem, theta = case("two Stokes")
    point = away(theta)
    data, weights = problem.data.copy(), problem.weights.copy()
    data[3], weights[3] = 1e6, 0.0
    spoiled = dataclasses.replace(problem, data=data, weights=weights)
    terms = evaluate(spoiled, point)[0]
    keep = np.arange(NU.size) != 3
    rest = SpectralProblem(
        problem.text, NU[keep], problem.data[keep], problem.weights[keep], problem.labels
    )
    for cell in range(CELLS):
        values = rest.cell_values(point, cell)
        np.testing.assert_allclose(
            terms.objective[cell], rest.cell_objective(values, cell), rtol=1e-10
        )
        np.testing.assert_allclose(
            terms.gradient[:, cell], rest.cell_gradient(values, cell), rtol=1e-7
        )


def test_a_cell_without_data_adds_nothing():
    problem, theta = case("two Stokes")
    weights = problem.weights.copy()
    weights[..., 2] = 0.0
    terms, amplitudes = evaluate(
        dataclasses.replace(
            problem, data=np.where(weights > 0, problem.data, 0.0), weights=weights
        ),
        away(theta),
    )
    for field in terms:
        np.testing.assert_array_equal(field[..., 2], 0.0)
    assert amplitudes.chi2[2] == 0.0
    assert all(np.all(np.isfinite(field)) for field in (*terms, *amplitudes))


def test_nothing_is_left_of_noiseless_data_at_the_truth():
    problem, theta = per_cell_problem("c+d+s", noise=1e-3, seed=9)
    amplitudes = np.random.default_rng(0).normal(size=(3, 2, CELLS))
    clean = dataclasses.replace(problem, data=clean_data(problem, theta, amplitudes))
    terms, out = evaluate(clean, theta)
    np.testing.assert_allclose(out.amplitudes, amplitudes, rtol=1e-9)
    size = np.sum(clean.weights * clean.data**2, axis=(0, 1))
    assert np.all(terms.objective < 1e-26 * size)


def test_the_objective_does_not_depend_on_reference_frequencies():
    problem, theta = case("two Stokes")
    point = away(theta).reshape(-1, CELLS)
    terms = [
        eager(
            Kernel.of(SkyModel.parse("c+d+s", dust_nu0=dust, synchrotron_nu0=sync), INSTRUMENT),
            point,
            {},
            problem.data,
            problem.weights,
        )[0]
        for dust, sync in ((160.0, 20.0), (353.0, 23.0))
    ]
    np.testing.assert_allclose(terms[0].objective, terms[1].objective, rtol=1e-11)
    np.testing.assert_allclose(terms[0].gradient, terms[1].gradient, rtol=1e-8)
    np.testing.assert_allclose(terms[0].hessian, terms[1].hessian, rtol=1e-7)


def test_owner_names_the_component_of_each_free_parameter():
    kernel = Kernel.of(SkyModel(SkyModel.parse("c+d+s").components, {"beta_dust": 1.5}), INSTRUMENT)
    assert kernel.free == ("temp_dust", "beta_pl")
    assert kernel.owner == (1, 2)
