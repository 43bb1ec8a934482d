"""The tensor-to-scalar ratio of what lies in files: maps, spectra, and runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from skysift.cosmology import TensorRatio, fit_r
from skysift.cosmology.measure import RSettings, measure_r
from skysift.grid import Grid, Ordering
from skysift.harmonic import Bandpowers
from skysift.healpix_file import read_column
from skysift.healpix_table import MapFormat
from skysift.maps import Maps
from skysift.masks import galactic_mask
from skysift.store.fits import read_map
from skysift.store.run import MAPS, Run
from skysift.store.spectra_file import read_bb

_ARCMIN = np.pi / 10800.0


@dataclass(frozen=True)
class RNoise:
    """What is known of the noise; at most one of them.

    Args:
        depth: of white noise [uK_CMB arcmin].
        map: FITS map of the standard deviation in each cell [uK_CMB].
        spectrum: file of the power of the noise, in the form of the spectra.
    """

    depth: float | None = None
    map: Path | None = None
    spectrum: Path | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.depth, self.map, self.spectrum) if v is not None]
        if len(given) > 1:
            raise ValueError(
                "noise: expected one of a depth, a map and a spectrum, got several. Leave the "
                "others out."
            )
        if self.depth is not None and not (np.isfinite(self.depth) and self.depth >= 0):
            raise ValueError(f"noise_depth: expected uK arcmin not below zero, got {self.depth!r}.")

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return any(v is not None for v in (self.depth, self.map, self.spectrum))


def tensor_ratio_of(
    source: Path,
    noise: RNoise,
    settings: RSettings,
    *,
    mask: str = "ALL",
    split: Path | None = None,
    fsky: float | None = None,
) -> TensorRatio:
    """Measure r of a file or run.

    Args:
        source: run of `skysift separate`, FITS map, or file of spectra.
        noise: what is known of it; a run knows its own.
        settings: how.
        mask: cells of a map to use, as `galactic_mask`.
        split: second map of the same sky, with independent noise.
        fsky: fraction of the sky of C_l.

    Raises:
        ValueError: for inputs that do not fit the source. The message says what is needed.
    """
    if source.is_dir():
        _refuse("a run", split=split, fsky=fsky, noise=noise.known or None)
        return tensor_ratio_of_run(Run.open(source), settings, mask=mask)
    if _is_map(source):
        _refuse("a map", fsky=fsky)
        return tensor_ratio_of_map(source, noise, settings, mask=mask, split=split)
    _refuse("spectra", split=split, mask=None if mask == "ALL" else mask)
    return tensor_ratio_of_spectra(source, noise, settings, fsky)


def tensor_ratio_of_run(run: Run, settings: RSettings, *, mask: str = "ALL") -> TensorRatio:
    """Measure r of the CMB that a separation recovered.

    The noise is white with the standard deviations of the recovered CMB, those of the spectral
    parameters included.

    Args:
        run: of kind `separate`.
        settings: how.
        mask: cells to use of those that were separated.

    Raises:
        ValueError: for a run of another kind, without CMB, or without errors.
    """
    if run.manifest.kind != "separate":
        raise ValueError(
            f"source: expected a separation, got {run.path}, a run of skysift "
            f"{run.manifest.kind}. Run skysift separate on it first."
        )
    data = run.dataset()
    if "cmb" not in data["component"].values:
        raise ValueError(
            f"source: expected a run with a CMB, got {data.attrs['model']} in {run.path}. Separate "
            "with c in --model."
        )
    if not data.attrs["calibrated"]:
        raise ValueError(
            f"source: expected a run whose weights are inverse noise variances, got others in "
            f"{run.path}. Separate with --noise depth or sigma:PATH, or measure r of its "
            "maps/cmb.fits with --noise-depth."
        )
    if "Q" not in data["stokes"].values:
        raise ValueError(
            f"source: expected a run with polarisation, got Stokes I in {run.path}. B modes are "
            "patterns of polarisation."
        )
    cmb = read_map(run.path / MAPS / "cmb.fits")
    error = data["component_error"].sel(component="cmb").sel(stokes=["Q", "U"]).values
    sigma = np.full(cmb.grid.npix, np.nan)
    order = Ordering(data.attrs["ordering"])
    fitted = Grid(cmb.grid.nside, order, data["cell"].values)
    sigma[fitted.ring] = np.sqrt(np.mean(error**2, axis=0))
    return measure_r(cmb, sigma, mask=_mask(mask, cmb), settings=settings)


def tensor_ratio_of_map(
    path: Path,
    noise: RNoise,
    settings: RSettings,
    *,
    mask: str = "ALL",
    split: Path | None = None,
) -> TensorRatio:
    """Measure r of a FITS map of the CMB, or of two with independent noise.

    Raises:
        ValueError: without noise, or for maps that do not fit each other.
    """
    cmb = read_map(path)
    nside = cmb.grid.require_nside()
    other = None if split is None else read_map(split, MapFormat(nside=nside))
    if noise.depth is not None:
        sigma: float | np.ndarray = noise.depth / cmb.grid.resolution
    elif noise.map is not None:
        sigma = read_column(noise.map, expected=MapFormat(nside=nside))
    else:
        raise ValueError(
            "noise: expected the level of the noise in the map, got none"
            + (" (a spectrum does for spectra only)" if noise.spectrum else "")
            + ". Give --noise-depth in uK arcmin (0 for none), or --noise-map with the standard "
            "deviation in each cell; of two splits, that of each."
        )
    return measure_r(cmb, sigma, other=other, mask=_mask(mask, cmb), settings=settings)


def tensor_ratio_of_spectra(
    path: Path, noise: RNoise, settings: RSettings, fsky: float | None = None
) -> TensorRatio:
    """Measure r of a file of bandpowers or C_l, with the f_sky-scaled likelihood.

    Raises:
        ValueError: without noise, or for spectra that do not fit.
    """
    observed = read_bb(path)
    if settings.form is not None and settings.form.value != "fsky":
        raise ValueError(
            f"likelihood: expected fsky for spectra from a file, got {settings.form.value}. The "
            "covariance of others is simulated with the maps' mask: give the map."
        )
    return fit_r(
        observed,
        noise=_power_of(noise),
        fsky=fsky,
        lmin=2 if settings.lmin is None else settings.lmin,
        lmax=settings.lmax,
        a_lens=settings.a_lens,
        r_range=settings.r_range,
        physical=settings.physical,
    )


def _power_of(noise: RNoise) -> float | Float[np.ndarray, " ell"] | None:
    if noise.map is not None:
        raise ValueError(
            "noise: expected a depth or a spectrum of the noise with spectra, got a map. Give "
            "--noise-depth or --noise-spectrum."
        )
    if noise.depth is not None:
        return (noise.depth * _ARCMIN) ** 2
    if noise.spectrum is None:
        raise ValueError(
            "noise: expected the power of the noise in the spectra, got none. Give --noise-depth "
            "in uK arcmin (0 for none), or --noise-spectrum."
        )
    power = read_bb(noise.spectrum)
    return np.asarray(power.values["BB"]) if isinstance(power, Bandpowers) else power


def _mask(expression: str, maps: Maps) -> np.ndarray:
    mask = galactic_mask(expression, maps.grid.require_nside())
    return mask & _kept(maps)


def _kept(maps: Maps) -> np.ndarray:
    kept = np.zeros(maps.grid.npix, dtype=bool)
    kept[maps.grid.ring] = True
    return kept


def _refuse(what: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: expected none with {what}, got one. Leave it out.")


def _is_map(path: Path) -> bool:
    """Whether a file is FITS with a HEALPix table."""
    if not path.is_file() or ".fit" not in path.name.lower():
        return False
    try:
        with fits.open(path) as hdus:
            tables = [hdu.header for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
            return any("NSIDE" in header or "ORDERING" in header for header in tables)
    except OSError as error:
        raise ValueError(
            f"{path}: expected a FITS file, got one that cannot be read ({error})."
        ) from error
