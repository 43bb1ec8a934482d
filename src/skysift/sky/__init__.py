"""Emission laws, sky templates, noise, and simulated skies."""

from skysift.sky.ame import SpinningDust as SpinningDust
from skysift.sky.cmb import CMB as CMB
from skysift.sky.cmb import ThermalSZ as ThermalSZ
from skysift.sky.component import AbstractComponent as AbstractComponent
from skysift.sky.component import Parameter as Parameter
from skysift.sky.dust import ModifiedBlackBody as ModifiedBlackBody
from skysift.sky.dust import TwoTemperatureDust as TwoTemperatureDust
from skysift.sky.freefree import FreeFree as FreeFree
from skysift.sky.freefree import FreeFreePowerLaw as FreeFreePowerLaw
from skysift.sky.model import SkyModel as SkyModel
from skysift.sky.model import band_spectrum as band_spectrum
from skysift.sky.noise import noise_sigma as noise_sigma
from skysift.sky.noise import white_noise as white_noise
from skysift.sky.presets import Foreground as Foreground
from skysift.sky.presets import SkyTag as SkyTag
from skysift.sky.pysm import pysm_maps as pysm_maps
from skysift.sky.realise import Realisations as Realisations
from skysift.sky.realise import Vary as Vary
from skysift.sky.simulate import Simulation as Simulation
from skysift.sky.simulate import Truth as Truth
from skysift.sky.simulate import simulate as simulate
from skysift.sky.synchrotron import CurvedPowerLaw as CurvedPowerLaw
from skysift.sky.synchrotron import PowerLaw as PowerLaw
