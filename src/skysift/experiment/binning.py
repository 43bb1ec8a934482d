"""Patches of similar value from the fitted parameters of earlier runs."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float, Int

from skysift.experiment.config import SeparateExperiment
from skysift.experiment.ensemble_run import KIND
from skysift.experiment.fingerprint import content_hash
from skysift.experiment.text import load, plain, unknown
from skysift.grid import Grid, Ordering
from skysift.harmonic.smooth import smoothed
from skysift.patches import AbstractPartition, Binned, Patches
from skysift.report.binning import BinnedParameter, BinningView, write_binning_page
from skysift.report.sheet import Origin
from skysift.store.fits import Column, Frame, write_columns, write_mask
from skysift.store.manifest import Manifest
from skysift.store.run import (
    EXPERIMENT,
    MAPS,
    MASK,
    REPORT,
    RESULT,
    Run,
    drafted,
    finished_run,
    require_apart,
)

LABELS = "patches"
"""Folder of the label maps."""


@dataclass(frozen=True)
class BinningOptions:
    """How to bin.

    Args:
        bins: number of equal-width bins, per spectral parameter; the others keep their patches.
        fwhm: of a Gaussian to smooth with before, 0 for none [degrees].
    """

    bins: Mapping[str, int] = field(default_factory=dict)
    fwhm: float = 0.0

    def __post_init__(self) -> None:
        names = {name.replace("-", "_"): count for name, count in self.bins.items()}
        object.__setattr__(self, "bins", names)
        if not (np.isfinite(self.fwhm) and self.fwhm >= 0):
            raise ValueError(f"fwhm: expected degrees not below zero, got {self.fwhm!r}.")


@dataclass(frozen=True, eq=False)
class Binning:
    """New patches, and what they were made from.

    Args:
        view: values and patches of each parameter.
        frame: coordinates of the maps.
        notes: what a user should know.
    """

    view: BinningView
    frame: Frame
    notes: tuple[str, ...]

    @property
    def patches(self) -> Patches:
        """The new patches."""
        view = self.view
        return Patches({p.name: p.labels for p in view.parameters}, view.grid)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Parameters of a run on its cells, RING."""

    run: Run
    experiment: SeparateExperiment
    grid: Grid
    values: dict[str, Float[np.ndarray, " cell"]]
    labels: dict[str, Int[np.ndarray, " cell"]]


def binned(runs: Sequence[Run], options: BinningOptions) -> Binning:
    """Bin the fitted parameters of runs whose masks do not overlap.

    Args:
        runs: separations, or sets of realisations, of which the mean counts.
        options: how.

    Raises:
        ValueError: for runs that overlap or differ in nside, frame or parameters, bins of a
            parameter that was not fitted, or no bins at all.
    """
    if not runs:
        raise ValueError("runs: expected at least one, got none.")
    parts = [_fitted(run) for run in runs]
    first = parts[0]
    _require_alike(parts)
    names = list(first.values)
    for name in options.bins:
        if name not in names:
            raise ValueError(f"bins: {unknown('parameter', name, names)}")
    if not options.bins:
        raise ValueError(
            f"bins: expected a number for at least one of {', '.join(names)}, got none. For "
            f"instance --bins.{names[0].replace('_', '-')} 50."
        )
    cells = np.concatenate([part.grid.index for part in parts])
    order = np.argsort(cells, kind="stable")
    if np.any(np.diff(cells[order]) == 0):
        twice = int(np.sum(np.diff(cells[order]) == 0))
        raise ValueError(
            f"runs: expected masks that do not overlap, got {twice} cells in more than one run. "
            "Separate with masks such as GAL020 and GAL060-GAL020."
        )
    grid = Grid(first.grid.nside, Ordering.RING, cells[order])
    found = []
    for name in names:
        values = np.concatenate([part.values[name] for part in parts])[order]
        found.append(_parameter(name, values, _stitched(parts, name)[order], grid, options))
    view = BinningView(grid, tuple(found), options.fwhm, ", ".join(str(r.path) for r in runs))
    return Binning(view, first.experiment.frame, _notes(parts))


def binning_run(
    runs: Sequence[Run],
    options: BinningOptions,
    output: Path,
    *,
    command: str = "",
    overwrite: bool = False,
) -> tuple[Binning, str]:
    """Bin, and write `patches/<parameter>.fits`, `maps/<parameter>.fits`, `mask.fits` and a page.

    Args:
        runs: as `binned`.
        options: as `binned`.
        output: directory of the new run.
        command: what to type to repeat it.
        overwrite: replace a run of another configuration.

    Returns:
        The patches, and the command that separates with them.

    Raises:
        ValueError: as `binned`, or if the directory holds something else.
        OSError: if the disk is full.
    """
    result = binned(runs, options)
    inputs = {str(run.path / RESULT): content_hash(run.path / RESULT) for run in runs}
    settings = {"bins": dict(options.bins), "fwhm": options.fwhm}
    content = json.dumps([settings, list(inputs.values())], sort_keys=True)
    config_hash = hashlib.sha256(content.encode()).hexdigest()
    require_apart(output, inputs)
    earlier = finished_run(output, config_hash, overwrite=overwrite)
    again = _separate_command(runs[0], result, output)
    if earlier is not None:
        return result, again
    text = yaml.safe_dump(
        {"kind": "bin", "runs": [str(run.path) for run in runs]} | settings, sort_keys=False
    )
    head = Manifest("bin", config_hash, command)
    with drafted(output, head) as draft:
        draft.inputs.update(inputs)
        draft.write_text(EXPERIMENT, text)
        draft.summary.update(nside=result.view.grid.nside, cells=result.view.grid.size)
        for parameter in result.view.parameters:
            draft.summary[f"{parameter.name} patches"] = parameter.count
        with draft.stage("write"):
            _write(draft.directory, result)
        with draft.stage("report"):
            write_binning_page(
                draft.directory / REPORT,
                result.view,
                separate_command=again,
                origin=Origin(text, command, draft.manifest(head).facts()),
                notes=result.notes,
            )
    return result, again


