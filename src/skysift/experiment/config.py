"""What an experiment says, field by field; the same names in YAML and on the command line."""

from __future__ import annotations

import enum
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from skysift.experiment.inference_config import (
    BenchExperiment,
    PredictExperiment,
    TrainExperiment,
)
from skysift.grid import Ordering
from skysift.maps import Stokes
from skysift.scattering.generative.synthesis import Start
from skysift.scattering.separation.descent import Descent
from skysift.scattering.separation.start import Begin
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


class Estimate(enum.Enum):
    """What makes cells of samples: a damped least-squares fit, or a direct weighted mean."""

    FIT = "fit"
    AVERAGE = "average"


@dataclass(frozen=True)
class ResampleExperiment:
    """Samples at longitudes and latitudes to bring onto HEALPix cells.

    Args:
        file: NetCDF, HDF5, Zarr, Parquet, CSV or NPZ.
        value: name of what was measured, several times for several; NAME:COLUMN is a column of a
            table.
        level: of the cells, log2(nside), from 0 to 29.
        method: nearest, bilinear, bicubic, inverse_distance, psf, conservative (footprints with
            --corners, else each sample in its cell, weighted with --area), or group_by:mean, sum,
            product, min, max, count, std, median.
        lon: name of the longitudes [degrees]; found by attributes or usual names.
        lat: name of the latitudes [degrees].
        fill: number that stands for a missing value, besides what the file declares.
        sigma: name of the standard deviations of the values, for weights.
        area: name of the areas of the samples [m2], for conservative; equal without.
        corners: names of the longitudes and latitudes of the corners of footprints, for
            conservative, as CF bounds: --corners lon_bnds lat_bnds.
        estimate: fit (damped least squares) or average (weighted mean); left out, fit for methods
            that interpolate.
        damping: pull of each cell to the average of its samples; left out, chosen by generalised
            cross-validation.
        least_part: a cell with less than this part of its samples is damped by what is missing to
            it, as beyond the edge of a swath; left out, 0.1 where the damping is chosen, else 0.
        smoothness: pull of neighbouring cells to each other; fills cells without samples.
        bounds: lowest and highest value that a cell may have: --bounds 0 330.
        max_iterations: of the fit.
        tolerance: relative residual at which the fit is done.
        npt: cells per sample of psf (9) and inverse_distance (4).
        sigma_m: scale of the Gaussian of psf [m]; left out, the side of a cell.
        threshold: of psf, least weight of a cell, summed over its samples.
        ellipsoid: WGS84, GRS80 or sphere.
        ring: number the cells RING instead of NESTED.
        hold_out: leave out every so-manyth sample, drawn at random, predict it, and compare with
            nearest and bilinear; 0 for none.
        errors: standard deviation of each cell of a fit.
        parent_level: of parent cells to work through one after the other, with little memory.
        memory_mb: most memory for weights and fits [MiB], to which parent cells are made to fit.
        seed: of the samples held out, and of the probes of cross-validation and errors.
    """

    kind: ClassVar[str] = "resample"

    file: str = ""
    _: KW_ONLY
    value: tuple[str, ...] = ()
    level: int = 6
    method: str = "psf"
    lon: str | None = None
    lat: str | None = None
    fill: float | None = None
    sigma: str | None = None
    area: str | None = None
    corners: tuple[str, str] | None = None
    estimate: Estimate | None = None
    damping: float | None = None
    least_part: float | None = None
    smoothness: float = 0.0
    bounds: tuple[float, float] | None = None
    max_iterations: int = 200
    tolerance: float = 1e-6
    npt: int | None = None
    sigma_m: float | None = None
    threshold: float | None = None
    ellipsoid: str = "WGS84"
    ring: bool = False
    hold_out: int = 0
    errors: bool = False
    parent_level: int | None = None
    memory_mb: float | None = None
    seed: int = 0


class Family(enum.Enum):
    """Kinds of scattering statistics."""

    COVARIANCE = "scattering covariance"
    WST = "wavelet scattering transform"
    WPH = "wavelet phase harmonics"


class Edges(enum.Enum):
    """What is beyond the edges of a plane: the opposite edge, or nothing that is known."""

    PERIODIC = "periodic"
    OPEN = "open"


@dataclass(frozen=True)
class StatisticsExperiment:
    """Scattering statistics of a map.

    Args:
        file: FITS image or HEALPix table, .npy, .npz, NetCDF or HDF5. Maps of several files are
            seen together, with their cross moments.
        field: which map of a file: I, Q, U, a column, an extension, a variable, a number; not
            needed where there is one. Several are seen together.
        family: covariance, wst or wph.
        scales: number of dyadic scales, the finest first; left out, as many as fit well.
        orientations: of the wavelets on a plane.
        lmax: largest multipole on the sphere; left out, 2 nside.
        mask: file of a map of the same grid; cells where it is 0 do not count.
        edges: of a plane: periodic, or open where opposite ones do not join.
        precision: of the computation.
        seed: of the Gaussian field to compare with.
    """

    kind: ClassVar[str] = "scatter stats"

    file: tuple[str, ...] = ()
    _: KW_ONLY
    field: tuple[str, ...] = ()
    family: Family = Family.COVARIANCE
    scales: int | None = None
    orientations: int = 4
    lmax: int | None = None
    mask: str | None = None
    edges: Edges = Edges.PERIODIC
    precision: Precision = Precision.SINGLE
    seed: int = 0


