"""Is a signal recovered from a contamination of which only the statistics are known?

Mixtures with a known truth: polarised dust with uneven noise on the plane, the polarised dust of
the whole sky with noise in two half-missions (nside 64 and 128), and dust with a patch of the
cosmic infrared background of which other patches are known. Each is made several times, with
other contaminations. Beside the separation stand the data and the Wiener filter, which knows the
true spectra; with `--pywph PYTHON`, beside one of them pywph. Writes `separations.md`, and for each
mixture `separations-NAME.json` and a picture.

    python benchmarks/validation/separations.py --data DATA

DATA has `scattering/pywph_{I_1,Q_1,U_1}.npy` (simulated interstellar medium, of pywph),
`scattering/foscat_cib_map_Planck.npy` (Planck CIB, of FOSCAT's tests),
`foregrounds/pysm_templates_nside64.npz` (templates of PySM) and
`foregrounds/pymaster-3.0.1_bmode_fg_QU_nside256.fits` (dust and synchrotron of NaMaster's tests).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from separations_page import page, picture, slug

from skysift import scattering as sc
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import sampling_deviation
from skysift.scattering.separation.descent import State
from skysift.scattering.statistic import AbstractStatistic

ROOT = Path(__file__).parents[2]
PEER = ROOT / "benchmarks/peers/pywph_separation.py"
SPECTRUM = {sc.Order.BANDPOWER: 30.0}


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
    """

    truth: np.ndarray
    data: np.ndarray
    model: sc.AbstractContamination
    statistic: AbstractStatistic
    constraints: tuple
    descent: sc.Descent
    draws: int
    channels: tuple[str, ...]
    kept: np.ndarray
    finest: int
    top: int
    parts: AbstractStatistic | None

    @property
    def whole(self) -> np.ndarray:
        """The data, halves averaged."""
        return self.data.mean(axis=0) if self.data.ndim > self.truth.ndim else self.data


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
    shape: tuple[int, int], scales: int, channels: int = 1, weights: np.ndarray | None = None
) -> AbstractStatistic:
    """Scattering covariance and power spectrum of flat maps."""
    return sc.Mixture(
        (
            sc.PowerSpectrum.plane(shape, 20, channels=channels, weights=weights),
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
        sc.Descent(sc.LBFGS(max_iter=15), steps=15),
        draws,
        ("Q", "U"),
        np.ones((cells, cells), bool),
        1,
        cells // 2,
        plane_statistic((cells, cells), scales, 2, quarters(np.ones((cells, cells)))),
    )


def sky_and_noise(data: Path, seed: int) -> Mixture:
    """E and B of the dust of PySM at 353 GHz in two half-missions, beside its intensity."""
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        intensity = np.log(file["dust_I_545_uKRJ"])
        truth = parities(file["dust_Q_353_uKRJ"], file["dust_U_353_uKRJ"], 64, 96)
    return halves_of_the_sky(truth, intensity, 96, seed)


def finer_sky_and_noise(data: Path, seed: int) -> Mixture:
    """The same at nside 128, of another model of the foregrounds."""
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        coarse = hp.map2alm(np.log(file["dust_I_545_uKRJ"]), lmax=128)
    intensity = hp.alm2map(coarse, 128, lmax=128)
    name = data / "foregrounds/pymaster-3.0.1_bmode_fg_QU_nside256.fits"
    truth = parities(*hp.read_map(name, field=(0, 1), dtype=float), 128, 192)
    return halves_of_the_sky(truth, intensity, 192, seed)


def halves_of_the_sky(truth: np.ndarray, intensity: np.ndarray, lmax: int, seed: int) -> Mixture:
    """E and B maps with the noise of a scan, in two half-missions."""
    nside, draws = hp.npix2nside(intensity.size), 60
    truth = truth / truth[0].std()
    longitude, latitude = hp.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
    centre = np.abs((longitude + 180.0) % 360.0 - 180.0) < 90.0
    plane = np.abs(latitude) <= 30.0
    regions = np.stack([plane & centre, plane & ~centre, latitude > 30.0, latitude < -30.0])
    # A scan in circles through the poles sees the equator least.
    rms = 1.5 * (1.3 - 0.7 * np.sin(np.radians(latitude)) ** 2)
    rng = np.random.default_rng(seed)
    noise = np.stack(
        [
            parities(*(rms * rng.standard_normal((2, rms.size))), nside, lmax)
            for _ in range(2 * (draws + 1))
        ]
    ).reshape(draws + 1, 2, *truth.shape)

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
                    order=3,
                    directions=4,
                    harmonics=2,
                    pseudoscalar=odd,
                ),
                sc.PowerSpectrum.sphere(nside, lmax, channels=channels, weights=weights),
            )
        )

    own = statistic(2, (False, True))
    beside = sc.Ancillary(
        statistic(3, (False, True, False)), map=intensity, emphasis=SPECTRUM, label="with intensity"
    )
    return Mixture(
        truth.astype(np.float32),
        (truth + noise[0]).astype(np.float32),
        sc.Ensemble(noise[1:].astype(np.float32)),
        own,
        (
            sc.Total(emphasis=SPECTRUM),
            sc.Halves(statistic(4, (False, True) * 2), emphasis=SPECTRUM),
            beside,
        ),
        sc.Descent(sc.LBFGS(max_iter=12), steps=10),
        draws,
        ("E", "B"),
        np.ones(rms.size, bool),
        1,
        lmax,
        None,
    )


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
    mixed = cib.pop(seed % len(cib))
    kept = np.zeros((cells, cells), bool)
    kept[frame:-frame, frame:-frame] = True
    statistic = plane_statistic((cells, cells), 4, weights=kept.astype(float))
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
        plane_statistic((cells, cells), 4, weights=quarters(kept)),
    )