def _write(folder: Path, result: Binning) -> None:
    grid, frame = result.view.grid, result.frame
    write_mask(folder / MASK, grid, frame=frame)
    for one in result.view.parameters:
        labels = Column(one.labels.astype(float))
        write_columns(folder / LABELS / f"{one.name}.fits", {"PATCH": labels}, grid, frame=frame)
        columns = {one.name.upper(): Column(one.values), "SMOOTHED": Column(one.smoothed)}
        write_columns(folder / MAPS / f"{one.name}.fits", columns, grid, frame=frame)


def _fitted(run: Run) -> _Fitted:
    if run.manifest.kind not in ("separate", KIND):
        raise ValueError(
            f"run: expected a separation, got {run.path}, a run of skysift {run.manifest.kind}. "
            "Run skysift separate on it first."
        )
    data = run.dataset()
    names = [str(v).removesuffix("_patch") for v in data.data_vars if str(v).endswith("_patch")]
    if not names:
        raise ValueError(
            f"run: expected fitted spectral parameters, got none in {run.path}. All of them were "
            "held fixed."
        )
    grid = Grid(int(data.attrs["nside"]), Ordering(data.attrs["ordering"]), data["cell"].values)
    order = np.argsort(grid.ring)
    ring = Grid(grid.require_nside(), Ordering.RING, grid.ring[order])
    labels = {name: data[f"{name}_patch"].values.astype(np.int64)[order] for name in names}
    values = {}
    for name in names:
        fitted = data[name]
        if "realisation" in fitted.dims:
            fitted = fitted.mean("realisation")
        values[name] = fitted.values.astype(float)[labels[name]]
    experiment = load(run.path / EXPERIMENT, SeparateExperiment)
    return _Fitted(run, experiment, ring, values, labels)


def _require_alike(parts: Sequence[_Fitted]) -> None:
    first = parts[0]
    for part in parts[1:]:
        for what, one, other in (
            ("nside", first.grid.nside, part.grid.nside),
            ("coordinates", first.experiment.frame.name, part.experiment.frame.name),
            ("parameters", ", ".join(first.values), ", ".join(part.values)),
        ):
            if one != other:
                raise ValueError(
                    f"runs: expected the {what} of {first.run.path} ({one}), got {other} in "
                    f"{part.run.path}. Bin them apart."
                )


def _stitched(parts: Sequence[_Fitted], name: str) -> Int[np.ndarray, " cell"]:
    """Patches of all runs side by side, each run's counted on from the last."""
    labels, start = [], 0
    for part in parts:
        labels.append(part.labels[name] + start)
        start = int(labels[-1].max()) + 1
    return np.concatenate(labels)


def _parameter(
    name: str,
    values: Float[np.ndarray, " cell"],
    labels: Int[np.ndarray, " cell"],
    grid: Grid,
    options: BinningOptions,
) -> BinnedParameter:
    if name not in options.bins:
        kept = Patches.from_labels(grid, **{name: labels}).labels[name]
        return BinnedParameter(name, values, values, kept, None)
    smooth = smoothed(values, grid, options.fwhm) if options.fwhm > 0 else values
    partitions: dict[str, AbstractPartition] = {name: Binned(smooth, options.bins[name])}
    new = Patches.of(grid, 0, **partitions).labels[name]
    edges = np.linspace(smooth.min(), smooth.max(), options.bins[name] + 1)
    return BinnedParameter(name, values, smooth, new, edges)


def _notes(parts: Sequence[_Fitted]) -> tuple[str, ...]:
    """What differs between the runs apart from where and in what patches they fit."""
    first = parts[0]
    ignored = {"mask", "patches", "seed", "seeds", "sweep"}
    mine = plain(first.experiment)
    notes = []
    for part in parts[1:]:
        other = plain(part.experiment)
        changed = [key for key in mine if key not in ignored and mine[key] != other[key]]
        if changed:
            notes.append(
                f"{part.run.path} differs from {first.run.path} in {', '.join(changed)}; the "
                "command takes those of the latter"
            )
    return tuple(notes)


def _separate_command(run: Run, result: Binning, output: Path) -> str:
    """How to separate again in the new patches, all else as in the run."""
    words = ["skysift", "separate", "--experiment", str(run.path / EXPERIMENT)]
    words += ["--mask", str(output / MASK)]
    for parameter in result.view.parameters:
        name = parameter.name.replace("_", "-")
        words += [f"--patches.{name}", f"file:{output / LABELS / parameter.name}.fits"]
    return shlex.join([*words, "-o", f"{output}-separated"])
