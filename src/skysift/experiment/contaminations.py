"""What a command line says of a contamination, and the fields that it stands for."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from skysift.experiment.config import UnmixingExperiment
from skysift.experiment.fields import Field, read_fields, require_like
from skysift.experiment.wanted import read_wanted
from skysift.maps import unseen_to_nan
from skysift.scattering.separation.contamination import (
    AbstractContamination,
    Ensemble,
    GaussianField,
    Texture,
    WhiteNoise,
)
from skysift.scattering.statistic import AbstractStatistic


class Source(enum.Enum):
    """Where fields of a contamination come from."""

    FILES = "files"
    GAUSSIAN = "gaussian"
    TEXTURE = "texture"
    WHITE = "white"


_HINT = (
    "Name files with draws of it, or say gaussian:FILE, texture:FILE or white:RMS, for instance "
    "--contamination white:0.3."
)


@dataclass(frozen=True)
class Said:
    """What was said of a contamination.

    Args:
        source: kind.
        files: of the draws, of an observation, or of standard deviations; a file each for several
            maps that are seen together.
        numbers: standard deviations, where they are said as numbers.
    """

    source: Source
    files: tuple[Path, ...] = ()
    numbers: tuple[float, ...] = ()

    @staticmethod
    def of(words: Sequence[str]) -> Said:
        """The words of the command line, understood.

        Raises:
            ValueError: for none, kinds that are mixed, a file that is missing or a number that is
                none.
        """
        if not words:
            raise ValueError(f"contamination: expected what is known of it, got nothing. {_HINT}")
        kinds = {_kind(word) for word in words}
        if len(kinds) > 1:
            names = " and ".join(sorted(kind.value for kind in kinds))
            raise ValueError(
                f"contamination: expected one kind, got {names}. Add the draws of all, and give "
                "the sums as files."
            )
        (source,) = kinds
        if source is Source.FILES:
            return Said(source, tuple(file for word in words for file in _found(word)))
        rests = [word.partition(":")[2] for word in words]
        pieces = [piece for rest in rests for piece in rest.split(",")]
        if source is Source.WHITE:
            numbers = [_rms(piece) for piece in pieces]
            known = tuple(one for one in numbers if one is not None)
            if len(known) == len(pieces):
                return Said(source, numbers=known)
        return Said(source, tuple(file for rest in rests for file in _found(rest)))


def files_of(experiment: UnmixingExperiment) -> dict[str, list[str]]:
    """Files besides the data and the mask that a separation reads, by what names them.

    Raises:
        ValueError: if one is missing.
    """
    said = Said.of(experiment.contamination)
    wanted = read_wanted(experiment.constraints)
    found = {
        f"contamination {said.source.value} {said.numbers}": [str(file) for file in said.files],
        "constraints": [] if experiment.constraints is None else [experiment.constraints],
        "ancillary": [one.map for one in wanted if one.map],
        "regions": list(experiment.regions),
    }
    for name, paths in found.items():
        for path in paths:
            if not Path(path).is_file():
                raise ValueError(f"{name}: expected a file at {path}, got none. Check the path.")
    return found


def read_contamination(
    experiment: UnmixingExperiment,
    data: Sequence[Field],
    statistic: Callable[[], AbstractStatistic],
    scaled: Callable[[Float[np.ndarray, "... channel cell"], float], Float[np.ndarray, "..."]],
) -> AbstractContamination:
    """The contamination of an experiment in the units of the data.

    Args:
        experiment: what to do.
        data: maps that are seen together; of halves those of the first.
        statistic: makes the statistics of a model of the contamination.
        scaled: maps `(..., channel, *cells)` in units of the deviation of the data, with a margin
            of a value, as statistics see them.

    Raises:
        ValueError: for files that do not fit the data.
    """
    said = Said.of(experiment.contamination)
    if said.source is Source.FILES:
        return Ensemble(scaled(_ensemble(said.files, experiment, data), 0.0))
    if said.numbers:
        count = len(data)
        if len(said.numbers) not in (1, count):
            raise ValueError(
                f"contamination: expected one deviation or {count}, one for each map, got "
                f"{len(said.numbers)}. Say white:0.3,0.5 for two."
            )
        numbers = np.broadcast_to(said.numbers, (count,))
        shape = (count, *data[0].values.shape)
        rms = np.broadcast_to(numbers.reshape(-1, *[1] * data[0].values.ndim), shape)
        return WhiteNoise(scaled(rms, 0.0), experiment.halves)
    if said.source is Source.TEXTURE:
        examples = _observations(said.files, experiment, data)
        return Texture(scaled(examples[0] if len(examples) == 1 else examples, np.nan), statistic())
    (maps,) = _observations(said.files, experiment, data, most=1)
    if said.source is Source.WHITE:
        known = np.isfinite(np.stack([one.values for one in data])).all(axis=0)
        return WhiteNoise(scaled(np.where(known, maps, 0.0), 0.0), experiment.halves)
    return GaussianField(scaled(maps, np.nan), statistic())


def _kind(word: str) -> Source:
    """The kind of a word; a file may have a colon in its name."""
    start = word.partition(":")[0].lower() if ":" in word else ""
    models = [source.value for source in Source if source is not Source.FILES]
    if start in models and not Path(word).exists():
        return Source(start)
    return Source.FILES


def _rms(text: str) -> float | None:
    """A number, `None` for what is none, such as the name of a file."""
    try:
        return float(text)
    except ValueError:
        return None


def _found(word: str) -> list[Path]:
    """Files that a name, a folder or a pattern stands for."""
    path = Path(word)
    if path.is_file():
        return [path]
    if word and path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".")
    elif re.search(r"[*?\[]", word):
        root = Path(path.anchor) if path.is_absolute() else Path()
        files = sorted(root.glob(str(path.relative_to(path.anchor))))
    else:
        raise ValueError(
            f"contamination: expected a file, a folder or a pattern, got {word or 'nothing'}, "
            f"which is none. {_HINT}"
        )
    if not files:
        raise ValueError(f"contamination: expected files in {word}, got none. Check the path.")
    return files


def _names(path: Path, experiment: UnmixingExperiment) -> tuple[str, ...]:
    """Which maps of a file to take: as said, or those of the data where a file has names."""
    if experiment.contamination_field:
        return experiment.contamination_field
    return () if path.suffix.lower() == ".npy" else experiment.field


def _read(path: Path, experiment: UnmixingExperiment, data: Sequence[Field]) -> list[Field]:
    try:
        fields = read_fields((str(path),), _names(path, experiment))
    except ValueError as error:
        hint = " Say which map with --contamination-field." if "--field" in str(error) else ""
        raise ValueError(f"contamination: {error}{hint}") from None
    for one in fields:
        require_like(one, data[0], "contamination", "the data")
        if one.unit and data[0].unit and one.unit != data[0].unit:
            raise ValueError(
                f"contamination: expected the unit of the data, {data[0].unit}, got {one.unit} in "
                f"{path}. Convert it."
            )
    return list(fields)


def _observations(
    files: Sequence[Path],
    experiment: UnmixingExperiment,
    data: Sequence[Field],
    most: int | None = None,
) -> Float[np.ndarray, "observation channel ..."]:
    """Observations with one map for each of the data, `most` at most."""
    fields = [one for path in files for one in _read(path, experiment, data)]
    count, rest = divmod(len(fields), len(data))
    if rest or count < 1 or (most is not None and count > most):
        raise ValueError(
            f"contamination: expected {len(data)} maps, one for each of the data, got "
            f"{len(fields)}. Name them with --contamination-field, or give a file for each."
        )
    return np.stack([one.values for one in fields]).reshape(
        count, len(data), *fields[0].values.shape
    )


def _ensemble(
    files: Sequence[Path], experiment: UnmixingExperiment, data: Sequence[Field]
) -> Float[np.ndarray, "draw ..."]:
    """Draws `(draw, channel, *cells)`, or `(draw, 2, channel, *cells)` of two halves."""
    if not experiment.halves:
        return _draws(files, experiment, data)
    if len(files) % 2:
        raise ValueError(
            "contamination: expected as many files for the first half as for the second, got "
            f"{len(files)} in all. Give those of the one, then those of the other."
        )
    middle = len(files) // 2
    halves = [_draws(files[:middle], experiment, data), _draws(files[middle:], experiment, data)]
    counts = [len(one) for one in halves]
    if counts[0] != counts[1]:
        raise ValueError(
            f"contamination: expected as many draws for the first half as for the second, got "
            f"{counts[0]} and {counts[1]}. Leave some out."
        )
    return np.stack(halves, axis=1)


def _draws(
    files: Sequence[Path], experiment: UnmixingExperiment, data: Sequence[Field]
) -> Float[np.ndarray, "draw channel ..."]:
    drawn = [one for path in files for one in _draws_of(path, experiment, data)]
    return np.stack(drawn)


def _draws_of(
    path: Path, experiment: UnmixingExperiment, data: Sequence[Field]
) -> Sequence[Float[np.ndarray, "channel ..."]]:
    """The draws of a file: many of a .npy with an axis for them in front, else one."""
    cells, count = data[0].values.shape, len(data)
    if path.suffix.lower() == ".npy" and not experiment.contamination_field:
        stored = _array(path)
        one = cells if count == 1 else (count, *cells)
        if stored.ndim > len(cells) and stored.shape[-len(cells) :] == cells:
            if stored.shape[1:] == one:
                return list(stored.reshape(-1, count, *cells))
            if stored.shape == (count, *cells):
                return [stored]
        if stored.ndim > len(cells):
            shown = ", ".join(map(str, one))
            raise ValueError(
                f"contamination: expected draws (draw, {shown}) as the data, got {stored.shape} "
                f"in {path}. Regrade them, or choose maps with --contamination-field."
            )
    fields = _read(path, experiment, data)
    if len(fields) != count:
        raise ValueError(
            f"contamination: expected {count} maps of each draw, as the data have, got "
            f"{len(fields)} in {path}. Name them with --contamination-field."
        )
    return [np.stack([one.values for one in fields])]


def _array(path: Path) -> Float[np.ndarray, "..."]:
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"contamination: expected an array of numbers, got {path} that cannot be read "
            f"({error})."
        ) from error
    if stored.dtype.kind not in "biuf":
        raise ValueError(
            f"contamination: expected real numbers, got {stored.dtype} in {path}. Save real parts."
        )
    return unseen_to_nan(stored.astype(float))
