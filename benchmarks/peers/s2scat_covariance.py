"""Measure the scattering covariance of s2scat on the sphere, on the CPU.

The script runs in an environment of its own (requirements-scattering-jax.txt beside this file):

    taskset -c 0,1 python s2scat_covariance.py --map MAP.npy --band-limit 64 --directions 3 \
        --seconds 900

MAP.npy is a HEALPix map in RING order, of which s2scat gets the spherical harmonic coefficients
below the band limit L; the gradient is with respect to them. Scales are all from J_min = 0, with
2 N - 1 directions, precomputed tables, float64 and the normalisation of a reference, here the map
itself. All statistics are real, some of them in a complex type. The first calls compile.
`stopwatch.py` tells what is printed.
"""

from pathlib import Path

import healpy as hp
import jax
import numpy as np
from stopwatch import Stopwatch, parser

jax.config.update("jax_enable_x64", True)

import s2scat  # noqa: E402  (after the precision is set)


def harmonics(path: Path, band_limit: int) -> jax.Array:
    """Return the coefficients (l, m >= 0) of a map that s2scat takes for a real field.

    Args:
        path: File of the map.
        band_limit: L, all l are below it.
    """
    alm = hp.map2alm(np.load(path), lmax=band_limit - 1)
    degrees, orders = hp.Alm.getlm(band_limit - 1)
    found = np.zeros((band_limit, band_limit), complex)
    found[degrees, orders] = alm
    return jax.numpy.asarray(found)


def main() -> None:
    """Measure one map."""
    arguments = parser(__doc__)
    arguments.add_argument("--band-limit", type=int, required=True)
    arguments.add_argument("--directions", type=int, default=3, help="N, of 2 N - 1 directions")
    options = arguments.parse_args()
    field = harmonics(options.map, options.band_limit)
    sizes = {"L": options.band_limit, "N": options.directions, "J_min": 0, "reality": True}
    with Stopwatch("s2scat", ("s2scat", "s2fft", "jax"), options) as watch:
        with watch.stage("set_up"):
            tables = s2scat.configure(**sizes, recursive=False)
            norm = s2scat.compute_norm(field, *sizes.values(), tables, False)
            jax.block_until_ready((tables, norm))

        def statistics(flm, tables, norm):
            return s2scat.scatter(flm, *sizes.values(), tables, norm)

        def loss(flm, tables, norm):
            return sum((part.real**2).sum() for part in statistics(flm, tables, norm))

        forward = jax.jit(statistics)
        gradient = jax.jit(jax.value_and_grad(loss))
        watch.repeat("forward", lambda: jax.block_until_ready(forward(field, tables, norm)))
        watch.repeat("gradient", lambda: jax.block_until_ready(gradient(field, tables, norm)))
        watch.count(sum(part.size for part in forward(field, tables, norm)))


if __name__ == "__main__":
    main()