@dataclass(frozen=True)
class SynthesisExperiment(StatisticsExperiment):
    """New maps with the scattering statistics of an example.

    Args:
        file: FITS image or HEALPix table, .npy, .npz, NetCDF or HDF5. Maps of several files are
            seen together, with their cross moments.
        field: which map of a file: I, Q, U, a column, an extension, a variable, a number; not
            needed where there is one. Several are seen together.
        family: covariance, wst or wph.
        scales: number of dyadic scales, the finest first; left out, as many as fit well.
        orientations: of the wavelets on a plane.
        lmax: largest multipole on the sphere; left out, 2 nside.
        mask: file of a map of the same grid; cells where it is 0 do not count. Samples have no
            mask.
        edges: of a plane: periodic, or open where opposite ones do not join.
        precision: of the computation.
        seed: of the first sample; each further one has the next.
        samples: number of new maps.
        start: gaussian (with the power of the example at each scale) or white noise.
        floor: value that samples on a plane do not go below, in the unit of the file, such as 0 for
            an intensity; one for all maps or one for each.
        tolerance: objective to stop at; 1 is the scatter of maps of the same law.
        max_iterations: of each sample, on each grid.
        levels: number of grids, each with half the cells of the next along an axis, on which large
            structures are found first.
    """

    kind: ClassVar[str] = "scatter synthesise"

    samples: int = 1
    start: Start = Start.GAUSSIAN
    floor: tuple[float, ...] = ()
    tolerance: float = 0.05
    max_iterations: int = 500
    levels: int = 1


@dataclass(frozen=True)
class UnmixingExperiment(StatisticsExperiment):
    """A signal of unknown statistics in data with a contamination of known ones.

    Args:
        file: the data: FITS image or HEALPix table, .npy, .npz, NetCDF or HDF5. Maps of several
            files are seen together, with their cross moments.
        field: which map of a file: I, Q, U, a column, an extension, a variable, a number; not
            needed where there is one. Several are seen together.
        family: covariance, wst or wph.
        scales: number of dyadic scales, the finest first; left out, as many as fit well.
        orientations: of the wavelets on a plane.
        lmax: largest multipole on the sphere; left out, 2 nside.
        mask: file of a map of the same grid; cells where it is 0 do not count.
        edges: of a plane: periodic, or open where opposite ones do not join.
        precision: of the computation.
        seed: of the draws of the contamination and the order in which they are used.
        contamination: what is known of it: files with a draw each, or with draws along the first
            axis of a .npy, folders and patterns of them; gaussian:FILE or texture:FILE, more like
            one observation of it; white:RMS, noise of a standard deviation, or of a map of it.
        contamination_field: which map of those files, as field; left out, that of the data.
        halves: the files are two halves of one observation, of which the data are the mean: first
            all files of the one, then of the other; and so those of the contamination.
        constraints: YAML file with a list of them; left out, total.
        regions: files of maps of the same grid, 0 outside: statistics of each region by itself.
        bins: of the power spectrum, which is constrained besides the family; 0 for none.
        draws: of the contamination, at most.
        restarts: number of solutions.
        together: solutions that are moved at once, as many as the memory of a GPU holds.
        begin: where the first of them starts: data, filtered or noise.
        steps: of each solution, at most.
        batch: draws against which the signal moves in one step; 0 to hold fixed in it what the
            contamination adds.
        tolerance: loss of every constraint at which to stop; that of the true signal is 1, and of
            what stops there part of the contamination is left.
        levels: number of grids, each with half the cells of the next along an axis, on which the
            signal is moved first.
    """

    kind: ClassVar[str] = "scatter separate"

    contamination: tuple[str, ...] = ()
    contamination_field: tuple[str, ...] = ()
    halves: bool = False
    constraints: str | None = None
    regions: tuple[str, ...] = ()
    bins: int = 12
    draws: int = 100
    restarts: int = 1
    together: int = 1
    begin: Begin = Begin.DATA
    steps: int = Descent.steps
    batch: int = Descent.batch
    tolerance: float = Descent.tolerance
    levels: int = 1


Experiment = (
    SimulateExperiment
    | SeparateExperiment
    | ResampleExperiment
    | StatisticsExperiment
    | SynthesisExperiment
    | UnmixingExperiment
    | BenchExperiment
    | TrainExperiment
    | PredictExperiment
)
