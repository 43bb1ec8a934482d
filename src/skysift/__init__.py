"""skysift: sift the sky on the HEALPix sphere.

Importing skysift switches JAX to 64-bit numbers (`jax_enable_x64`): objectives of component
separation are differences of large numbers.
"""

import jax

jax.config.update("jax_enable_x64", True)

from skysift import inference as inference  # noqa: E402
from skysift import resample as resample  # noqa: E402
from skysift import scattering as scattering  # noqa: E402
from skysift.compsep import GaussianPrior as GaussianPrior  # noqa: E402
from skysift.compsep import InstrumentDepth as InstrumentDepth  # noqa: E402
from skysift.compsep import InverseVariance as InverseVariance  # noqa: E402
from skysift.compsep import Separation as Separation  # noqa: E402
from skysift.compsep import SolverOptions as SolverOptions  # noqa: E402
from skysift.compsep import UnitWeights as UnitWeights  # noqa: E402
from skysift.compsep import internal_linear_combination as internal_linear_combination  # noqa: E402
from skysift.compsep import separate as separate  # noqa: E402
from skysift.compsep import separate_arrays as separate_arrays  # noqa: E402
from skysift.compsep import solve as solve  # noqa: E402
from skysift.cosmology import fit_r as fit_r  # noqa: E402
from skysift.cosmology import monte_carlo as monte_carlo  # noqa: E402
from skysift.cosmology import residuals as residuals  # noqa: E402
from skysift.grid import UNSEEN as UNSEEN  # noqa: E402
from skysift.grid import Grid as Grid  # noqa: E402
from skysift.grid import Ordering as Ordering  # noqa: E402
from skysift.harmonic import CMBSpectra as CMBSpectra  # noqa: E402
from skysift.harmonic import spectra as spectra  # noqa: E402
from skysift.instrument import Channel as Channel  # noqa: E402
from skysift.instrument import Instrument as Instrument  # noqa: E402
from skysift.maps import Maps as Maps  # noqa: E402
from skysift.maps import Stokes as Stokes  # noqa: E402
from skysift.masks import galactic_mask as galactic_mask  # noqa: E402
from skysift.patches import Patches as Patches  # noqa: E402
from skysift.sky.model import SkyModel as SkyModel  # noqa: E402
from skysift.sky.realise import Realisations as Realisations  # noqa: E402
from skysift.sky.realise import Vary as Vary  # noqa: E402
from skysift.sky.simulate import simulate as simulate  # noqa: E402
from skysift.units import Unit as Unit  # noqa: E402
