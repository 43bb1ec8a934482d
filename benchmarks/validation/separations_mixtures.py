"""Mixtures of a known truth for `separations.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np

from skysift import scattering as sc
from skysift.scattering.separation.contamination import AbstractContamination
from skysift.scattering.statistic import AbstractStatistic

SPECTRUM = {sc.Order.BANDPOWER: 30.0}
SKY = {sc.Order.BANDPOWER: 10.0}
"""Less than on planes: there the powers of the whole sky are a constraint too."""
PATIENT = {"settled": 0.05, "tolerance": 0.01}
"""A signal that is left earlier keeps offsets of what it starts from, all to the same side."""
WHOLE = 10.0
"""Weight of the powers of the whole sky: those of regions without signal cannot go below 0, where
those of the data less the contamination may be, and add to more than the sky has."""
SHARES = (0.5, 0.75, 0.9)
"""Of the sky, fainter than the regions of which statistics are told."""
EDGE = 1e-9
"""Part by which the edges of bins are moved, for modes that lie on them."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of which the parts are known.

    Args:
        truth: signal `(channel, *cells)`.
        data: `(channel, *cells)`, or `(2, channel, *cells)`.
        model: of the contamination.
        statistic: of the separation.
        constraints: of the separation.
        descent: of the separation.
        draws: of the contamination.
        channels: names of them.
        kept: cells that count.
        finest: scale from which on the signal-to-noise is above 0.1.
        top: highest wave number or multipole.
        parts: the same statistic of several parts of the truth, which tell how much it varies;
            `None` where they differ in more than that.
        known: independent fields from which the contamination is known.
        begin: where the signal starts.
        others: other contaminations `(number, channel, *cells)` that the data could have had;
            `None` where they are as those of the model.
    """

    truth: np.ndarray
    data: np.ndarray
    model: AbstractContamination
    statistic: AbstractStatistic
    constraints: tuple
    descent: sc.Descent
    draws: int
    channels: tuple[str, ...]
    kept: np.ndarray
    finest: int
    top: int
    parts: AbstractStatistic | None
    known: int
    begin: sc.Begin = sc.Begin.DATA
    others: np.ndarray | None = None

    @property
    def halves(self) -> bool:
        """Whether the data are in two halves."""
        return self.data.ndim > self.truth.ndim

    @property
    def whole(self) -> np.ndarray:
        """The data, halves averaged."""
        return self.data.mean(axis=0) if self.halves else self.data


def half_octaves(top: float) -> np.ndarray:
    """Edges of bins of wave numbers up to half an octave above one, some of which are octaves."""
    edges = top * 2.0 ** (np.arange(-2 * int(np.log2(top)), 2) / 2.0)
    return edges * (1.0 - EDGE)


def standard(values: np.ndarray) -> np.ndarray:
    """In standard deviations about the mean."""
    return (values - values.mean()) / values.std()


def coarser(image: np.ndarray, cells: int) -> np.ndarray:
    """A periodic image on fewer cells, of its lowest modes."""
    modes = np.fft.fftshift(np.fft.fft2(image, norm="forward"))
    edge = (image.shape[0] - cells) // 2
    cut = modes[edge : edge + cells, edge : edge + cells]
    cut[0], cut[:, 0] = 0.0, 0.0
    return np.fft.ifft2(np.fft.ifftshift(cut), norm="forward").real


def plane_statistic(
    shape: tuple[int, int],
    scales: int,
    channels: int = 1,
    weights: np.ndarray | None = None,
    bins: int | list[float] = 20,
) -> AbstractStatistic:
    """Scattering covariance and power spectrum of flat maps."""
    return sc.Mixture(
        (
            sc.PowerSpectrum.plane(shape, bins, channels=channels, weights=weights),
            sc.Covariance.plane(shape, scales, 4, channels=channels, weights=weights),
        )
    )


def quarters(kept: np.ndarray) -> np.ndarray:
    """The cells that count in each quarter of an image."""
    half = kept.shape[0] // 2
    parts = np.zeros((4, *kept.shape))
    for number, (y, x) in enumerate(np.ndindex(2, 2)):
        here = (slice(y * half, (y + 1) * half), slice(x * half, (x + 1) * half))
        parts[number][here] = kept[here]
    return parts


def dust_and_noise(data: Path, seed: int) -> Mixture:
    """Stokes Q and U of simulated dust, with the uneven noise of a scan."""
    return scanned(data, seed, 256, 6, 300)


def small_dust_and_noise(data: Path, seed: int) -> Mixture:
    """The same on fewer cells, which another package can separate as well."""
    return scanned(data, seed, 128, 5, 100)


def scanned(data: Path, seed: int, cells: int, scales: int, draws: int) -> Mixture:
    """Dust with the noise of a scan, on a periodic plane."""
    truth = np.stack(
        [
            standard(coarser(np.load(data / f"scattering/pywph_{name}_1.npy").astype(float), cells))
            for name in "QU"
        ]
    ).astype(np.float32)
    y, x = np.mgrid[:cells, :cells] / cells
    scan = 1.0 + 0.5 * np.sin(2 * np.pi * (x + y)) * np.cos(2 * np.pi * y)
    rms = np.broadcast_to((0.6 * scan).astype(np.float32), truth.shape)
    rng = np.random.default_rng(seed)
    statistic = plane_statistic((cells, cells), scales, channels=2)
    return Mixture(
        truth,
        truth + (rng.standard_normal(truth.shape) * rms).astype(np.float32),
        sc.WhiteNoise(rms),
        statistic,
        (sc.Total(emphasis=SPECTRUM),),
        sc.Descent(sc.LBFGS(max_iter=30), steps=15, **PATIENT),
        draws,
        ("Q", "U"),
        np.ones((cells, cells), bool),
        1,
        cells // 2,
        plane_statistic((cells, cells), scales, 2, quarters(np.ones((cells, cells)))),
        draws,
        sc.Begin.FILTERED,
    )


def sky_and_noise(data: Path, seed: int) -> Mixture:
    """E and B of the dust of PySM at 353 GHz in two half-missions, beside its intensity."""
    return coarse_sky(data, seed, 1.5)


def sky_and_more_noise(data: Path, seed: int) -> Mixture:
    """The same with seven times the power of the noise."""
    return coarse_sky(data, seed, 4.0)


def coarse_sky(data: Path, seed: int, noise: float) -> Mixture:
    """E and B of the sky at nside 64."""
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        intensity = np.log(file["dust_I_545_uKRJ"])
        truth = parities(file["dust_Q_353_uKRJ"], file["dust_U_353_uKRJ"], 64, 96)
    return halves_of_the_sky(truth, intensity, 96, seed, noise)


def finer_sky_and_noise(data: Path, seed: int) -> Mixture:
    """The same at nside 128, of another model of the foregrounds."""
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        coarse = hp.map2alm(np.log(file["dust_I_545_uKRJ"]), lmax=128)
    intensity = hp.alm2map(coarse, 128, lmax=128)
    name = data / "foregrounds/pymaster-3.0.1_bmode_fg_QU_nside256.fits"
    truth = parities(*hp.read_map(name, field=(0, 1), dtype=float), 128, 192)
    return halves_of_the_sky(truth, intensity, 192, seed, 1.5)


def halves_of_the_sky(
    truth: np.ndarray, intensity: np.ndarray, lmax: int, seed: int, noise: float
) -> Mixture:
    """E and B maps with the noise of a scan, in two half-missions.

    Args:
        truth: Q and U of the signal, in any unit.
        intensity: a map that belongs to it.
        lmax: highest multipole.
        seed: of the noise.
        noise: of a cell of Q and U in a half-mission, on average, over the deviation of E.
    """
    nside, draws = hp.npix2nside(intensity.size), 24
    truth = truth / truth[0].std()
    regions = of_intensity(intensity)
    # A scan in circles through the poles sees the equator least.
    _, latitude = hp.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
    rms = noise * (1.3 - 0.7 * np.sin(np.radians(latitude)) ** 2)
    rng = np.random.default_rng(seed)
    dirt = np.stack(
        [
            parities(*(rms * rng.standard_normal((2, rms.size))), nside, lmax)
            for _ in range(2 * (draws + 1))
        ]
    ).reshape(draws + 1, 2, *truth.shape)

    whole = np.unique(np.round(half_octaves(lmax)[:-1] * (1.0 + 2.0 * EDGE))).astype(int)
    bins = [*whole[:-1].tolist(), lmax + 1]

    def statistic(channels: int, odd: tuple[bool, ...]) -> AbstractStatistic:
        weights = regions.astype(float)
        return sc.Mixture(
            (
                sc.Covariance.sphere(
                    nside,
                    4,
                    lmax=lmax,
                    channels=channels,
                    weights=weights,
                    wavelet=sc.Steerable(3),
                    directions=4,
                    harmonics=2,
                    pseudoscalar=odd,
                ),
                sc.PowerSpectrum.sphere(nside, lmax, bins, channels=channels, weights=weights),
            )
        )

    own = statistic(2, (False, True))
    beside = sc.Ancillary(
        statistic(3, (False, True, False)), map=intensity, emphasis=SKY, label="with intensity"
    )
    return Mixture(
        truth.astype(np.float32),
        (truth + dirt[0]).astype(np.float32),
        sc.Ensemble(dirt[1:].astype(np.float32)),
        own,
        (
            sc.Total(emphasis=SKY),
            sc.Total(sc.PowerSpectrum.sphere(nside, lmax, bins, channels=2), WHOLE, emphasis=SKY),
            sc.Halves(statistic(4, (False, True) * 2), emphasis=SKY),
            beside,
        ),
        sc.Descent(sc.LBFGS(max_iter=30), steps=10, **PATIENT),
        draws,
        ("E", "B"),
        np.ones(rms.size, bool),
        1,
        lmax,
        None,
        draws,
        sc.Begin.FILTERED,
    )


def of_intensity(intensity: np.ndarray) -> np.ndarray:
    """The faintest half of the sky, the next quarter, the next 15 % and the brightest tenth.

    Of the intensity at 5 degrees, as the Galactic masks of Planck.
    """
    smooth = hp.smoothing(intensity, fwhm=np.radians(5.0))
    region = np.searchsorted(np.quantile(smooth, SHARES), smooth)
    return np.stack([region == one for one in range(len(SHARES) + 1)])


def parities(q: np.ndarray, u: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    """Maps of the E and B modes of Q and U, up to a multipole."""
    alm = hp.map2alm_spin([q, u], 2, lmax=lmax)
    return np.stack([hp.alm2map(np.ascontiguousarray(one), nside, lmax=lmax) for one in alm])


def dust_and_cib(data: Path, seed: int) -> Mixture:
    """Simulated dust in intensity, with one patch of the CIB; the other patches are known."""
    cells, frame = 128, 2
    dust = standard(coarser(np.load(data / "scattering/pywph_I_1.npy").astype(float), cells))
    truth = np.roll(dust, np.random.default_rng(seed).integers(0, cells, 2), axis=(0, 1))
    patch = standard(
        np.squeeze(np.load(data / "scattering/foscat_cib_map_Planck.npy")).astype(float)
    )
    parts = [patch[y : y + cells, x : x + cells] for y in (0, cells) for x in (0, cells)]
    cib = [0.5 * (part - part.mean()) for part in parts]
    turned = [np.rot90(one, turn) for part in cib for one in (part, part.T) for turn in range(4)]
    mixed = cib.pop(seed % len(cib))
    kept = np.zeros((cells, cells), bool)
    kept[frame:-frame, frame:-frame] = True
    bins = (half_octaves(cells // 2) * 2.0 * np.pi / cells).tolist()
    statistic = plane_statistic((cells, cells), 4, weights=kept.astype(float), bins=bins)
    return Mixture(
        truth[None].astype(np.float32),
        (truth + mixed)[None].astype(np.float32),
        sc.Texture(np.stack(cib).astype(np.float32), statistic, sc.LBFGS(max_iter=40)),
        statistic,
        (sc.Total(emphasis=SPECTRUM), sc.Remainder(emphasis=SPECTRUM)),
        sc.Descent(sc.LBFGS(max_iter=15), steps=15),
        40,
        ("I",),
        kept,
        0,
        cells // 2,
        plane_statistic((cells, cells), 4, weights=quarters(kept), bins=bins),
        len(cib),
        sc.Begin.FILTERED,
        others=np.stack(turned)[:, None],
    )


MIXTURES: tuple[Callable[[Path, int], Mixture], ...] = (
    dust_and_noise,
    sky_and_noise,
    sky_and_more_noise,
    finer_sky_and_noise,
    dust_and_cib,
    small_dust_and_noise,
)
