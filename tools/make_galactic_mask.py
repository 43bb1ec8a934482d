"""Make the packaged map that Galactic masks are thresholds of.

    python tools/make_galactic_mask.py TEMPLATES.npz src/skysift/data/galactic_intensity.npz

The input holds PySM's dust templates (keys `dust_I_545_uKRJ`, `dust_beta_d1`, `dust_temp_d1`, RING,
Galactic). The d1 intensity is taken from 545 to 353 GHz and smoothed to 10 degrees FWHM. What is
smooth needs few harmonics, so these are stored, and the mask can be evaluated at any nside.
"""

import argparse
from pathlib import Path

import healpy as hp
import numpy as np
import scipy.constants as const

FWHM_DEGREES = 10.0
# The beam exp(-l (l + 1) sigma^2 / 2) is 1e-11 here: single precision could not hold what is lost.
LMAX = 95


def dust_intensity_353(templates: dict[str, np.ndarray]) -> np.ndarray:
    """Intensity of the modified black body at 353 GHz from that at 545 GHz [uK_RJ]."""
    beta = templates["dust_beta_d1"].astype(float)
    x = const.h * 1e9 / const.k / templates["dust_temp_d1"].astype(float)
    scaling = (353.0 / 545.0) ** (beta + 1.0) * np.expm1(x * 545.0) / np.expm1(x * 353.0)
    return templates["dust_I_545_uKRJ"].astype(float) * scaling


def main() -> None:
    """Read the templates, write the harmonics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("templates", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    with np.load(arguments.templates) as templates:
        intensity = dust_intensity_353(dict(templates))
    beam = hp.gauss_beam(np.radians(FWHM_DEGREES), lmax=LMAX)
    alm = hp.almxfl(hp.map2alm(intensity, lmax=LMAX, iter=10), beam)
    np.savez_compressed(arguments.output, alm=alm.astype(np.complex64))
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
