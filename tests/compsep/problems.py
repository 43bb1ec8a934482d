"""Small skies to separate, and the same ones as the oracle sees them."""

from __future__ import annotations

import numpy as np

from skysift.compsep.kernel import Kernel
from skysift.compsep.likelihood import Likelihood, Stream
from skysift.compsep.structure import Structure
from skysift.instrument import Instrument
from skysift.sky.model import SkyModel

from ..oracles.spectral import SpectralProblem, laws_of, mixing

STREAM = Stream(chunk=64, tile=32, threads=1)
NU = np.array([27.0, 40.0, 70.0, 100.0, 143.0, 220.0, 280.0, 353.0])
INSTRUMENT = Instrument.of_frequencies(list(NU))

# Ranges that random parameters are drawn from: well inside what the sky does.
RANGES = {
    "beta_dust": (1.3, 1.8),
    "temp_dust": (15.0, 26.0),
    "beta_pl": (-3.4, -2.6),
    "curvature_pl": (-0.2, 0.2),
    "peak_ame": (18.0, 30.0),
    "width_ame": (0.4, 0.7),
    "beta_cold": (1.4, 2.0),
    "temp_cold": (7.0, 12.0),
    "fraction_cold": (0.05, 0.4),
}


def draw_parameters(names, count, random):
    return {name: random.uniform(*RANGES[name], count) for name in names}


def draw_problem(
    text: str,
    labels: dict[str, np.ndarray],
    *,
    cells: int,
    stokes: int = 2,
    noise: float = 0.3,
    seed: int = 0,
    fixed: tuple[str, ...] = (),
    uneven: bool = False,
    signal: float = 10.0,
    nu: np.ndarray = NU,
) -> tuple[SpectralProblem, np.ndarray]:
    """An oracle's problem with data drawn from its own model, and the true parameter vector.

    Args:
        text: model letters.
        labels: patches per free parameter.
        cells: number of cells.
        stokes: number of Stokes parameters.
        noise: standard deviation.
        seed: of everything drawn.
        fixed: parameters that vary from cell to cell and are known.
        uneven: other weights in each channel, Stokes parameter and cell, some of them zero.
        signal: amplitude of the components.
        nu: channel frequencies.
    """
    random = np.random.default_rng(seed)
    counts = {name: int(label.max()) + 1 for name, label in labels.items()}
    truth = {name: random.uniform(*RANGES[name], count) for name, count in counts.items()}
    known = draw_parameters(fixed, cells, random)
    shape = (nu.size, stokes, cells)
    weights = np.full(shape, noise**-2.0)
    if uneven:
        weights = weights * random.uniform(0.3, 3.0, shape)
        weights[random.uniform(size=shape) < 0.05] = 0.0
    problem = SpectralProblem(text, nu, np.zeros(shape), weights, labels, known)
    theta = np.concatenate([*truth.values(), np.zeros(0)])
    drawn = signal * random.standard_normal((text.count("+") + 1, stokes, cells))
    drawn += signal * np.sign(drawn)
    noises = random.standard_normal(shape) * np.sqrt(
        np.divide(1.0, weights, out=np.zeros(shape), where=weights > 0)
    )
    data = np.where(weights > 0, clean_data(problem, theta, drawn) + noises, 0.0)
    return SpectralProblem(text, nu, data, weights, labels, known), theta


def clean_data(problem: SpectralProblem, theta: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    cells = range(problem.data.shape[-1])
    matrices = [
        mixing(
            laws_of(problem.text), problem.nu, problem.cell_values(theta, cell), problem.bandwidth
        )
        for cell in cells
    ]
    return np.stack([matrices[cell] @ amplitudes[..., cell] for cell in cells], axis=-1)


def model_of(problem: SpectralProblem) -> SkyModel:
    parsed = SkyModel.parse(problem.text)
    return SkyModel(parsed.components, dict(problem.fixed))


def likelihood_of(
    problem: SpectralProblem, stream: Stream = STREAM, instrument: Instrument = INSTRUMENT
) -> Likelihood:
    model = model_of(problem)
    names = [parameter.name for parameter in model.free]
    assert names == list(problem.labels)
    cells = problem.data.shape[-1]
    labels = np.stack(list(problem.labels.values())) if names else np.zeros((0, cells), int)
    counts = tuple(problem.counts)
    mean = [
        np.full(n, problem.priors.get(k, (0.0, 1.0))[0]) for k, n in zip(names, counts, strict=True)
    ]
    precision = [
        np.full(n, problem.priors[k][1] ** -2.0 if k in problem.priors else 0.0)
        for k, n in zip(names, counts, strict=True)
    ]
    empty = [np.zeros(0)]
    return Likelihood(
        Kernel.of(model, instrument),
        problem.data,
        problem.weights,
        {name: np.asarray(value) for name, value in problem.fixed.items()},
        Structure.of(labels, counts),
        np.concatenate(mean + empty),
        np.concatenate(precision + empty),
        stream,
    )


def box_of(problem: SpectralProblem) -> tuple[np.ndarray, np.ndarray]:
    """The components' own bounds of every patch parameter."""
    bounds = [p.bounds for p in model_of(problem).free]
    low = [np.full(n, b[0]) for n, b in zip(problem.counts, bounds, strict=True)]
    high = [np.full(n, b[1]) for n, b in zip(problem.counts, bounds, strict=True)]
    return np.concatenate(low), np.concatenate(high)


def start_of(problem: SpectralProblem) -> np.ndarray:
    defaults = [p.default for p in model_of(problem).free]
    return np.concatenate([np.full(n, d) for n, d in zip(problem.counts, defaults, strict=True)])
