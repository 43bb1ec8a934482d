"""Are power spectra on a cut sky right on average, and are B modes free of E?

Skies of known spectra are simulated again and again, cut, and their spectra estimated. Writes
`spectra.md` and `spectra.png`; compares with NaMaster if pymaster is installed.

    python benchmarks/validation/spectra.py --realisations 500
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from matplotlib.figure import Figure

import skysift as ss
from skysift.harmonic import CMBSpectra, PseudoOptions, PseudoSpectra, gaussian_maps, spectra
from skysift.harmonic.bandpowers import NAMES
from skysift.maps import Maps, Stokes
from skysift.report.style import BLUE, GREY, INK, RED, SERIES, styled

ROOT = Path(__file__).parents[2]
NSIDE, MASK, BATCH = 64, "GAL060", 25
HIGH = 93  # about 1.5 nside; what the cells do shows above it first
GRID = ss.Grid(NSIDE)
THEORY = CMBSpectra.packaged().cl(r=0.0, lmax=3 * NSIDE - 1)
ONLY_E = THEORY * np.array([[0.0], [1.0], [0.0], [0.0]])


@dataclass(frozen=True)
class Way:
    """One way to estimate spectra, with its name in tables, its colour and its estimator."""

    title: str
    colour: str
    estimator: PseudoSpectra


def ways() -> list[Way]:
    """The default, but to 2 nside, and what it is without its parts."""
    mask = ss.galactic_mask(MASK, NSIDE)
    options = {
        ("purified (default)", BLUE): PseudoOptions(lmax=2 * NSIDE),
        ("purified, not smoothed", SERIES[1]): PseudoOptions(lmax=2 * NSIDE, smoothing=0.0),
        ("not purified", RED): PseudoOptions(lmax=2 * NSIDE, purify=False),
    }
    return [Way(*name, PseudoSpectra.of(mask, how)) for name, how in options.items()]


def skies(count: int, seed: int, draw: Callable[[np.random.Generator], np.ndarray]) -> Iterator:
    """Batches of maps, each map of random numbers of its own."""
    streams = np.random.SeedSequence(seed).spawn(count)
    for start in range(0, count, BATCH):
        part = streams[start : start + BATCH]
        values = np.stack([draw(np.random.default_rng(stream)) for stream in part])
        yield Maps(values, GRID, Stokes.QU if values.shape[1] == 2 else Stokes.IQU)


def powers(estimator: PseudoSpectra, batches: Iterator) -> dict[str, np.ndarray]:
    """Bandpowers (realisation, bin) by name."""
    each = [estimator(maps).values for maps in batches]
    return {name: np.concatenate([values[name] for values in each]) for name in each[0]}


def pulls(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Mean minus expectation in standard errors of the mean."""
    return (values.mean(axis=0) - expected) / standard_error(values)


def standard_error(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) / np.sqrt(values.shape[0])


def full_sky(seed: int) -> str:
    """Agreement with healpy without a mask."""
    maps = next(skies(1, seed, lambda rng: gaussian_maps(THEORY, NSIDE, Stokes.IQU, rng)))
    found = spectra(maps).values
    expected = hp.anafast(maps.values[0], iter=3)
    rows = []
    for name, cl in zip(NAMES, expected, strict=True):
        cut = cl[2 : 2 * NSIDE + 1]
        worst = np.max(np.abs(found[name][0] - cut)) / np.max(np.abs(cut))
        rows.append(f"| {name} | {worst:.1e} |")
    return "\n".join(
        [
            "## Full sky",
            "",
            f"One sky, nside {NSIDE}, multipoles 2 to {2 * NSIDE}, beside `healpy.anafast` with 3 "
            "iterations: largest difference over the largest value.",
            "",
            "| | difference |",
            "| --- | ---: |",
            *rows,
            "",
        ]
    )


