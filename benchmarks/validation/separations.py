"""Is a signal recovered from a contamination of which only the statistics are known?

Three mixtures with a known truth: polarised dust with uneven noise on the plane, the polarised
dust of the whole sky with noise in two half-missions, and dust with the cosmic infrared background
of another patch. Beside the separation stand the data and the Wiener filter, which knows the true
spectra. Writes `separations.md`, `.json` and a picture for each mixture.

    python benchmarks/validation/separations.py --data DATA

DATA has `scattering/pywph_{I_1,Q_1,U_1}.npy` (simulated interstellar medium, of pywph),
`scattering/foscat_cib_map_Planck.npy` (Planck CIB, of FOSCAT's tests) and
`foregrounds/pysm_templates_nside64.npz` (templates of PySM).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from matplotlib.figure import Figure
from syntheses import mollweide

from skysift import scattering as sc
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import sampling_deviation
from skysift.scattering.statistic import AbstractStatistic

ROOT = Path(__file__).parents[2]
KINDS = ("separated", "data", "Wiener")
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


def dust_and_noise(data: Path, seed: int) -> Mixture:
    """Stokes Q and U of simulated dust, with the uneven noise of a scan."""
    cells = 256
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
    statistic = plane_statistic((cells, cells), 6, channels=2)
    return Mixture(
        truth,
        truth + (rng.standard_normal(truth.shape) * rms).astype(np.float32),
        sc.WhiteNoise(rms),
        statistic,
        (sc.Total(emphasis=SPECTRUM),),
        sc.Descent(sc.LBFGS(max_iter=15), steps=15),
        100,
        ("Q", "U"),
        np.ones((cells, cells), bool),
        1,
    )


def sky_and_noise(data: Path, seed: int) -> Mixture:
    """E and B of the dust of PySM at 353 GHz in two half-missions, beside its intensity."""
    nside, lmax, draws = 64, 96, 60
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        intensity = np.log(file["dust_I_545_uKRJ"])
        truth = parities(file["dust_Q_353_uKRJ"], file["dust_U_353_uKRJ"], nside, lmax)
    truth /= truth[0].std()
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
    )


def parities(q: np.ndarray, u: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    """Maps of the E and B modes of Q and U."""
    alm = hp.map2alm_spin([q, u], 2, lmax=lmax)
    return np.stack([hp.alm2map(np.ascontiguousarray(one), nside, lmax=lmax) for one in alm])


def dust_and_cib(data: Path, seed: int) -> Mixture:
    """Simulated dust in intensity, with one patch of the CIB and a model made from another."""
    cells, frame = 128, 2
    truth = standard(coarser(np.load(data / "scattering/pywph_I_1.npy").astype(float), cells))
    patch = standard(
        np.squeeze(np.load(data / "scattering/foscat_cib_map_Planck.npy")).astype(float)
    )
    parts = [patch[:cells, :cells], patch[cells:, cells:], patch[:cells, cells:]]
    kept = np.zeros((cells, cells), bool)
    kept[frame:-frame, frame:-frame] = True
    statistic = plane_statistic((cells, cells), 4, weights=kept.astype(float))
    amplitude = 0.5
    cib = [amplitude * (part - part.mean()) for part in parts]
    return Mixture(
        truth[None].astype(np.float32),
        (truth + cib[0]).astype(np.float32)[None],
        sc.Texture(cib[1].astype(np.float32), statistic, sc.LBFGS(max_iter=60)),
        statistic,
        (sc.Total(emphasis=SPECTRUM), sc.Remainder(emphasis=SPECTRUM)),
        sc.Descent(sc.LBFGS(max_iter=15), steps=15),
        40,
        ("I",),
        kept,
        0,
    )


MIXTURES: tuple[Callable[[Path, int], Mixture], ...] = (
    dust_and_noise,
    sky_and_noise,
    dust_and_cib,
)


def cross_powers(a: np.ndarray, b: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Cross power of two maps in octaves, the coarsest first.

    On the plane cells that do not count and those near them are faded out.
    """
    if a.ndim == 1:
        power = hp.anafast(a, b, iter=1, lmax=96)
        number, multiplicity = np.arange(power.size), 2.0 * np.arange(power.size) + 1.0
    else:
        window = np.ones(a.shape)
        if not kept.all():
            taper = np.sin(np.pi * (np.arange(a.shape[0]) + 0.5) / a.shape[0]) ** 2
            window = taper[:, None] * taper
        modes = [np.fft.fft2(window * (one - one.mean()), norm="forward") for one in (a, b)]
        power = (modes[0] * np.conj(modes[1])).real.ravel()
        axes = [np.fft.fftfreq(cells, 1.0 / cells) for cells in a.shape]
        number = np.hypot(*np.meshgrid(*axes, indexing="ij")).ravel()
        multiplicity = np.ones(power.size)
    top = 96 if a.ndim == 1 else a.shape[0] // 2
    edges = octaves(top)
    which = np.digitize(number, edges) - 1
    weigh = [np.sum((power * multiplicity)[which == one]) for one in range(len(edges) - 1)]
    total = [np.sum(multiplicity[which == one]) for one in range(len(edges) - 1)]
    return np.array(weigh) / np.array(total)


