"""Measure scattering statistics of skysift on one map, in a process of its own.

Arguments and report are those of the peers (`benchmarks/peers/stopwatch.py`). On the sphere the
gradient is with respect to the harmonic coefficients, in which syntheses work; with
`--from-map` with respect to the map, through its harmonic analysis.
"""

from __future__ import annotations

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))

from stopwatch import Stopwatch, parser

from skysift import scattering
from skysift.scattering.statistic import AbstractStatistic


@eqx.filter_jit
def vector(statistic: AbstractStatistic, given: jax.Array, from_map: bool) -> jax.Array:
    """All coefficients of one field, normalised by its own powers."""
    fields = statistic.domain.fields(given) if from_map else given
    moments = statistic.moments(fields[None])
    values = statistic.normalised(moments, moments)
    return scattering.Statistics(values, statistic.layout).vector[0]


@eqx.filter_jit
def slope(statistic: AbstractStatistic, given: jax.Array, from_map: bool) -> tuple:
    """Sum of the squares of all coefficients, and its gradient."""
    return jax.value_and_grad(lambda one: jnp.sum(vector(statistic, one, from_map) ** 2))(given)


def main() -> None:
    """Measure one map."""
    arguments = parser(__doc__)
    arguments.add_argument("--kind", choices=("covariance", "wph"), default="covariance")
    arguments.add_argument("--scales", type=int)
    arguments.add_argument("--orientations", type=int, default=4)
    arguments.add_argument("--lmax", type=int)
    arguments.add_argument("--harmonics", type=int, default=4)
    arguments.add_argument("--double", action="store_true", help="float64")
    arguments.add_argument("--from-map", action="store_true")
    options = arguments.parse_args()
    pixels = np.load(options.map).astype(np.float64 if options.double else np.float32)
    with Stopwatch("skysift", ("skysift", "jax"), options) as watch:
        with watch.stage("set_up"):
            if pixels.ndim == 1:
                statistic = scattering.Covariance.sphere(
                    int(np.sqrt(pixels.size // 12)),
                    options.scales,
                    lmax=options.lmax,
                    directions=options.harmonics + 1,
                    harmonics=options.harmonics,
                    handed=options.harmonics > 4,
                )
            else:
                family = {"covariance": scattering.Covariance, "wph": scattering.WPH}[options.kind]
                kinds = {"wavelet": scattering.Morlet()} if options.kind == "covariance" else {}
                statistic = family.plane(
                    pixels.shape, options.scales, options.orientations, **kinds
                )
            given = jnp.asarray(pixels)
            if not options.from_map:
                given = statistic.domain.fields(given)
        watch.repeat(
            "forward", lambda: jax.block_until_ready(vector(statistic, given, options.from_map))
        )
        watch.repeat(
            "gradient", lambda: jax.block_until_ready(slope(statistic, given, options.from_map))
        )
        watch.count(statistic.layout.n_coefficients)


if __name__ == "__main__":
    main()