@dataclass(frozen=True)
class Unbiased:
    """Bandpowers of skies with the spectra of theory, and what they should be.

    Args:
        way: of estimating.
        values: (realisation, bin) by name.
        expected: (bin) by name.
    """

    way: Way
    values: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @staticmethod
    def of(way: Way, count: int, seed: int) -> Unbiased:
        """Simulate and estimate."""

        def draw(rng: np.random.Generator) -> np.ndarray:
            return gaussian_maps(THEORY, NSIDE, Stokes.IQU, rng)

        values = powers(way.estimator, skies(count, seed, draw))
        empty = Maps(np.zeros((3, GRID.size)), GRID, Stokes.IQU)
        return Unbiased(way, values, way.estimator(empty).expected(THEORY))

    def pulls(self, name: str) -> np.ndarray:
        """Deviation of each bin's mean in standard errors."""
        return pulls(self.values[name], self.expected[name])

    def scatter(self, name: str) -> np.ndarray:
        """Standard deviation of each bin from sky to sky."""
        return self.values[name].std(axis=0, ddof=1)


def unbiased_table(found: Unbiased) -> str:
    """Means over skies beside expectations, in Markdown."""
    count = next(iter(found.values.values())).shape[0]
    bins = found.way.estimator.bins
    limit = HIGH
    low = bins.edges[1:] <= limit + 1
    rows, outside, total = [], 0, 0
    for name in found.values:
        pull = found.pulls(name)
        beyond, worst = np.abs(pull) > 3, int(np.argmax(np.abs(pull)))
        outside, total = outside + int(beyond.sum()), total + pull.size
        rows.append(
            f"| {name} | {pull.mean():+.2f} | {pull.std():.2f} | {pull[worst]:+.2f} | "
            f"{bins.edges[worst]}-{bins.edges[worst + 1] - 1} | "
            f"{pull[worst] / np.sqrt(count):+.2f} | {int(beyond[low].sum())} of {int(low.sum())} | "
            f"{int(beyond[~low].sum())} of {int((~low).sum())} |"
        )
    return "\n".join(
        [
            f"### {found.way.title.capitalize()}",
            "",
            f"{count} skies, {bins.count} bins; (mean - expected) / standard error of the mean, "
            "the worst bin also in standard deviations of one sky. A Gaussian leaves "
            f"{0.0027 * total:.1f} of {total} outside 3; here {outside}.",
            "",
            "| | mean | std | worst | at l | of one sky | outside 3, "
            f"l <= {limit} | outside 3, above |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def leakage(all_ways: list[Way], count: int, seed: int) -> dict[str, np.ndarray]:
    """BB (realisation, bin) of skies with E modes only."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return gaussian_maps(ONLY_E, NSIDE, Stokes.QU, rng)

    return {way.title: powers(way.estimator, skies(count, seed, draw))["BB"] for way in all_ways}


def lensing(way: Way) -> np.ndarray:
    """Lensing BB in the bins, without what leaks."""
    empty = way.estimator(Maps(np.zeros((2, GRID.size)), GRID, Stokes.QU))
    return empty.expected(THEORY * np.array([[0.0], [0.0], [1.0], [0.0]]))["BB"]


def leakage_table(all_ways: list[Way], leaked: dict[str, np.ndarray]) -> str:
    """Leakage over lensing in Markdown."""
    count = next(iter(leaked.values())).shape[0]
    rows = []
    for way in all_ways:
        first = way.estimator.bins.edges[:-1]
        values, level = leaked[way.title], lensing(way)
        mean, scatter = np.abs(values.mean(axis=0)) / level, values.std(axis=0, ddof=1) / level
        parts = [part for kept in (first <= 10, first > 10) for part in (mean[kept], scatter[kept])]
        rows.append(
            f"| {way.title} | {way.estimator.fsky:.3f} | "
            + " | ".join(f"{part.max():.2g}" for part in parts)
            + " |"
        )
    split = int(all_ways[0].estimator.bins.edges[:-1].searchsorted(10, side="right"))
    edge = int(all_ways[0].estimator.bins.edges[split])
    return "\n".join(
        [
            "## E modes in B",
            "",
            f"{count} skies with E modes only. BB over lensing BB in the same bin, largest over "
            "bins: what it is on average, and its standard deviation from sky to sky. The sky "
            "fraction is that of the weights.",
            "",
            f"| | sky | mean, l < {edge} | scatter, l < {edge} | mean, l >= {edge} | "
            f"scatter, l >= {edge} |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def scatter_table(one: Unbiased, two: Unbiased) -> str:
    """Scatter of BB with and without purification, in Markdown."""
    centres = one.way.estimator.bins.centres
    rows = []
    for index in np.unique(np.linspace(0, centres.size - 1, 9).astype(int)):
        cells = []
        for found in (one, two):
            modes = found.way.estimator.fsky * found.way.estimator.bins.modes
            ideal = lensing(found.way) * np.sqrt(2.0 / modes)
            cells.append(f"{found.scatter('BB')[index] / ideal[index]:.2f}")
        gain = two.scatter("BB")[index] / one.scatter("BB")[index]
        rows.append(f"| {centres[index]:.1f} | {cells[0]} | {cells[1]} | {gain:.1f} |")
    return "\n".join(
        [
            "## Scatter of BB",
            "",
            "Standard deviation of lensing BB from sky to sky, in units of "
            "$C \\sqrt{2 / \\nu}$ with $\\nu = f_\\mathrm{sky} \\sum (2 \\ell + 1)$, and the "
            "second over the first.",
            "",
            f"| multipole | {one.way.title} | {two.way.title} | ratio |",
            "| ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def apodisation_table(mask: np.ndarray, count: int, seed: int) -> str:
    """Scatter of BB for edges of several widths, in Markdown."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return gaussian_maps(THEORY, NSIDE, Stokes.QU, rng)

    shown, rows = (0, 1, 2, 7, 18), []
    tensors = np.zeros_like(THEORY)
    tensors[2] = CMBSpectra.packaged().cl(r=0.01, lmax=3 * NSIDE - 1)[2] - THEORY[2]
    for width in (4.0, 8.0, 12.0, 20.0):
        estimator = PseudoSpectra.of(mask, PseudoOptions(lmax=2 * NSIDE, apodisation=width))
        way = Way(f"{width:g}", BLUE, estimator)
        scatter = powers(estimator, skies(count, seed, draw))["BB"].std(axis=0, ddof=1)
        ideal = lensing(way) * np.sqrt(2.0 / (estimator.fsky * estimator.bins.modes))
        empty = estimator(Maps(np.zeros((2, GRID.size)), GRID, Stokes.QU))
        power = empty.expected(tensors)["BB"]
        rows.append(
            f"| {width:g} | {estimator.fsky:.3f} | "
            + " | ".join(f"{(scatter / ideal)[index]:.1f}" for index in shown)
            + " | "
            + " | ".join(f"{(scatter / power)[index]:.2f}" for index in shown[:3])
            + " |"
        )
    bins = estimator.bins
    names = [f"{bins.edges[index]}-{bins.edges[index + 1] - 1}" for index in shown]
    return "\n".join(
        [
            "## Width of the edge",
            "",
            f"{count} skies, purified: scatter of lensing BB in units of $C \\sqrt{{2 / \\nu}}$ by "
            "bin for several widths of the mask's edge, and the same scatter over the tensor power "
            "of r = 0.01. A narrow edge keeps more sky; a wide one keeps the lowest multipoles.",
            "",
            "| degrees | sky | "
            + " | ".join(f"l {name}" for name in names)
            + " | "
            + " | ".join(f"l {name} over r = 0.01" for name in names[:3])
            + " |",
            "| ---: | ---: | " + " | ".join(["---:"] * (len(shown) + 3)) + " |",
            *rows,
            "",
        ]
    )


def noise_table(way: Way, count: int, seed: int) -> str:
    """White noise beside its expectation, in Markdown."""
    latitude = GRID.lonlat()[1]
    variances = {
        "the same everywhere": np.ones(GRID.size),
        "4 times larger at the equator": 1.0 + 3.0 * np.cos(np.radians(latitude)) ** 2,
    }
    rows = []
    for title, variance in variances.items():
        sigma = np.sqrt(variance)

        def draw(rng: np.random.Generator, sigma: np.ndarray = sigma) -> np.ndarray:
            return sigma * rng.standard_normal((2, GRID.size))

        found = powers(way.estimator, skies(count, seed, draw))
        for name, level in way.estimator.noise_bias(variance).items():
            ratio, pull = found[name].mean(axis=0) / level - 1.0, pulls(found[name], level)
            error = standard_error(found[name]) / level
            rows.append(
                f"| {title} | {name} | {100 * np.average(ratio, weights=error**-2):+.2f} % | "
                f"{100 * np.sum(error**-2) ** -0.5:.2f} % | "
                f"{pull[0] / np.sqrt(count):+.2f} ± {1 / np.sqrt(count):.2f} | "
                f"{np.abs(pull).max():.1f} |"
            )
    return "\n".join(
        [
            "## White noise",
            "",
            f"{count} maps of noise, {way.title}: mean over `noise_bias` of all bins; the "
            "deviation of the first bin in standard deviations of one map, and of the worst in "
            "standard errors.",
            "",
            "| variance | | mean - 1 | error | first bin | worst bin |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def timed(calls: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of calls that take turns, so that a busy machine is so for all."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - begun)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def peers(all_ways: list[Way], seed: int) -> str:
    """Time per map and agreement with other codes, in Markdown."""
    maps = next(skies(1, seed, lambda rng: gaussian_maps(THEORY, NSIDE, Stokes.QU, rng)))
    iqu = np.concatenate([np.zeros((1, GRID.size)), maps.values[0]])
    calls: dict[str, Callable[[], object]] = {}
    build: dict[str, Callable[[], object]] = {}
    for way in all_ways:
        way.estimator(maps)  # the coupling is computed once, here
        calls[f"skysift, {way.title}"] = lambda way=way: way.estimator(maps)
        build[f"skysift, {way.title}"] = lambda way=way: PseudoSpectra.of(
            way.estimator.mask, way.estimator.options
        )(maps)
    calls["healpy.anafast, full sky"] = lambda: hp.anafast(iqu, iter=3)
    build["healpy.anafast, full sky"] = calls["healpy.anafast, full sky"]
    notes = ["NaMaster was not installed in this run."]
    if importlib.util.find_spec("pymaster") is not None:
        import pymaster

        from skysift.harmonic.namaster import namaster_spectra

        rows = []
        for way in all_ways:
            ours, theirs = way.estimator(maps), namaster_spectra(way.estimator, maps)
            worst = max(
                np.max(np.abs(theirs.values[n] - v)) / np.max(np.abs(v))
                for n, v in ours.values.items()
            )
            windows = max(np.max(np.abs(theirs.windows[n] - w)) for n, w in ours.windows.items())
            rows.append(f"| {way.title} | {worst:.1e} | {windows:.1e} |")
            # Its own calls, with the coupling computed once as ours is.
            single, space = namaster_calls(pymaster, way.estimator, maps.values[0])
            calls[f"NaMaster, {way.title}"] = lambda single=single, space=space: single(space)
            build[f"NaMaster, {way.title}"] = lambda single=single: single(None)
        notes = [
            f"NaMaster {pymaster.__version__}, given the same maps (masked, and smoothed where "
            "skysift smooths), weights and bins, through `skysift.harmonic.namaster`: largest "
            "difference of EE, EB and BB over the largest value, and of the windows.",
            "",
            "| | bandpowers | windows |",
            "| --- | ---: | ---: |",
            *rows,
        ]
    first, again = timed(build, rounds=3), timed(calls)
    table = [f"| {name} | {first[name]:.3f} | {again[name]:.3f} |" for name in calls]
    return "\n".join(
        [
            "## Beside other codes",
            "",
            *notes,
            "",
            f"Seconds for one map of Q and U at nside {NSIDE} on {os.cpu_count()} cores, the "
            "codes in turns, median: the first of a mask, with the coupling, and each further one. "
            "NaMaster does not smooth, and `anafast` transforms I too.",
            "",
            "| | first | further |",
            "| --- | ---: | ---: |",
            *table,
            "",
        ]
    )


def namaster_calls(pymaster, estimator: PseudoSpectra, qu: np.ndarray):
    """A function that runs NaMaster on Q and U, and a workspace that spares it the coupling."""
    ell = np.arange(3 * NSIDE)
    which = np.digitize(ell, estimator.bins.edges) - 1
    which[ell > estimator.bins.lmax] = -1
    bins = pymaster.NmtBin(ells=ell, bpws=which, weights=2.0 * ell + 1.0, lmax=int(ell[-1]))
    masked = np.where(estimator.mask, qu, 0.0)

    def run(space):
        field = pymaster.NmtField(
            estimator.weight,
            masked,
            purify_b=bool(estimator.options.purify),
            n_iter=3,
            n_iter_mask=3,
        )
        if space is None:
            space = pymaster.NmtWorkspace.from_fields(field, field, bins)
        space.decouple_cell(pymaster.compute_coupled_cell(field, field))
        return space

    return run, run(None)


def figure(
    found: list[Unbiased], all_ways: list[Way], leaked: dict[str, np.ndarray], path: Path
) -> None:
    """Pulls, leakage and scatter."""
    with styled():
        picture = Figure(figsize=(10, 7.2), layout="constrained")
        grid = picture.add_gridspec(2, 2)
        axis = picture.add_subplot(grid[0, :])
        first = found[0]
        centres = first.way.estimator.bins.centres
        for shift, (name, colour) in enumerate(zip(first.values, SERIES, strict=False)):
            at = centres + 0.4 * (shift - 2.5)
            axis.plot(at, first.pulls(name), "o", color=colour, label=name, markersize=3.5)
        axis.axhspan(-3, 3, color=GREY, alpha=0.12, linewidth=0)
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.set(xlabel="multipole", ylabel="(mean - expected) / error")
        reach = max(5.0, 1.1 * max(np.abs(first.pulls(name)).max() for name in first.values))
        axis.set_ylim(-reach, reach)
        count = first.values["BB"].shape[0]
        axis.set_title(f"Mean of {count} skies, {first.way.title}; grey: 3 standard errors")
        axis.legend(ncols=6, loc="upper right")

        axis = picture.add_subplot(grid[1, 0])
        ell = np.arange(2, all_ways[0].estimator.bins.lmax + 1)
        axis.plot(ell, THEORY[2, ell], color=INK, label="lensing BB")
        for way in all_ways:
            values, at = leaked[way.title], way.estimator.bins.centres
            axis.plot(at, np.abs(values.mean(axis=0)), "o", color=way.colour, label=way.title)
            axis.plot(at, values.std(axis=0, ddof=1), color=way.colour, linewidth=1.0)
        axis.set(xscale="log", yscale="log", xlabel="multipole", ylabel=r"$C_\ell$ [uK$^2$]")
        axis.set_title("BB of E modes alone: |mean| (dots), scatter (lines)")
        axis.legend()

        axis = picture.add_subplot(grid[1, 1], sharex=axis)
        for one in found:
            way = one.way
            axis.plot(way.estimator.bins.centres, one.scatter("BB"), color=way.colour)
        modes = first.way.estimator.fsky * first.way.estimator.bins.modes
        ideal = lensing(first.way) * np.sqrt(2.0 / modes)
        axis.plot(centres, ideal, color=INK, linestyle="--", label=r"$C\,\sqrt{2/\nu}$, default")
        axis.set(xscale="log", yscale="log", xlabel="multipole", ylabel=r"$\sigma$ [uK$^2$]")
        axis.set_title("Scatter of lensing BB from sky to sky")
        axis.legend()
        picture.savefig(path, dpi=110)


HEAD = f"""# Power spectra

Gaussian skies with the packaged spectra (r = 0, lensed) at nside {NSIDE} without beam and noise, on
the cleanest 60 % of the sky (`{MASK}`), as `skysift.spectra` estimates them. What is estimated and
how is in [Power spectra](../spectra.md).

![Spectra](spectra.png)

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--realisations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    all_ways, count, seed = ways(), options.realisations, options.seed
    default, _, plain = all_ways
    found = [Unbiased.of(way, count, seed) for way in (default, plain)]
    leaked = leakage(all_ways, max(count // 5, 20), seed + 1)
    parts = [
        full_sky(seed),
        "## Cut sky\n",
        *(unbiased_table(one) for one in found),
        leakage_table(all_ways, leaked),
        scatter_table(*found),
        apodisation_table(default.estimator.mask, max(count // 5, 20), seed + 3),
        noise_table(default, max(count // 5, 20), seed + 2),
        peers(all_ways, seed),
        f"Repeat with `python benchmarks/validation/spectra.py --realisations {count} --seed "
        f"{seed}`.\n",
    ]
    page = HEAD + "\n".join(parts)
    print(page)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "spectra.md").write_text(page)
    figure(found, all_ways, leaked, options.out / "spectra.png")


if __name__ == "__main__":
    main()