def octaves(top: int) -> np.ndarray:
    """Edges of bins of one octave up to a wave number or multipole."""
    return np.array([top / 2.0**n for n in range(int(np.log2(top / 2.0)), -1, -1)])


def wiener(mixture: Mixture) -> np.ndarray:
    """The data through the filter of the true spectra, channel by channel."""
    noise = mixture.whole - mixture.truth
    filtered = []
    for data, signal, dirt in zip(mixture.whole, mixture.truth, noise, strict=True):
        top = 96 if data.ndim == 1 else data.shape[0] // 2
        edges = octaves(top)
        a, b = (cross_powers(one, one, mixture.kept) for one in (signal, dirt))
        gain, centre = a / (a + b), np.sqrt(edges[1:] * edges[:-1])
        if data.ndim == 1:
            curve = np.interp(np.arange(97), centre, gain)
            filtered.append(hp.alm2map(hp.almxfl(hp.map2alm(data, lmax=96), curve), 64, lmax=96))
        else:
            axes = [np.fft.fftfreq(cells, 1.0 / cells) for cells in data.shape]
            number = np.hypot(*np.meshgrid(*axes, indexing="ij"))
            modes = np.fft.fft2(data) * np.interp(number, centre, gain)
            filtered.append(np.fft.ifft2(modes).real)
    return np.stack(filtered)


def run(make: Callable[[Path, int], Mixture], data: Path, seed: int) -> dict:
    """Separate one mixture, and compare with the truth."""
    mixture = make(data, seed)
    given = np.squeeze(mixture.data, axis=-3) if len(mixture.channels) == 1 else mixture.data
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        found = sc.separate(
            given,
            mixture.model,
            mixture.statistic,
            mixture.constraints,
            seed,
            descent=mixture.descent,
            draws=mixture.draws,
            report=lambda state: print(state.step, dict(state.losses[-1]), flush=True),
        )
    seconds = time.perf_counter() - begun
    maps = {
        "separated": found.map.reshape(mixture.truth.shape),
        "data": mixture.whole,
        "Wiener": wiener(mixture),
    }
    noise = mixture.whole - mixture.truth
    top = 96 if mixture.truth.ndim == 2 else mixture.truth.shape[-1] // 2
    result = {
        "seconds": seconds,
        "status": found.status.value,
        "losses": {name: [float(one) for one in losses] for name, losses in found.history.items()},
        "draws": found.draws,
        "edges": octaves(top).tolist(),
        "channels": mixture.channels,
        "structure": structure(mixture, maps),
        "maps": (mixture.truth, mixture.whole, maps["separated"], maps["Wiener"], mixture.kept),
    }
    for channel, name in enumerate(mixture.channels):
        true, dirt = mixture.truth[channel], noise[channel]
        own = cross_powers(true, true, mixture.kept)
        result[name] = {"snr": (own / cross_powers(dirt, dirt, mixture.kept)).tolist()}
        for kind, values in maps.items():
            there = cross_powers(values[channel], values[channel], mixture.kept)
            both = cross_powers(values[channel], true, mixture.kept)
            result[name][kind] = {
                "ratio": (there / own).tolist(),
                "correlation": (both / np.sqrt(there * own)).tolist(),
            }
    return result


