"""The page and the pictures of `separations.py`, of what it measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from separations_measures import BURIED, CLEAR
from separations_mixtures import Mixture
from syntheses import mollweide

WORDS = {"data": "the data", "filtered": "data filtered to the power of the signal"}
COLOURS = {"separated": "C1", "data": "0.6", "Wiener": "C0", "pywph": "C2"}

INTRO = """# Statistical separations with a known truth

Written by `benchmarks/validation/separations.py` on {machine},
{cores} core(s) shared with other work: seconds are those of
the processor, with compilation in the first trial of a run. Numbers are means over
trials, each with a contamination of its own, and their standard errors. Trials count
from 1: how to descend, and from where, was settled on others. The four regions of the
sky are its faintest half, the next quarter, the next 15 % and the brightest tenth, of
the intensity of the dust at 5 degrees, as the Galactic masks of Planck.

Powers over the true one and correlations with the truth are of octaves, the
highest of each channel last. What the data of one trial can tell of the power is
limited: the power of the data less the mean power of the known contaminations
(`debiased`) is right on average, and scatters over contaminations as in the column
`possible`. The column beside it is the scatter of the separated power about the true
one. `less debiased` is the difference of the two in the same trials, in which the
chance of the contamination cancels: it tells the bias of the separation itself. The
Wiener filter knows the true spectra, the local one the true power of each octave
within 2.5 wavelengths of each place: what it does not recover of places is hardly
in the data, and its power is far too low. In the pictures black lines are the
standard errors that are possible, orange ones where places are no longer recovered,
and gray crosses the correlation of the local filter.

Of a region with hardly any signal the debiased power is below 0 in half of all
trials, and that of a signal is not: regions by themselves add to more power than
there is. On the sky the powers of the whole are therefore a constraint of their own,
`total 2`; where its debiased power is near 0 or below in a trial, that of a signal
is more. What the data tell of the places of buried scales is hardly more than their
power in each region.

