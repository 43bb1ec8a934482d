"""The page and the pictures of `separations.py`, of what it measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from syntheses import mollweide

COLOURS = {"separated": "C1", "data": "0.6", "Wiener": "C0", "pywph": "C2"}


def kinds_of(trials: list[dict]) -> list[str]:
    """What is compared with the truth."""
    return [kind for kind in trials[0]["structure"] if kind != "own"]


def mean_and_error(values: list) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trials and its standard error, NaN for a single one."""
    stacked = np.array(values)
    if len(stacked) < 2:
        return stacked[0], np.full(stacked[0].shape, np.nan)
    return stacked.mean(axis=0), stacked.std(axis=0, ddof=1) / np.sqrt(len(stacked))


def transition(trials: list[dict], channel: str) -> float:
    """Signal-to-noise at which the correlation with the truth is a half; NaN where it is higher."""
    snr = np.mean([one[channel]["snr"] for one in trials], axis=0)
    correlation = np.mean([one[channel]["separated"]["correlation"] for one in trials], axis=0)
    below = np.flatnonzero(correlation < 0.5)
    if below.size == 0 or below[0] == 0:
        return np.nan
    pair = slice(below[0] - 1, below[0] + 1)
    return float(np.exp(np.interp(0.5, correlation[pair][::-1], np.log(snr[pair])[::-1])))


def picture(result: dict, maps: dict, kept: np.ndarray, name: str, path: Path) -> None:
    """Maps of the first trial, spectra over the true one, and correlations with the truth."""
    channels, trials = result["channels"], result["trials"]
    figure = Figure(figsize=(14, 3.0 * len(channels) + 3.2), layout="constrained")
    rows = figure.subfigures(2, 1, height_ratios=[3.0 * len(channels), 3.2])
    grid = rows[0].subplots(len(channels), 4, squeeze=False)
    titles = ("truth", "data", "separated", "Wiener")
    for row, number, channel in zip(grid, range(len(channels)), channels, strict=True):
        low, high = np.percentile(maps["truth"][number], [0.5, 99.5])
        for axes, title in zip(row, titles, strict=True):
            image = np.where(kept, maps[title][number], np.nan)
            image = image if image.ndim == 2 else mollweide(image)
            axes.imshow(image, vmin=low, vmax=high, cmap="inferno", origin="lower")
            axes.set_title(f"{channel}: {title}", fontsize=10)
            axes.set_axis_off()
    left, right = rows[1].subplots(1, 2)
    for number, channel in enumerate(channels):
        snr = np.mean([one[channel]["snr"] for one in trials], axis=0)
        for kind in kinds_of(trials):
            line = {"color": COLOURS[kind], "linestyle": ("-", "--")[number], "marker": "."}
            for axes, what in ((left, "ratio"), (right, "correlation")):
                mean, error = mean_and_error([one[channel][kind][what] for one in trials])
                axes.errorbar(snr, mean, error, label=f"{channel}: {kind}", **line)
        right.axvline(transition(trials, channel), color="C1", linestyle=("-", "--")[number], lw=1)
    for axes, label in ((left, "power over the true one"), (right, "correlation with the truth")):
        axes.set(xscale="log", xlabel="signal-to-noise of the octave, in power", ylabel=label)
        axes.invert_xaxis()
        axes.axvline(0.1, color="0.8", zorder=0)
    left.set(yscale="log")
    left.axhspan(0.9, 1.1, color="0.9", zorder=0)
    right.axhline(0.5, color="0.8", zorder=0)
    right.legend(fontsize=8)
    figure.suptitle(f"{name}: places are recovered left of the orange line, statistics beyond it")
    figure.savefig(path, dpi=90)


