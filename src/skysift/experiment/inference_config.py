"""What experiments with networks say: bench, train and predict."""

from __future__ import annotations

import enum
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from skysift.grid import Ordering
from skysift.inference.simulators import Protocol
from skysift.inference.summaries import Filter
from skysift.inference.training import Plan
from skysift.store.fits import Frame


class Row(enum.Enum):
    """The tests of torch-harmonics-healpix, by what maps depend on."""

    T1 = "the peak of TT"
    T2 = "the peaks of EE and BB"
    T3 = "the optical depth"
    T4 = "the tensor-to-scalar ratio and the optical depth"


class Body(enum.Enum):
    """What makes numbers of maps."""

    BEST = "the best there is without learning"
    FILTERS = "powers of filtered modes"
    HARMONIC = "harmonic network"
    PIXEL = "network of neighbouring cells"
    SPECTRAL_CNN = "SpectralCNN"


class Ending(enum.Enum):
    """What makes densities of numbers."""

    SCORING = "Fisher scoring of powers, corrected"
    REFINEMENT = "an estimate, corrected"
    REGRESSION = "linear regression, corrected"


@dataclass(frozen=True, kw_only=True)
class LearningExperiment:
    """What bench and train have in common; see `TrainExperiment`."""

    nside: int | None = None
    noise: float = 0.0
    depth: float = 0.0
    fsky: float = 1.0
    random_caps: bool = False
    protocol: Protocol = Protocol.PHYSICAL
    maps: int = Plan.maps
    validation: int = Plan.validation
    epochs: int = Plan.epochs
    batch: int = Plan.batch
    learning_rate: float = Plan.learning_rate
    members: int = Plan.members
    tests: int = 1000
    limit_maps: int = 500
    seed: int = 0


@dataclass(frozen=True)
class _Tested:
    """What comes first on the command line, and so among the fields."""

    test: Row = Row.T1


@dataclass(frozen=True)
class BenchExperiment(LearningExperiment, _Tested):
    """A test of networks on the sphere, with the best network there is for it.

    Args:
        test: T1, the peak of TT; T2, the peaks of EE and BB; T3, tau; T4, r and tau.
        nside: resolution; left out, 16.
        noise: standard deviation in each cell; the tests T1 have 0, 5, 10 and 15.
        depth: of the noise of Q and U [uK arcmin]; the tests T4 have 0 and 6.
        fsky: part of the sky that is seen, a cap; the tests T2 have 1, 0.5, 0.2, 0.1 and 0.05, the
            tests T4 1 and 0.1.
        random_caps: another cap in each map instead of the one of the tests.
        protocol: physical, or as-published: E and B drawn from spectra in the wrong order, as for
            the published tables.
        model: a packaged model, or the file of one, instead of training.
        maps: to train on.
        validation: maps on which the best state is chosen.
        epochs: at most.
        batch: maps of a step.
        learning_rate: the largest of the one cycle.
        members: networks that are trained, whose densities are averaged.
        tests: maps that the model is tested on.
        limit_maps: maps whose exact posteriors say how well parameters can be known; 0 for none
            where that takes long.
        seed: of maps, of the start and of the order.
    """

    kind: ClassVar[str] = "infer bench"

    _: KW_ONLY
    model: str | None = None


@dataclass(frozen=True)
class TrainExperiment(LearningExperiment):
    """A network to train.

    Args:
        simulator: of the maps: t1 to t4; or, as MODULE:NAME or FILE.py:NAME, a simulator or a
            theory of spectra of your own, or a function without arguments that gives one.
        nside: resolution; left out, 16, or that of your simulator.
        noise: standard deviation in each cell.
        depth: of the noise of Q and U [uK arcmin] instead.
        fsky: part of the sky that is seen, a cap.
        random_caps: another cap in each map.
        mask: file of a map; cells where it is 0 are not seen.
        protocol: physical, or as-published: E and B drawn from spectra in the wrong order.
        network: best (that of skysift infer bench), filters (powers of filtered modes), or one that
            learns: harmonic, pixel or spectral-cnn.
        filters: exact, analysis or pseudo; left out, the best in reach.
        widths: of the layers of a network that learns.
        head: scoring (of powers), refinement (of an estimate) or regression; left out, what suits
            the network.
        components: Gaussians of a posterior; left out, as many as usual for the head.
        neurons: of its hidden layers; left out, as many as usual.
        maps: to train on.
        validation: maps on which the best state is chosen.
        epochs: at most.
        batch: maps of a step.
        learning_rate: the largest of the one cycle.
        members: networks that are trained, whose densities are averaged.
        tests: maps that the model is tested on.
        limit_maps: maps whose exact posteriors say how well parameters can be known; 0 for none
            where that takes long.
        seed: of maps, of the start and of the order.
    """

    kind: ClassVar[str] = "infer train"

    _: KW_ONLY
    simulator: str = ""
    mask: str | None = None
    network: Body = Body.BEST
    filters: Filter | None = None
    widths: tuple[int, ...] = ()
    head: Ending | None = None
    components: int | None = None
    neurons: int | None = None


@dataclass(frozen=True)
class PredictExperiment:
    """Parameters of maps, told by a trained model.

    Args:
        model: a packaged one, or the file that skysift infer bench or train wrote.
        maps: FITS files of a sky each, .npy and .npz with one or many: full skies of shape
            (cell), (stokes, cell) or (map, stokes, cell).
        field: name of the array in .npz files; not needed where there is one.
        mask: file of a map; cells where it is 0 are not seen.
        unit: of maps whose files have none; left out, that of the training.
        ordering: of maps whose files do not say; left out, RING.
        frame: coordinates that the maps must be in.
        seed: of the draws of the posteriors.
    """

    kind: ClassVar[str] = "infer predict"

    model: str = ""
    maps: tuple[str, ...] = ()
    _: KW_ONLY
    field: str | None = None
    mask: str | None = None
    unit: str | None = None
    ordering: Ordering | None = None
    frame: Frame = Frame.GALACTIC
    seed: int = 0