Offsets of the scattering statistics are in units of the scatter of Gaussian fields
of the true spectrum, rms over the numbers of an order: of one trial; of the mean over
trials, without what its standard error explains; and, in brackets, of the mean over
its standard error, which is 1 without a bias. Beside it stands what one trial can
tell (`possible`): the scatter of the same numbers of the data, over how much they
answer to the signal. The powers answer by all of their change. Of the others it is
measured when the truth gives way to fields with its powers and random phases: at
low signal-to-noise the statistics of the data hardly differ between these, and no
separation can know which of them was there. `own` is the scatter of the truth's
parts, over the root of their number. Buried numbers have a scale of a signal-to-noise
below about 0.1, clear ones have not."""


def kinds_of(trials: list[dict]) -> list[str]:
    """What is compared with the truth."""
    return [kind for kind in trials[0]["structure"] if kind != "own"]


def mean_and_error(values: list | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def image_of_maps(maps: dict[str, np.ndarray], mixture: Mixture, path: Path) -> None:
    """Maps of one trial."""
    channels = mixture.channels
    figure = Figure(figsize=(14, 3.0 * len(channels)), layout="constrained")
    grid = figure.subplots(len(channels), 4, squeeze=False)
    titles = ("truth", "data", "separated", "Wiener")
    for row, number, channel in zip(grid, range(len(channels)), channels, strict=True):
        low, high = np.percentile(maps["truth"][number], [0.5, 99.5])
        for axes, title in zip(row, titles, strict=True):
            image = np.where(mixture.kept, maps[title][number], np.nan)
            image = image if image.ndim == 2 else mollweide(image)
            axes.imshow(image, vmin=low, vmax=high, cmap="inferno", origin="lower")
            axes.set_title(f"{channel}: {title}", fontsize=10)
            axes.set_axis_off()
    figure.savefig(path, dpi=90)


def image_of_spectra(result: dict, path: Path) -> None:
    """Spectra over the true one, and correlations with the truth."""
    channels, trials = result["channels"], result["trials"]
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, channel in enumerate(channels):
        snr = np.mean([one[channel]["snr"] for one in trials], axis=0)
        style = ("-", "--")[number]
        for kind in kinds_of(trials):
            line = {"color": COLOURS[kind], "linestyle": style, "marker": "."}
            for axes, what in ((left, "ratio"), (right, "correlation")):
                mean, error = mean_and_error([one[channel][kind][what] for one in trials])
                axes.errorbar(snr, mean, error, label=f"{channel}: {kind}", **line)
        possible = np.mean([one[channel]["error"] for one in trials], axis=0) / np.sqrt(len(trials))
        for side in (-1.0, 1.0):
            left.plot(snr, 1.0 + side * possible, color="k", linestyle=style, lw=0.7)
        local = np.mean([one[channel]["local"] for one in trials], axis=0)
        right.plot(snr, local, "x", color="0.4", label=f"{channel}: local Wiener")
        right.axvline(transition(trials, channel), color="C1", linestyle=style, lw=1)
    for axes, label in ((left, "power over the true one"), (right, "correlation with the truth")):
        axes.set(xscale="log", xlabel="signal-to-noise of the octave, in power", ylabel=label)
        axes.invert_xaxis()
        axes.axvline(0.1, color="0.8", zorder=0)
    left.set(yscale="log", ylim=(0.04, 100.0))
    left.axhspan(0.9, 1.1, color="0.9", zorder=0)
    right.axhline(0.5, color="0.8", zorder=0)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=90)


def page(results: dict[str, dict]) -> str:
    """The validation page."""
    cores = len(os.sched_getaffinity(0))
    lines = INTRO.format(machine=platform.machine(), cores=cores).split("\n")
    for name, one in results.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", ""]
        lines += [*descents(one), *powers(one), *offsets(one)]
        lines += ["", f"![Maps](separations-{slug(name)}-maps.png)"]
        lines += ["", f"![Spectra](separations-{slug(name)}.png)"]
    lines += ["", "Repeat with `python benchmarks/validation/separations.py --data DATA`.", ""]
    return "\n".join(lines)


def descents(result: dict) -> list[str]:
    """Lines on times, steps and losses."""
    trials = result["trials"]
    seconds = ", ".join(f"{trial['seconds of cpu']:.0f}" for trial in trials)
    steps = ", ".join(
        f"{len(next(iter(trial['losses'].values()))) - 1} ({trial['status']})" for trial in trials
    )
    begun = " or ".join(sorted({WORDS[trial["begin"]] for trial in trials}))
    lines = [f"{result['draws']} draws, from {begun}."]
    lines += [f"Trials: {len(trials)}, of {seconds} s; steps: {steps}."]
    if "seconds of pywph" in trials[0]:
        seconds = " and ".join(
            f"{trial['seconds of pywph']:.0f}" for trial in trials if "seconds of pywph" in trial
        )
        lines += [f"pywph (5 new draws in each evaluation, 40 iterations at most): {seconds} s."]
    lines += ["", "| constraint | loss at the end | loss of the truth |", "| --- | ---: | ---: |"]
    for key in trials[0]["losses"]:
        end = np.mean([trial["losses"][key][-1] for trial in trials])
        true = np.mean([trial["losses of the truth"][key] for trial in trials])
        lines += [f"| {key} | {end:.2f} | {true:.2f} |"]
    return lines


def powers(result: dict) -> list[str]:
    """Lines on powers and correlations in octaves."""
    trials, channels = result["trials"], result["channels"]
    kinds = kinds_of(trials)
    others = ", ".join(kinds[1:])
    lines = ["", "| | signal-to-noise | power | less debiased | scatter | possible |"]
    lines[-1] += f" power: {others} | correlation: {', '.join(kinds)}, local Wiener |"
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"]
    for channel in channels:
        rows = [trial[channel] for trial in trials]
        own = np.array([row["separated"]["ratio"] for row in rows])
        power = mean_and_error(own)
        against = mean_and_error(own - np.array([row["debiased"] for row in rows]))
        scatter = np.sqrt(np.mean((own - 1.0) ** 2, axis=0))
        snr, possible = (np.mean([row[what] for row in rows], axis=0) for what in ("snr", "error"))
        for number, ratio in enumerate(snr):
            low, high = result["edges"][number : number + 2]
            cells = [f"{channel}, {low:.0f} to {high:.0f}", f"{ratio:.2g}"]
            cells += [_told(*power, number), _told(*against, number)]
            cells += [f"{scatter[number]:.2f}", f"{possible[number]:.2f}"]
            for what, names in (("ratio", kinds[1:]), ("correlation", kinds)):
                each = [np.mean([row[kind][what][number] for row in rows]) for kind in names]
                if what == "correlation":
                    each.append(np.mean([row["local"][number] for row in rows]))
                cells.append(", ".join(f"{one:.2f}" for one in each))
            lines += [f"| {' | '.join(cells)} |"]
    where = {channel: transition(trials, channel) for channel in channels}
    found = [f"{at:.2g} ({channel})" for channel, at in where.items() if np.isfinite(at)]
    if found:
        lines += ["", "From deterministic to statistical (correlation 0.5) at a signal-to-noise"]
        lines += [f"of {', '.join(found)}."]
    return lines


def _told(mean: np.ndarray, error: np.ndarray, number: int) -> str:
    """A mean and its standard error, if there is one."""
    shown = f"{mean[number]:.2f}"
    return shown if np.isnan(error[number]) else f"{shown} ± {error[number]:.2f}"


def offsets(result: dict) -> list[str]:
    """Lines on the statistics of each order."""
    trials, limits = result["trials"], result["limits"]
    kinds = kinds_of(trials)
    lines = ["", f"| | {kinds[0]} | possible | {' | '.join(kinds[1:])} | own |"]
    lines += ["| --- |" + " ---: |" * (len(kinds) + 2)]
    first = trials[0]["structure"]
    for part in (CLEAR, BURIED):
        for order in first["separated"]:
            if part not in first["separated"][order]:
                continue
            cells = [
                _bias([one["structure"][kind][order][part] for one in trials]) for kind in kinds
            ]
            cells.insert(1, _possible(**limits[order][part]))
            own = first["own"].get(order) if part == CLEAR else None
            cells.append("" if own is None else f"{own:.2f}")
            lines += [f"| {order}, {part} | {' | '.join(cells)} |"]
    return lines


def _possible(scatter: float, answer: float, error: float) -> str:
    """Error of a statistic of the signal as the data tell it, at least."""
    if answer > 2.0 * error:
        return f"{scatter / answer:.2f}"
    return f"over {scatter / (2.0 * error):.1f}"


def _bias(each: list[list[float]]) -> str:
    """Rms offset of a trial, of the mean over trials, and of that over its standard error."""
    values = np.array(each)
    shown = f"{np.sqrt(np.mean(values**2)):.2f}"
    if len(values) < 2:
        return shown
    mean, square = values.mean(axis=0), values.var(axis=0, ddof=1) / len(values)
    bias = np.sqrt(max(np.mean(mean**2 - square), 0.0))
    return f"{shown}; {bias:.2f} ({np.sqrt(np.mean(mean**2) / np.mean(square)):.1f})"


def slug(name: str) -> str:
    """A name for a file."""
    return name.replace(" ", "-")