def page(results: dict[str, dict]) -> str:
    """The validation page."""
    lines = ["# Statistical separations with a known truth", ""]
    lines += [f"Written by `benchmarks/validation/separations.py` on {platform.machine()},"]
    lines += [f"{len(os.sched_getaffinity(0))} cores shared with other work. Powers over the true"]
    lines += ["one and correlations with the truth are of octaves, the highest of each channel"]
    lines += ["last: means over trials with other contaminations, and their standard errors. The"]
    lines += ["Wiener filter knows the true spectra."]
    for name, one in results.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", ""]
        lines += [*descents(one), *powers(one), *offsets(one["trials"])]
        lines += ["", f"![Maps and spectra](separations-{slug(name)}.png)"]
    lines += ["", "Repeat with `python benchmarks/validation/separations.py --data DATA`.", ""]
    return "\n".join(lines)


def descents(result: dict) -> list[str]:
    """Lines on times, steps and losses."""
    trials = result["trials"]
    seconds = " and ".join(f"{trial['seconds']:.0f}" for trial in trials)
    steps = ", ".join(
        f"{len(next(iter(trial['losses'].values()))) - 1} ({trial['status']})" for trial in trials
    )
    lines = [f"{result['draws']} draws; {seconds} s; steps: {steps}."]
    if "seconds of pywph" in trials[0]:
        seconds = " and ".join(f"{trial['seconds of pywph']:.0f}" for trial in trials)
        lines += [f"pywph (5 new draws in each evaluation, 40 iterations at most): {seconds} s."]
    lines += ["", "| constraint | loss at the end | loss of the truth |", "| --- | --- | --- |"]
    for key in trials[0]["losses"]:
        ends = ", ".join(f"{trial['losses'][key][-1]:.2f}" for trial in trials)
        true = ", ".join(f"{trial['losses of the truth'][key]:.2f}" for trial in trials)
        lines += [f"| {key} | {ends} | {true} |"]
    return lines


def powers(result: dict) -> list[str]:
    """Lines on powers and correlations in octaves."""
    trials, channels = result["trials"], result["channels"]
    kinds = kinds_of(trials)
    lines = ["", f"| | signal-to-noise | power: {', '.join(kinds)} | correlation |"]
    lines += ["| --- | ---: | --- | --- |"]
    for channel in channels:
        snr = np.mean([trial[channel]["snr"] for trial in trials], axis=0)
        for number, ratio in enumerate(snr):
            low, high = result["edges"][number : number + 2]
            cells = []
            for what in ("ratio", "correlation"):
                each = [
                    mean_and_error([trial[channel][kind][what][number] for trial in trials])
                    for kind in kinds
                ]
                first = f"{each[0][0]:.2f}"
                if len(trials) > 1:
                    first += f" ± {each[0][1]:.2f}"
                cells.append(", ".join([first, *(f"{mean:.2f}" for mean, _ in each[1:])]))
            lines += [f"| {channel}, {low:.0f} to {high:.0f} | {ratio:.2g} | {' | '.join(cells)} |"]
    where = {channel: transition(trials, channel) for channel in channels}
    found = [f"{at:.2g} ({channel})" for channel, at in where.items() if np.isfinite(at)]
    if found:
        lines += ["", "From deterministic to statistical (correlation 0.5) at a signal-to-noise"]
        lines += [f"of {', '.join(found)}."]
    return lines


def offsets(trials: list[dict]) -> list[str]:
    """Lines on the statistics of each order."""
    lines = ["", "Rms offset of the statistics of each order from those of the truth, in units"]
    lines += ["of the scatter of Gaussian fields of its spectrum; `own` is the scatter of the"]
    lines += ["truth's parts, over the root of their number:", ""]
    orders = list(trials[0]["structure"]["separated"])
    lines += [f"| | {' | '.join(orders)} |", "| --- |" + " ---: |" * len(orders)]
    for kind in (*kinds_of(trials), "own"):
        rows = [trial["structure"][kind] for trial in trials]
        if rows[0]:
            numbers = [f"{np.mean([row[order] for row in rows]):.2f}" for order in orders]
            lines += [f"| {kind} | {' | '.join(numbers)} |"]
    return lines


def slug(name: str) -> str:
    """A name for a file."""
    return name.replace(" ", "-")
