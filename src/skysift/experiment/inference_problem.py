"""From experiments to simulators, networks and plans."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import jax

from skysift.experiment.fields import read_mask
from skysift.experiment.inference_config import (
    BenchExperiment,
    Body,
    Ending,
    LearningExperiment,
    Row,
    TrainExperiment,
)
from skysift.grid import Grid
from skysift.inference import codec
from skysift.inference.heads import AbstractHeadKind, Refinement, Regression, Scoring
from skysift.inference.model import Network, packaged
from skysift.inference.networks import HarmonicNetwork, HarmonicShape, PixelNetwork, PixelShape
from skysift.inference.regions import AbstractRegion, FullSky, RandomCaps, Shared, cap
from skysift.inference.simulators import (
    AbstractSimulator,
    FunctionSimulator,
    GaussianSky,
    Split,
)
from skysift.inference.spectral_cnn import SpectralCNN, SpectralShape
from skysift.inference.summaries import Filtered
from skysift.inference.summary import AbstractEstimate, AbstractSummary
from skysift.inference.theory import (
    AbstractTheory,
    OpticalDepth,
    PolarisationPeaks,
    TemperaturePeak,
    TensorsAndDepth,
)
from skysift.inference.training import Plan
from skysift.maps import Stokes
from skysift.units import Unit

_NSIDE = 16
_THEORIES = {
    Row.T1: TemperaturePeak,
    Row.T2: PolarisationPeaks,
    Row.T3: OpticalDepth,
    Row.T4: TensorsAndDepth,
}
_HEADS = {
    Ending.SCORING: Scoring,
    Ending.REFINEMENT: Refinement,
    Ending.REGRESSION: Regression,
}
_SKY = ("nside", "noise", "depth", "fsky", "random_caps", "protocol", "mask")
"""Settings that a simulator of a user says itself."""
_BLOCK = 32


def row_of(experiment: LearningExperiment) -> Row | None:
    """The test whose spectra the maps have; `None` for a simulator of a user.

    Raises:
        ValueError: for no simulator.
    """
    if isinstance(experiment, BenchExperiment):
        return experiment.test
    assert isinstance(experiment, TrainExperiment)
    name = experiment.simulator
    if ":" in name:
        return None
    if name.upper() not in Row.__members__:
        got = repr(name) if name else "none"
        raise ValueError(
            f"simulator: expected t1, t2, t3, t4, MODULE:NAME or FILE.py:NAME, got {got}. Say "
            "simulator: t1, or write one in Python (docs: inference)."
        )
    return Row[name.upper()]


def source_of(experiment: LearningExperiment) -> Path | None:
    """The file of the code of a user's simulator.

    Raises:
        ValueError: if there is none.
    """
    if row_of(experiment) is not None:
        return None
    assert isinstance(experiment, TrainExperiment)
    where = experiment.simulator.rpartition(":")[0]
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise ValueError(f"simulator: expected a file at {where}, got none. Check the path.")
        return Path(where)
    with _importable():
        try:
            spec = importlib.util.find_spec(where)
        except (ImportError, ValueError):
            spec = None
    if spec is None:
        raise ValueError(
            f"simulator: expected a module {where!r} that can be imported, got none. Name its file "
            "instead: FILE.py:NAME."
        )
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


def simulator_of(experiment: LearningExperiment) -> AbstractSimulator:
    """The simulator of an experiment.

    Raises:
        ValueError: for settings that make no sense, or do not go together.
    """
    row = row_of(experiment)
    if row is not None:
        return _sky(_THEORIES[row](3 * _nside(experiment) - 1), experiment)
    assert isinstance(experiment, TrainExperiment)
    found = _imported(experiment.simulator)
    if inspect.isclass(found) and issubclass(found, AbstractTheory):
        found = found(3 * _nside(experiment) - 1)
    elif callable(found) and not isinstance(found, (AbstractTheory, AbstractSimulator)):
        found = found()
    if isinstance(found, AbstractTheory):
        return _sky(found, experiment)
    if not isinstance(found, AbstractSimulator):
        raise ValueError(
            f"simulator: expected a simulator or a theory of skysift.inference at "
            f"{experiment.simulator}, got {type(found).__name__}. Return one from a function "
            "without arguments."
        )
    for name in _SKY:
        if getattr(experiment, name) != getattr(TrainExperiment(), name):
            raise ValueError(
                f"{name}: expected none, as {experiment.simulator} is a whole simulator, got "
                f"{getattr(experiment, name)!r}. Set it there, or name a theory of spectra."
            )
    return found


def model_file(name: str) -> Path:
    """The file of a packaged model, or of one at a path.

    Raises:
        ValueError: if there is none.
    """
    known = packaged()
    path = known.get(name, Path(name))
    if not name or not path.is_file():
        told = ", ".join(sorted(known)) or "none"
        got = repr(name) if name else "none"
        raise ValueError(
            f"model: expected a packaged model ({told}) or the file of one, got {got}. Check the "
            "path, or train one: skysift infer train."
        )
    return path


def network_of(experiment: LearningExperiment, simulator: AbstractSimulator) -> Network:
    """The network of an experiment; for tests of the bench the default one.

    Raises:
        ValueError: for settings that make no sense, or do not go together.
    """
    if not isinstance(experiment, TrainExperiment):
        return Network.of(simulator)
    summary = _summary(experiment, simulator)
    network = Network(summary, _head(experiment, summary))
    try:
        codec.encode(network)
    except ValueError as error:
        raise ValueError(
            "network: expected one that a model file can hold, got weights of spectra of your own "
            f"({error}). Say network: filters."
        ) from error
    return network


def plan_of(experiment: LearningExperiment) -> Plan:
    """The plan of the training of an experiment.

    Raises:
        ValueError: for numbers that make no sense.
    """
    return Plan(
        maps=experiment.maps,
        validation=experiment.validation,
        epochs=experiment.epochs,
        batch=experiment.batch,
        learning_rate=experiment.learning_rate,
        members=experiment.members,
    )


def _nside(experiment: LearningExperiment) -> int:
    return _NSIDE if experiment.nside is None else experiment.nside


def _sky(theory: AbstractTheory, experiment: LearningExperiment) -> GaussianSky:
    """A Gaussian sky with noise and region."""
    nside = _nside(experiment)
    Grid(nside)  # says what is wrong with it
    noise = experiment.noise
    if experiment.depth:
        if noise or theory.unit is not Unit.UK_CMB:
            told = "besides noise" if noise else f"for maps of {type(theory).__name__}, unit none"
            raise ValueError(
                f"depth: expected none {told}, got {experiment.depth:g}. Say noise, the standard "
                "deviation in each cell, alone."
            )
        noise = experiment.depth / Grid(nside).resolution
    return GaussianSky(
        theory,
        nside,
        noise=noise,
        region=_region(experiment, nside),
        protocol=experiment.protocol,
    )


def _region(experiment: LearningExperiment, nside: int) -> AbstractRegion:
    mask = experiment.mask if isinstance(experiment, TrainExperiment) else None
    if mask is not None:
        if experiment.fsky != 1.0 or experiment.random_caps:
            raise ValueError(
                "mask: expected none besides a cap, got both. Leave fsky and random_caps out, or "
                "the mask."
            )
        kept = mask_of(mask, nside)
        return Shared(Grid.from_mask(kept))
    if experiment.random_caps:
        return RandomCaps(experiment.fsky)
    return (
        FullSky() if experiment.fsky == 1.0 else Shared(Grid.from_mask(cap(experiment.fsky, nside)))
    )


def mask_of(path: str, nside: int) -> Any:
    """Cells where the map of a file is not 0, full sky, RING.

    Raises:
        ValueError: for a file that is missing or damaged, or a map of another nside.
    """
    field = read_mask(path)
    if field.nside != nside:
        raise ValueError(
            f"mask: expected nside {nside} as the maps have, got {field.size} in {path}. Regrade "
            "it (healpy.ud_grade)."
        )
    kept = (field.values == field.values) & (field.values != 0.0)
    if not kept.any():
        raise ValueError(
            f"mask: expected at least one kept cell in {path}, got none. Choose a larger region."
        )
    return kept


def _summary(experiment: TrainExperiment, simulator: AbstractSimulator) -> AbstractSummary:
    nside, stokes = simulator.nside, simulator.stokes
    key = jax.random.fold_in(Split.TRAIN.key(experiment.seed), _NSIDE)
    masks = not isinstance(simulator.region, FullSky)
    widths, body = experiment.widths, experiment.network
    learns = body not in (Body.BEST, Body.FILTERS)
    name = body.name.lower().replace("_", "-")
    if widths and not learns:
        raise ValueError(
            f"widths: expected none for network {name}, which learns nothing, got {widths}. Leave "
            "them out, or say network: harmonic."
        )
    if experiment.filters is not None and body is not Body.FILTERS:
        raise ValueError(
            f"filters: expected none for network {name}, got {experiment.filters.name.lower()}. "
            "Leave it out, or say network: filters."
        )
    if body is Body.BEST:
        return Network.of(simulator).summary
    if body is Body.FILTERS:
        return Filtered.of(simulator, experiment.filters)
    if isinstance(simulator, FunctionSimulator) and not simulator.traced:
        raise ValueError(
            "network: expected filters for a simulator that is not traced by JAX, got "
            f"{name}, which has new maps in each epoch. Say network: filters."
        )
    if body is Body.HARMONIC:
        shape = HarmonicShape(nside, stokes, widths or HarmonicShape.widths, masks=masks)
        return HarmonicNetwork(shape, key)
    if body is Body.PIXEL:
        blocks = widths or (_BLOCK,) * min(4, nside.bit_length() - 1)
        return PixelNetwork(PixelShape(nside, stokes, blocks, masks=masks), key)
    blocks = widths or (_BLOCK,) * (3 if stokes is Stokes.I else 4)
    if len(set(blocks)) > 1:
        raise ValueError(
            f"widths: expected blocks of one width for the SpectralCNN, got {blocks}. Say "
            f"{[blocks[0]] * len(blocks)}."
        )
    inpaint = masks and stokes is not Stokes.I
    shape = SpectralShape(nside, stokes, len(blocks), blocks[0], inpaint=inpaint)
    return SpectralCNN(shape, key)


def _head(experiment: TrainExperiment, summary: AbstractSummary) -> AbstractHeadKind:
    """The head that was asked for, or the usual one, with the sizes that were asked for."""
    usual = Network(summary).kind
    ending, estimate = experiment.head, isinstance(summary, AbstractEstimate)
    kind = usual if ending is None else _HEADS[ending]()
    if ending is Ending.SCORING and (summary.learns or estimate):
        raise ValueError(
            "head: expected another for numbers that are no powers, got scoring. Leave it out, or "
            "say network: filters."
        )
    if ending is Ending.REFINEMENT and not estimate:
        raise ValueError(
            "head: expected another for numbers that are no estimate, got refinement. Leave it out."
        )
    sizes = {"components": experiment.components, "width": experiment.neurons}
    given = {name: size for name, size in sizes.items() if size is not None}
    return dataclasses.replace(cast("Any", kind), **given)


def _imported(name: str) -> Any:
    """What a user's module has under a name."""
    where, _, attribute = name.rpartition(":")
    module = _module(where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [one for one in vars(module) if not one.startswith("_")]
        raise ValueError(
            f"simulator: expected {attribute!r} in {where}, got none. There: {', '.join(public)}."
        ) from None


def _module(where: str) -> ModuleType:
    with _importable():
        if not where.endswith(".py"):
            try:
                return importlib.import_module(where)
            except ImportError as error:
                raise ValueError(
                    f"simulator: expected a module {where!r} that can be imported, got {error}. "
                    "Name its file instead: FILE.py:NAME."
                ) from error
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        if spec is None or spec.loader is None or not Path(where).is_file():
            raise ValueError(f"simulator: expected a file at {where}, got none. Check the path.")
        module = importlib.util.module_from_spec(spec)
        # Classes of a module that nobody knows cannot be dataclasses with annotations in text.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module


@contextmanager
def _importable() -> Iterator[None]:
    """Modules of this folder can be imported, as with python -m."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before
