"""Is the posterior of the statistics of a signal right, and better than a separated map?

Signals are parts of maps of dust of a simulation of magnetised turbulence (of pywph), made periodic
(Moisan 2011, J. Math. Imaging Vision 39, 161) and brought to unit variance; the noise is white and
uneven. One density is learnt for the data of the first part, and asked for the others. Two checks
of coverage: signals like those of the prior, and the parts of the simulation. Some parts have a
posterior of their own as well, which is compared with the separated map. Writes `posterior.md`,
`.json` and a picture.

    python benchmarks/validation/posterior.py --data DATA

DATA has `scattering/pywph_{I_1,I_2,Q_1,U_1}.npy`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skysift import scattering
from skysift.scattering.bayes.calibration import Coverage, ranks_of

ROOT = Path(__file__).parents[2]
SIZE = 32
NOISE = 0.4
MAPS = ("I_1", "I_2", "Q_1", "U_1")
POINT, OWN = "separated map", "posterior mean, of its own"
TRIED = 5
"""Parts on which it was settled how posteriors of their own are inferred."""
NEAR = scattering.Search(breadth=1.5)
"""Around a separated map, which is nearer to the truth than the data are."""
LEVELS = np.linspace(0.05, 0.95, 19)


def parts(data: Path, seed: int) -> np.ndarray:
    """Parts of the maps in random order, `(part, cell, cell)`."""
    found = []
    for name in MAPS:
        whole = np.load(data / f"scattering/pywph_{name}.npy").astype(float)
        half = whole.reshape(256, 2, 256, 2).mean(axis=(1, 3))
        for row in range(0, 256, SIZE):
            for column in range(0, 256, SIZE):
                part = periodic(half[row : row + SIZE, column : column + SIZE])
                found.append((part - part.mean()) / part.std())
    return np.stack(found)[np.random.default_rng(seed).permutation(len(found))]


def periodic(image: np.ndarray) -> np.ndarray:
    """An image without the smooth part that makes its opposite edges differ."""
    jumps = np.zeros_like(image)
    for axis in (0, 1):
        ends = np.moveaxis(jumps, axis, 0)
        given = np.moveaxis(image, axis, 0)
        ends[0] += given[-1] - given[0]
        ends[-1] -= given[-1] - given[0]
    waves = [2.0 * np.cos(2.0 * np.pi * np.arange(size) / size) for size in image.shape]
    laplacian = waves[0][:, None] + waves[1] - 4.0
    laplacian[0, 0] = 1.0
    smooth = np.fft.fft2(jumps) / laplacian
    smooth[0, 0] = 0.0
    return image - np.fft.ifft2(smooth).real


def run(data: Path, mocks: int, separated: int, seed: int) -> dict:
    """All that is measured."""
    signals = parts(data, seed)
    shape = (SIZE, SIZE)
    uneven = 1.0 + 0.5 * np.sin(2.0 * np.pi * np.arange(SIZE) / SIZE)
    rms = NOISE * uneven[:, None] + np.zeros(shape)
    noise = scattering.WhiteNoise(rms)
    rng = np.random.default_rng(seed + 1)
    observed = signals[: mocks + 1] + rms * rng.standard_normal((mocks + 1, *shape))
    statistic = scattering.Reduced(scattering.Covariance.plane(shape, 3, 2))
    begun = time.process_time()
    found = scattering.posterior(observed[0], noise, statistic, 2, seed)
    learnt = time.process_time() - begun
    print("learnt in", round(learnt), "CPU s; misfit", found.misfit, flush=True)
    own = found.coverage(mocks, seed + 2, contamination=noise)
    print("own signals", own.mean(), flush=True)
    posteriors = [found.given(one) for one in observed[1:]]
    truths = found.forward.parameters(signals[1 : mocks + 1])
    others = ranks_of(
        truths,
        lambda number, _: found.forward.coordinates.of(posteriors[number].sample(1000)),
        found.forward.coordinates,
        np.random.default_rng(seed),
    )
    print("simulation", others.mean(), flush=True)
    compared = slice(TRIED, TRIED + separated)
    maps, each, took = [], [], np.zeros(2)
    with warnings.catch_warnings():
        # What did not converge is counted below by its squared error like the others.
        warnings.simplefilter("ignore", UserWarning)
        for one in observed[1:][compared]:
            begun = time.process_time()
            maps.append(scattering.separate(one, noise, statistic, seed=seed, draws=40).map)
            between = time.process_time()
            around = statistic(maps[-1])
            each.append(
                scattering.posterior(one, noise, statistic, seed=seed, around=around, search=NEAR)
            )
            took += np.array([between - begun, time.process_time() - between]) / separated
            print(len(each), "of", separated, flush=True)
    coordinates, scale = found.forward.coordinates, found.whitening.deviation
    point = found.forward.parameters(np.stack(maps))
    raw = found.forward.parameters(observed[1:][compared])
    errors = {
        name: ((values - truths[compared]) / scale) ** 2
        for name, values in (
            ("data", raw),
            (POINT, point),
            (OWN, np.stack([coordinates.of(one.mean) for one in each])),
            ("posterior mean, one density for all", others.means[compared]),
            ("prior mean", found.whitening.mean + np.zeros_like(point)),
        )
    }
    within = []
    for one, truth in zip(each, truths[compared], strict=True):
        low, high = (coordinates.of(end) for end in one.interval())
        within.append(np.mean((low < truth) & (truth < high)))
    first = each[0]
    return {
        "found": found,
        "own": own,
        "others": others,
        "errors": errors,
        "seconds": (learnt, *took),
        "within": within,
        "maps": {
            "signal": signals[1 + TRIED],
            "data": observed[1 + TRIED],
            "separated": maps[0],
            "posterior, its places": first.maps(1, seed, signal=maps[0])[0],
            "posterior, new places": first.maps(1, seed)[0],
        },
    }


def orders(coverage: Coverage) -> np.ndarray:
    """Name of the order of each parameter."""
    return np.array([order.value for order in coverage.coordinates.order()])


def picture(result: dict, path: Path) -> None:
    """Coverage, errors and maps."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    left, middle, right = top.subplots(1, 3)
    both = (("signals of the prior", result["own"]), ("parts of the simulation", result["others"]))
    for name, one in both:
        left.plot(LEVELS, [one.mean(level)[0] for level in LEVELS], ".-", label=name)
        middle.hist(one.ranks.ravel(), 20, density=True, histtype="step", label=name)
    left.plot([0, 1], [0, 1], "0.6")
    left.set(xlabel="level of the interval", ylabel="truths within")
    left.legend(fontsize=8)
    middle.axhline(1.0, color="0.6")
    middle.set(xlabel="rank of the truth among draws", ylabel="density")
    point, mean = (result["errors"][name].mean(axis=1) for name in (POINT, OWN))
    right.loglog(point, mean, ".")
    ends = [min(point.min(), mean.min()), max(point.max(), mean.max())]
    right.plot(ends, ends, "0.6")
    right.xaxis.set_minor_formatter("")
    right.yaxis.set_minor_formatter("")
    right.set(xlabel="squared error, separated map", ylabel="squared error, posterior mean")
    low, high = np.percentile(result["maps"]["data"], [1, 99])
    for axes, (name, values) in zip(
        bottom.subplots(1, len(result["maps"])), result["maps"].items(), strict=True
    ):
        axes.imshow(values, vmin=low, vmax=high, cmap="inferno", origin="lower")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=90)


