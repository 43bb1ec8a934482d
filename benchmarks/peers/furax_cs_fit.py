"""Fit the spectral parameters of one problem with the peer package furax-cs.

The script runs in an environment of its own (requirements-furax-cs.txt beside this file) and
exchanges arrays through npz files, so that skysift and furax-cs solve exactly the same problem:

    python furax_cs_fit.py PROBLEM.npz OUT.npz --solver optax_lbfgs --seconds 60 --precondition

It minimises ``furax.obs.negative_log_likelihood`` (analytical gradient, furax's own conjugate
gradient settings) and writes down the wall time and the value of every evaluation. The fit ends
by itself or, with the first evaluation after ``--seconds``, at the time limit.

Inputs, arrays of PROBLEM.npz:
    data: (n_freq, 2, n_pix) Q and U maps in uK_CMB.
    frequencies: (n_freq,) GHz.
    variance: (n_freq,) noise variance per pixel in uK_CMB^2; ones give unit weights.
    labels_beta_dust, labels_temp_dust, labels_beta_pl: (n_pix,) patch of each pixel, from 0.
    start, lower, upper: (3,) start and bounds of beta_dust, temp_dust, beta_pl, in this order.
    dust_nu0, synchrotron_nu0: reference frequencies in GHz.

Outputs, arrays of OUT.npz:
    times, nll: (n_eval,) seconds since the call of minimize, and the value, per evaluation. The
        value carries the error of the conjugate gradient and may be NaN. With ``--precondition``
        the first evaluation is the scaling gradient, and the solver compiles after it.
    beta_dust, temp_dust, beta_pl: (n_patch,) parameters of the lowest value seen inside the
        bounds. Evaluate the exact objective there before comparing.
    best_nll: That lowest value.
    seconds_to_first: Wall seconds until the first evaluation, mostly compilation.
    seconds_total: Wall seconds of the whole call.
    hit_limit: Whether the time limit ended the fit.
    settings: JSON text with the solver, the options and the package versions.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cadre
import furax_cs
import jax
import jax.numpy as jnp
import numpy as np
from furax.obs import negative_log_likelihood
from furax.obs.operators import NoiseDiagonalOperator
from furax.obs.stokes import Stokes

PARAMETERS = ("beta_dust", "temp_dust", "beta_pl")
SOLVERS = ("optax_lbfgs", "ADABK0", "scipy_tnc")
MINIMIZERS = {"furax_cs": furax_cs.minimize, "cadre": cadre.minimize}
PACKAGES = ("furax-cs", "furax", "jax-cadre", "jax", "optax", "optimistix", "jaxopt", "scipy")
TOLERANCE = 1e-16
MAX_ITERATIONS = 1_000_000
BOUND_SLACK = 1e-9

Parameters = dict[str, np.ndarray]


class TimeLimitError(Exception):
    """Raised inside the host callback to end a fit whose time is over."""


class Recorder:
    """Keeps the history of the evaluations and the best parameters inside the bounds.

    Attributes:
        times: Seconds since the creation of the recorder, per evaluation.
        values: Objective per evaluation.
        best: Lowest objective seen inside the bounds.
        parameters: Parameters of ``best``, or the start if there is none.
        hit_limit: Whether the limit was reached.
    """

    def __init__(self, seconds: float, start: Parameters, lower: Parameters, upper: Parameters):
        """Start the clock.

        Args:
            seconds: Wall-clock limit.
            start: Parameters to report if every evaluation fails.
            lower: Lower bounds.
            upper: Upper bounds.
        """
        self._start = time.perf_counter()
        self._seconds = seconds
        self._lower = lower
        self._upper = upper
        self.times: list[float] = []
        self.values: list[float] = []
        self.best = float("inf")
        self.parameters = start
        self.hit_limit = False

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._start

    def is_inside(self, parameters: Parameters) -> bool:
        """Tell whether all parameters respect their bounds; a line search may step outside.

        Args:
            parameters: Parameters of one evaluation.
        """
        return all(
            np.all(parameters[name] >= self._lower[name] - BOUND_SLACK)
            and np.all(parameters[name] <= self._upper[name] + BOUND_SLACK)
            for name in PARAMETERS
        )

    def __call__(self, value: jax.Array, parameters: Mapping[str, jax.Array]) -> None:
        """Record one evaluation.

        Args:
            value: Objective.
            parameters: Parameters at which it was evaluated.

        Raises:
            TimeLimitError: If the limit is over.
        """
        self.times.append(self.elapsed())
        self.values.append(float(value))
        point = {name: np.array(parameters[name]) for name in PARAMETERS}
        if self.values[-1] < self.best and self.is_inside(point):
            self.best = self.values[-1]
            self.parameters = point
        if self.times[-1] > self._seconds:
            self.hit_limit = True
            raise TimeLimitError


def build_arguments(problem: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Translate the problem into the arguments of furax's likelihood.

    Args:
        problem: Arrays of the problem file.

    Returns:
        The array arguments of ``negative_log_likelihood`` except the parameters.
    """
    stokes_q, stokes_u = (jnp.asarray(problem["data"][:, i], dtype=float) for i in range(2))
    data = Stokes.from_stokes(stokes_q, stokes_u)
    variance = jnp.asarray(problem["variance"], dtype=float)[:, None]
    return {
        "nu": jnp.asarray(problem["frequencies"], dtype=float),
        "N": NoiseDiagonalOperator(
            Stokes.from_stokes(variance, variance), in_structure=data.structure
        ),
        "d": data,
        "patch_indices": {
            f"{name}_patches": jnp.asarray(problem[f"labels_{name}"], dtype=int)
            for name in PARAMETERS
        },
    }