def structure(mixture: Mixture, maps: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Rms offset of the statistics of each order in units of the truth's sampling deviation.

    The deviation is that over Gaussian fields of the true powers: what a field of one realisation
    can be told by. Amplitudes are the truth's. Only scales of enough signal-to-noise count.
    """
    statistic = mixture.statistic

    def shown(values: np.ndarray) -> np.ndarray:
        return values[0] if len(mixture.channels) == 1 else values

    true = statistic(shown(mixture.truth))
    colour = colour_of(statistic, true)
    deviation = sampling_deviation(statistic, true, colour, np.random.SeedSequence(0))
    offsets: dict[str, dict[str, float]] = {}
    for kind, values in maps.items():
        there = statistic(shown(values.astype(np.float32)), reference=true)
        offset = np.asarray(there.vector) - np.asarray(true.vector)
        offsets[kind], start = {}, 0
        for table in true.layout.tables:
            scales = [table.column(axis) for axis in table.axes if axis.startswith("scale")]
            here = slice(start, start + table.size * (2 if table.complex else 1))
            start = here.stop
            if not scales:
                continue
            counted = np.all(np.stack(scales) >= mixture.finest, axis=0)
            varies = np.tile(counted, 2 if table.complex else 1) & (deviation[here] > 0.0)
            ratio = offset[here][varies] / deviation[here][varies]
            offsets[kind][table.order.value] = float(np.sqrt(np.mean(ratio**2)))
    return offsets


def picture(name: str, result: dict, path: Path) -> None:
    """Maps, spectra over the true one, and correlations with the truth."""
    truth, data, signal, filtered, kept = result["maps"]
    channels = result["channels"]
    figure = Figure(figsize=(14, 3.0 * len(channels) + 3.2), layout="constrained")
    rows = figure.subfigures(2, 1, height_ratios=[3.0 * len(channels), 3.2])
    grid = rows[0].subplots(len(channels), 4, squeeze=False)
    titles = ("truth", "data", "separated", "Wiener filter, true spectra known")
    for row, number, channel in zip(grid, range(len(channels)), channels, strict=True):
        low, high = np.percentile(truth[number], [0.5, 99.5])
        for axes, title, maps in zip(row, titles, (truth, data, signal, filtered), strict=True):
            shown = np.where(kept, maps[number], np.nan)
            shown = shown if shown.ndim == 2 else mollweide(shown)
            axes.imshow(shown, vmin=low, vmax=high, cmap="inferno", origin="lower")
            axes.set_title(f"{channel}: {title}", fontsize=10)
            axes.set_axis_off()
    left, right = rows[1].subplots(1, 2)
    for number, channel in enumerate(channels):
        one = result[channel]
        snr = np.array(one["snr"])
        for kind, colour in (("data", "0.6"), ("Wiener", "C0"), ("separated", "C1")):
            label = f"{channel}: {kind}"
            line = {
                "color": colour,
                "linestyle": ("-", "--")[number],
                "marker": ".",
                "label": label,
            }
            left.plot(snr, one[kind]["ratio"], **line)
            right.plot(snr, one[kind]["correlation"], **line)
    for axes, label in ((left, "power over the true one"), (right, "correlation with the truth")):
        axes.set(xscale="log", xlabel="signal-to-noise of the octave, in power", ylabel=label)
        axes.invert_xaxis()
        axes.axvline(0.1, color="0.8", zorder=0)
    left.set(yscale="log")
    left.axhspan(0.9, 1.1, color="0.9", zorder=0)
    right.legend(fontsize=8)
    figure.suptitle(name)
    figure.savefig(path, dpi=90)


def page(results: dict[str, dict]) -> str:
    """The validation page."""
    lines = ["# Statistical separations with a known truth", ""]
    lines += [f"Written by `benchmarks/validation/separations.py` on {platform.machine()},"]
    lines += [f"{len(os.sched_getaffinity(0))} cores shared with other work. Powers over the true"]
    lines += ["one and correlations with the truth are of octaves, the highest of each channel"]
    lines += ["last. One realisation of the contamination each: at low signal-to-noise the power"]
    lines += ["of the data alone, less the mean power of the contamination, is off by a few per"]
    lines += ["cent of the contamination. The Wiener filter knows the true spectra."]
    for name, one in results.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", ""]
        worst = ", ".join(f"{key} {values[-1]:.2g}" for key, values in one["losses"].items())
        steps = len(next(iter(one["losses"].values()))) - 1
        lines += [f"{one['draws']} draws, {steps} steps, {one['seconds']:.0f} s, {one['status']};"]
        lines += [f"losses at the end: {worst}."]
        lines += ["", "| | signal-to-noise | power: separated, data, Wiener | correlation |"]
        lines += ["| --- | ---: | --- | --- |"]
        for channel in one["channels"]:
            table = one[channel]
            for number, snr in enumerate(table["snr"]):
                low, high = one["edges"][number : number + 2]
                cells = [
                    ", ".join(f"{table[kind][what][number]:.2f}" for kind in KINDS)
                    for what in ("ratio", "correlation")
                ]
                span = f"{channel}, {low:.0f} to {high:.0f}"
                lines += [f"| {span} | {snr:.2g} | {cells[0]} | {cells[1]} |"]
        lines += [
            "",
            "Rms offset of the statistics of each order from those of the truth, in units",
        ]
        lines += ["of the scatter of Gaussian fields of its spectrum:", ""]
        orders = list(one["structure"]["separated"])
        lines += [f"| | {' | '.join(orders)} |", "| --- |" + " ---: |" * len(orders)]
        for kind in KINDS:
            numbers = [f"{one['structure'][kind][order]:.2f}" for order in orders]
            lines += [f"| {kind} | {' | '.join(numbers)} |"]
        lines += ["", f"![Maps and spectra](separations-{slug(name)}.png)"]
    lines += ["", "Repeat with `python benchmarks/validation/separations.py --data DATA`.", ""]
    return "\n".join(lines)


def slug(name: str) -> str:
    """A name for a file."""
    return name.replace(" ", "-")


def main() -> None:
    """Separate all mixtures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the fields")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the mixtures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for number, make in enumerate(MIXTURES):
        if options.only is None or number in options.only:
            name = make.__name__.replace("_", " ")
            results[name] = run(make, options.data, options.seed)
            picture(name, results[name], options.out / f"separations-{slug(name)}.png")
            print(name, results[name]["status"], results[name]["seconds"], flush=True)
    (options.out / "separations.md").write_text(page(results))
    plain = {
        name: {key: value for key, value in one.items() if key != "maps"}
        for name, one in results.items()
    }
    (options.out / "separations.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
