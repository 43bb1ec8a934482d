"""Scattering statistics of fields on the plane and on the sphere."""

from skysift.scattering.families import Covariance as Covariance
from skysift.scattering.samplers import HMC as HMC
from skysift.scattering.samplers import LBFGS as LBFGS
from skysift.scattering.samplers import Adam as Adam
from skysift.scattering.samplers import MeanField as MeanField
from skysift.scattering.statistics import Statistics as Statistics
from skysift.scattering.synthesis import Start as Start
from skysift.scattering.synthesis import synthesise as synthesise
from skysift.scattering.wavelets import BumpSteerable as BumpSteerable
from skysift.scattering.wavelets import Morlet as Morlet