def page(result: dict, mocks: int, separated: int) -> str:
    """The validation page."""
    found, own, others = result["found"], result["own"], result["others"]
    learnt, separating, inferring = result["seconds"]
    names = orders(own)
    lines = ["# Posterior of statistics", ""]
    lines += [f"Written by `benchmarks/validation/posterior.py` on {platform.machine()}. Signals"]
    lines += [f"of {SIZE} x {SIZE} cells and unit variance, white noise whose deviation goes from"]
    lines += [f"{0.5 * NOISE:g} to {1.5 * NOISE:g} over the map, reduced scattering covariance:"]
    lines += [f"{names.size} parameters. One density, learnt for the data of one part of the"]
    lines += [f"simulation with two rounds ({learnt:.0f} CPU seconds), serves all {mocks} mocks"]
    lines += [
        "of each kind, with noise of their own. *Signals of the prior* are made like those of"
    ]
    lines += [
        "its first round; the *parts* are periodic components of maps of simulated dust, which"
    ]
    lines += ["the prior has not seen: this tells of prior and maximum-entropy model too.", ""]
    lines += ["Truths within the 68 % interval of each number, with the standard error over mocks:"]
    lines += ["", "| order | numbers | signals of the prior | parts of the simulation | rank |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for name in dict.fromkeys(names):
        here = names == name
        lines += [
            f"| {name} | {here.sum()} | {100 * own.covered()[here].mean():.1f} % | "
            f"{100 * others.covered()[here].mean():.1f} % | {others.ranks[:, here].mean():.2f} |"
        ]
    both = [np.multiply(100, one.mean()) for one in (own, others)]
    shown = " | ".join(f"{mean:.1f} ± {error:.1f} %" for mean, error in both)
    lines += [f"| all | {names.size} | {shown} | {others.ranks.mean():.2f} |", ""]
    lines += ["Rank: mean part of the draws below the truth of a part, 0.5 if the posterior is not"]
    lines += [
        "to one side of it. Where the noise is far above the signal, at the finest scale, the"
    ]
    lines += ["posterior is the prior, and what the prior did not expect is not found.", ""]
    lines += ["![Coverage, errors and maps](posterior.png)", ""]
    lines += [f"Squared error of the statistics of {separated} parts, in variances of the prior."]
    lines += [f"*Of its own*: each has a posterior of its own, with three rounds ({inferring:.0f}"]
    lines += [
        f"CPU seconds) and a prior of half the breadth ({NEAR.breadth:g}) around the statistics"
    ]
    lines += [f"of the separated map (a separation takes {separating:.1f}); this was settled on"]
    lines += [f"{TRIED} other parts. Truths are within its"]
    error = np.std(result["within"], ddof=1) / np.sqrt(len(result["within"]))
    shown = f"{100 * np.mean(result['within']):.1f} ± {100 * error:.1f} %"
    lines += [f"68 % intervals in {shown} of the numbers.", ""]
    lines += ["| estimate | mean | median of the mocks |", "| --- | ---: | ---: |"]
    for name, values in result["errors"].items():
        lines += [f"| {name} | {values.mean():.3f} | {np.median(values.mean(axis=1)):.3f} |"]
    point, mean = (result["errors"][name].mean(axis=1) for name in (POINT, OWN))
    lines += ["", "The mean of its own posterior is nearer than the separated map for"]
    lines += [f"{100 * np.mean(mean < point):.0f} % of the parts. Where the data tell a number"]
    lines += ["well, such as the powers of the large scales, the separated map can be nearer: an"]
    lines += ["emulator and a network have errors too. By order:", ""]
    lines += [f"| order | {' | '.join(result['errors'])} |"]
    lines += ["| --- |" + " ---: |" * len(result["errors"])]
    for name in dict.fromkeys(names):
        each = [f"{one[:, names == name].mean():.3f}" for one in result["errors"].values()]
        lines += [f"| {name} | {' | '.join(each)} |"]
    lines += ["", f"Misfit of the data that the density was learnt for: {found.misfit:.2f}."]
    lines += ["", "Repeat with `python benchmarks/validation/posterior.py --data DATA`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Learn a density, check it, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the maps")
    parser.add_argument("--mocks", type=int, default=100)
    parser.add_argument("--separated", type=int, default=40, help="mocks that are separated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = run(options.data, options.mocks, options.separated, options.seed)
    (options.out / "posterior.md").write_text(page(result, options.mocks, options.separated))
    picture(result, options.out / "posterior.png")
    plain = {
        "parameters": orders(result["own"]).tolist(),
        "misfit": result["found"].misfit,
        "widths": result["found"].inference.widths,
        "seconds": result["seconds"],
        "within": result["within"],
        "covered": {
            name: {"all": one.mean(), "each": one.covered().tolist()}
            for name, one in (("prior", result["own"]), ("simulation", result["others"]))
        },
        "squared_error": {
            name: values.mean(axis=0).tolist() for name, values in result["errors"].items()
        },
    }
    (options.out / "posterior.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