MIXTURES: tuple[Callable[[Path, int], Mixture], ...] = (
    dust_and_noise,
    sky_and_noise,
    finer_sky_and_noise,
    dust_and_cib,
    small_dust_and_noise,
)


def cross_powers(a: np.ndarray, b: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Cross power of two maps in octaves, the coarsest first.

    On the plane cells that do not count and those near them are faded out.
    """
    if a.ndim == 1:
        power = hp.anafast(a, b, iter=1, lmax=mixture.top)
        number, multiplicity = np.arange(power.size), 2.0 * np.arange(power.size) + 1.0
    else:
        window = np.ones(a.shape)
        if not mixture.kept.all():
            taper = np.sin(np.pi * (np.arange(a.shape[0]) + 0.5) / a.shape[0]) ** 2
            window = taper[:, None] * taper
        modes = [np.fft.fft2(window * (one - one.mean()), norm="forward") for one in (a, b)]
        power = (modes[0] * np.conj(modes[1])).real.ravel()
        axes = [np.fft.fftfreq(cells, 1.0 / cells) for cells in a.shape]
        number = np.hypot(*np.meshgrid(*axes, indexing="ij")).ravel()
        multiplicity = np.ones(power.size)
    edges = octaves(mixture.top)
    which = np.digitize(number, edges) - 1
    weigh = [np.sum((power * multiplicity)[which == one]) for one in range(len(edges) - 1)]
    total = [np.sum(multiplicity[which == one]) for one in range(len(edges) - 1)]
    return np.array(weigh) / np.array(total)


def octaves(top: int) -> np.ndarray:
    """Edges of bins of one octave up to a wave number or multipole."""
    return np.array([top / 2.0**n for n in range(int(np.log2(top / 2.0)), -1, -1)])


def wiener(mixture: Mixture) -> np.ndarray:
    """The data through the filter of the true spectra, channel by channel."""
    noise, top = mixture.whole - mixture.truth, mixture.top
    edges = octaves(top)
    centre = np.sqrt(edges[1:] * edges[:-1])
    filtered = []
    for data, signal, dirt in zip(mixture.whole, mixture.truth, noise, strict=True):
        a, b = (cross_powers(one, one, mixture) for one in (signal, dirt))
        gain = a / (a + b)
        if data.ndim == 1:
            curve = np.interp(np.arange(top + 1), centre, gain)
            modes = hp.almxfl(hp.map2alm(data, lmax=top), curve)
            filtered.append(hp.alm2map(modes, hp.get_nside(data), lmax=top))
        else:
            axes = [np.fft.fftfreq(cells, 1.0 / cells) for cells in data.shape]
            number = np.hypot(*np.meshgrid(*axes, indexing="ij"))
            modes = np.fft.fft2(data) * np.interp(number, centre, gain)
            filtered.append(np.fft.ifft2(modes).real)
    return np.stack(filtered)


def shown(mixture: Mixture, maps: np.ndarray) -> np.ndarray:
    """Maps as statistics take them: without an axis for a single channel."""
    return np.squeeze(maps, axis=-3) if len(mixture.channels) == 1 else maps


def pywph(mixture: Mixture, python: str) -> tuple[np.ndarray, float]:
    """Signal and seconds of pywph, of an environment of its own."""
    assert isinstance(mixture.model, sc.WhiteNoise)
    with tempfile.TemporaryDirectory() as folder:
        case, found = Path(folder) / "case.npz", Path(folder) / "found.npz"
        np.savez(case, data=mixture.data, rms=mixture.model.rms, scales=5, draws=5, iterations=40)
        subprocess.run([python, str(PEER), str(case), str(found)], check=True)
        with np.load(found) as kept:
            return kept["signal"], float(kept["seconds"])


def trial(mixture: Mixture, seed: int, python: str | None) -> tuple[dict, dict[str, np.ndarray]]:
    """Separate one mixture, and compare with the truth.

    Returns:
        What was measured, and the maps.
    """
    options = {"draws": mixture.draws, "seed": seed}
    begun = time.perf_counter()
    stream = np.random.SeedSequence(seed)
    dirt = sc.Ensemble(mixture.model.maps(mixture.statistic.domain, mixture.draws, stream))
    given = (shown(mixture, mixture.data), dirt, mixture.statistic, mixture.constraints)
    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        found = sc.separate(
            *given,
            descent=mixture.descent,
            report=lambda state: print(state.step, dict(state.losses[-1]), flush=True),
            **options,
        )
    seconds = time.perf_counter() - begun
    fields = mixture.statistic.domain.fields(shown(mixture, mixture.truth))
    true = sc.separate(
        *given,
        descent=sc.Descent(tolerance=np.finfo(float).max),
        resume=State(0, 0, (fields, fields), ()),
        **options,
    )
    maps = {
        "separated": found.map.reshape(mixture.truth.shape),
        "data": mixture.whole,
        "Wiener": wiener(mixture),
    }
    if python is not None:
        maps["pywph"], peer = pywph(mixture, python)
    result = {
        "seconds": seconds,
        "status": found.status.value,
        "losses": {name: [float(one) for one in losses] for name, losses in found.history.items()},
        "losses of the truth": {name: float(one[0]) for name, one in true.history.items()},
        "structure": structure(mixture, maps),
    }
    if python is not None:
        result["seconds of pywph"] = peer
    noise = mixture.whole - mixture.truth
    for channel, name in enumerate(mixture.channels):
        signal, dirt = mixture.truth[channel], noise[channel]
        own = cross_powers(signal, signal, mixture)
        result[name] = {"snr": (own / cross_powers(dirt, dirt, mixture)).tolist()}
        for kind, values in maps.items():
            there = cross_powers(values[channel], values[channel], mixture)
            both = cross_powers(values[channel], signal, mixture)
            result[name][kind] = {
                "ratio": (there / own).tolist(),
                "correlation": (both / np.sqrt(there * own)).tolist(),
            }
    return result, {"truth": mixture.truth, **maps}


def structure(mixture: Mixture, maps: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Rms offset of the statistics of each order in units of the scatter of Gaussian fields.

    The scatter is that over Gaussian fields of the true powers, and amplitudes are the truth's.
    `own` is the scatter of the truth itself in these units, told from its parts. Only scales of
    enough signal-to-noise count.
    """
    statistic = mixture.statistic
    true = statistic(shown(mixture, mixture.truth))
    colour = colour_of(statistic, true)
    deviation = sampling_deviation(statistic, true, colour, np.random.SeedSequence(0))
    numbers = {}
    for kind, values in maps.items():
        there = statistic(shown(mixture, values.astype(np.float32)), reference=true)
        numbers[kind] = np.asarray(there.vector) - np.asarray(true.vector)
    parts = None if mixture.parts is None else mixture.parts(shown(mixture, mixture.truth))
    offsets: dict[str, dict[str, float]] = {kind: {} for kind in (*maps, "own")}
    for table, here in zip(true.layout.tables, true.layout.slices, strict=True):
        scales = [table.column(axis) for axis in table.axes if axis.startswith("scale")]
        if not scales:
            continue
        counted = np.all(np.stack(scales) >= mixture.finest, axis=0)
        varies = np.tile(counted, 2 if table.complex else 1) & (deviation[here] > 0.0)
        for kind, offset in numbers.items():
            ratio = offset[here][varies] / deviation[here][varies]
            offsets[kind][table.order.value] = float(np.sqrt(np.mean(ratio**2)))
        if parts is not None:
            of_parts = np.stack(
                [np.asarray(parts.select(table.order, region=one).vector) for one in range(4)]
            )
            scatter = of_parts.std(axis=0, ddof=1) / np.sqrt(len(of_parts))
            ratio = scatter[varies] / deviation[here][varies]
            offsets["own"][table.order.value] = float(np.sqrt(np.mean(ratio**2)))
    return offsets


def main() -> None:
    """Separate mixtures, and write the page, with those that were separated before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the fields")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the mixtures")
    parser.add_argument("--trials", type=int, default=4, help="contaminations of each")
    parser.add_argument("--pywph", help="python with pywph, for the mixture on fewer cells")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for number, make in enumerate(MIXTURES):
        name = make.__name__.replace("_", " ")
        file = options.out / f"separations-{slug(name)}.json"
        if options.only is None or number in options.only:
            mixtures = [make(options.data, seed) for seed in range(options.trials)]
            python = options.pywph if make is small_dust_and_noise else None
            trials = [trial(one, seed, python) for seed, one in enumerate(mixtures)]
            result = {
                "draws": mixtures[0].draws,
                "channels": mixtures[0].channels,
                "edges": octaves(mixtures[0].top).tolist(),
                "trials": [one for one, _ in trials],
            }
            image = options.out / f"separations-{slug(name)}.png"
            picture(result, trials[0][1], mixtures[0].kept, name, image)
            file.write_text(json.dumps(result, indent=1) + "\n")
        if file.is_file():
            results[name] = json.loads(file.read_text())
    (options.out / "separations.md").write_text(page(results))


if __name__ == "__main__":
    main()
