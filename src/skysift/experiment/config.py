"""What an experiment says, field by field; the same names in YAML and on the command line."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from skysift.grid import Ordering
from skysift.maps import Stokes
from skysift.sky.realise import Vary
from skysift.store.fits import Frame, Precision


@dataclass(frozen=True)
class SimulateExperiment:
    """A sky to simulate.

    Args:
        sky: what is on it, in PySM's style: c1d1s1 is CMB, dust and synchrotron of varying
            spectra.
        instrument: LiteBIRD, Planck, SO_SAT, SO_LAT, PICO, or a YAML file.
        nside: resolution, a power of two.
        noise_ratio: factor on the instrument's noise; 0 for none.
        seed: of CMB, small scales and noise; the same seed gives the same sky.
        stokes: which Stokes parameters.
        hits: FITS map of relative observation counts; uniform noise without.
        precision: of the numbers in the files.
    """

    kind: ClassVar[str] = "simulate"

    sky: str = "c1d1s1"
    _: KW_ONLY
    instrument: str = "LiteBIRD"
    nside: int = 64
    noise_ratio: float = 1.0
    seed: int = 0
    stokes: Stokes = Stokes.QU
    hits: str | None = None
    precision: Precision = Precision.DOUBLE


@dataclass(frozen=True)
class SeparateExperiment:
    """A parametric component separation.

    Args:
        maps: a simulated sky, a folder of one FITS file per channel, one file with a table per
            channel, or files in the order of the channels.
        instrument: LiteBIRD, Planck, SO_SAT, SO_LAT, PICO, or a YAML file; left out, that of the
            simulated sky.
        model: components by letter, for instance c+d+s: c CMB, d dust, dd two-temperature dust,
            s synchrotron, sc with curvature, f and ff free-free, a spinning dust, y thermal SZ.
        dust_nu0: frequency at which the dust amplitude counts [GHz].
        synchrotron_nu0: frequency at which the synchrotron amplitude counts [GHz].
        mask: cells to fit: ALL, GAL020 to GAL090, halves _U and _L, FITS files, joined by + and -.
        stokes: which Stokes parameters to fit; left out, those of the files.
        patches: where each parameter is constant: --patches.beta-dust nside:64, kmeans:1500,
            uniform, cell, file:labels.fits or binned:50:map.fits; uniform for those left out.
        noise: weights: depth (of the instrument), unit, or sigma:PATH (maps of the noise's
            standard deviation, like the maps).
        noise_ratio: factor on the instrument's noise.
        hits: FITS map of relative observation counts.
        bounds: least and largest value of a parameter: --bounds.temp-dust 10 40.
        start: where a parameter starts: --start.beta-dust 1.54.
        priors: Gaussian prior of a parameter, mean and sigma: --priors.temp-dust 20 3.
        around: larger patches, given as patches are, that priors are centred on in place of their
            means: the parameters are fitted in them first.
        fixed: value of a parameter that is not fitted: --fixed.temp-dust 19.6.
        seed: of the k-means patches.
        seeds: realisations of the simulated sky to separate, for instance 0:100 or 0:10,20:30; left
            out, the maps themselves.
        vary: what is drawn anew in each realisation: the noise, or the CMB as well.
        sweep: part of the experiment with the values it takes, once for each part:
            --sweep patches.beta_dust=kmeans:50,100,200; every combination is a run.
        max_iterations: of the solver.
        tolerance: converged when the predicted distance to the minimum, in units of the residual
            norm, is below this.
        unit: of maps whose files have no readable unit, for instance K_CMB.
        ordering: of maps whose files do not say.
        frame: coordinates that the maps must be in.
    """

    kind: ClassVar[str] = "separate"

    maps: tuple[str, ...] = ()
    _: KW_ONLY
    instrument: str | None = None
    model: str = "c+d+s"
    dust_nu0: float = 160.0
    synchrotron_nu0: float = 20.0
    mask: str = "ALL"
    stokes: Stokes | None = None
    patches: dict[str, str] = field(default_factory=dict)
    noise: str = "depth"
    noise_ratio: float = 1.0
    hits: str | None = None
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    priors: dict[str, tuple[float, float]] = field(default_factory=dict)
    around: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, float] = field(default_factory=dict)
    seed: int = 42
    seeds: str = ""
    vary: Vary = Vary.NOISE
    sweep: tuple[str, ...] = ()
    max_iterations: int = 200
    tolerance: float = 1e-9
    unit: str | None = None
    ordering: Ordering | None = None
    frame: Frame = Frame.GALACTIC

    def __post_init__(self) -> None:
        for name in ("patches", "bounds", "start", "priors", "around", "fixed"):
            given = getattr(self, name)
            plain = {key.replace("-", "_"): value for key, value in given.items()}
            object.__setattr__(self, name, plain)


Experiment = SimulateExperiment | SeparateExperiment