def build_objective(
    problem: Mapping[str, np.ndarray], record: Recorder
) -> Callable[..., jax.Array]:
    """Return furax's objective with the recorder attached to each evaluation.

    Args:
        problem: Arrays of the problem file.
        record: Called on the host with the value and the parameters.
    """
    likelihood = partial(
        negative_log_likelihood,
        dust_nu0=float(problem["dust_nu0"]),
        synchrotron_nu0=float(problem["synchrotron_nu0"]),
        analytical_gradient=True,
    )

    def objective(parameters: dict[str, jax.Array], **arguments: Any) -> jax.Array:
        value = likelihood(parameters, **arguments)
        jax.debug.callback(record, value, parameters)
        return value

    return objective


def expand(problem: Mapping[str, np.ndarray], key: str) -> Parameters:
    """Repeat three scalars of the problem over the patches of each parameter.

    Args:
        problem: Arrays of the problem file.
        key: One of start, lower, upper.

    Returns:
        One array of length n_patch per parameter.
    """
    return {
        name: np.full(int(problem[f"labels_{name}"].max()) + 1, float(value))
        for name, value in zip(PARAMETERS, problem[key], strict=True)
    }


def fit(problem: Mapping[str, np.ndarray], options: argparse.Namespace) -> dict[str, Any]:
    """Run the peer's minimiser until it ends or the time is over.

    Args:
        problem: Arrays of the problem file.
        options: Parsed command line.

    Returns:
        The arrays of the output file, without the settings.
    """
    arguments = build_arguments(problem)
    start, lower, upper = (expand(problem, key) for key in ("start", "lower", "upper"))
    record = Recorder(options.seconds, start, lower, upper)
    try:
        result = MINIMIZERS[options.minimizer](
            build_objective(problem, record),
            jax.tree.map(jnp.asarray, start),
            solver_name=options.solver,
            max_iter=MAX_ITERATIONS,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            lower_bound=jax.tree.map(jnp.asarray, lower),
            upper_bound=jax.tree.map(jnp.asarray, upper),
            precondition=options.precondition,
            **arguments,
        )
        jax.block_until_ready(result)
        jax.effects_barrier()
    except (TimeLimitError, jax.errors.JaxRuntimeError):
        if not record.hit_limit:
            raise
    return {
        "times": np.array(record.times),
        "nll": np.array(record.values),
        **record.parameters,
        "best_nll": record.best,
        "seconds_to_first": record.times[0],
        "seconds_total": record.elapsed(),
        "hit_limit": record.hit_limit,
    }


def parse_command_line() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problem", type=Path, help="npz file with the problem")
    parser.add_argument("out", type=Path, help="npz file to write")
    parser.add_argument("--solver", choices=SOLVERS, default="optax_lbfgs")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall-clock limit")
    parser.add_argument(
        "--precondition",
        action="store_true",
        help="scale parameters and objective; furax-cs ignores it for scipy_tnc",
    )
    parser.add_argument(
        "--minimizer",
        choices=tuple(MINIMIZERS),
        default="furax_cs",
        help="the released furax_cs.minimize, or its successor in jax-cadre",
    )
    return parser.parse_args()


def main() -> None:
    """Read the problem, fit it, write the result and print a summary."""
    options = parse_command_line()
    jax.config.update("jax_enable_x64", True)
    # JAX logs a traceback when a callback raises, which is how the time limit works here.
    logging.getLogger("jax").setLevel(logging.CRITICAL)
    with np.load(options.problem) as archive:
        problem = dict(archive)
    result = fit(problem, options)
    settings = {
        "solver": options.solver,
        "minimizer": options.minimizer,
        "precondition": options.precondition,
        "seconds": options.seconds,
        "versions": {name: version(name) for name in PACKAGES},
    }
    np.savez(options.out, settings=np.array(json.dumps(settings)), **result)
    print(
        f"{options.minimizer} {options.solver}: {len(result['nll'])} evaluations in "
        f"{result['seconds_total']:.1f} s (first after {result['seconds_to_first']:.1f} s), "
        f"lowest value {result['best_nll']:.6f}"
    )


if __name__ == "__main__":
    main()
