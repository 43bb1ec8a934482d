"""Scattering statistics of fields on the plane and on the sphere."""

from skysift.scattering.companions import Pdf as Pdf
from skysift.scattering.companions import PowerSpectrum as PowerSpectrum
from skysift.scattering.families import WPH as WPH
from skysift.scattering.families import WST as WST
from skysift.scattering.families import Covariance as Covariance
from skysift.scattering.generative.objective import Metric as Metric
from skysift.scattering.generative.samplers import HMC as HMC
from skysift.scattering.generative.samplers import LBFGS as LBFGS
from skysift.scattering.generative.samplers import Adam as Adam
from skysift.scattering.generative.samplers import MeanField as MeanField
from skysift.scattering.generative.synthesis import Start as Start
from skysift.scattering.generative.synthesis import synthesise as synthesise
from skysift.scattering.information import Fisher as Fisher
from skysift.scattering.information import fisher as fisher
from skysift.scattering.layout import Order as Order
from skysift.scattering.linear_map import Angles as Angles
from skysift.scattering.linear_map import Reduction as Reduction
from skysift.scattering.mixture import Mixture as Mixture
from skysift.scattering.morphology import Morphology as Morphology
from skysift.scattering.morphology import Observer as Observer
from skysift.scattering.plane.wavelets import BumpSteerable as BumpSteerable
from skysift.scattering.plane.wavelets import Morlet as Morlet
from skysift.scattering.reduction import Reduced as Reduced
from skysift.scattering.reduction import Selected as Selected
from skysift.scattering.reduction import significant as significant
from skysift.scattering.statistics import Statistics as Statistics
