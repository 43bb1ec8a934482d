"""Spherical-harmonic transforms and angular power spectra."""

from skysift.harmonic.apodise import Taper as Taper
from skysift.harmonic.apodise import apodised as apodised
from skysift.harmonic.bandpowers import Bandpowers as Bandpowers
from skysift.harmonic.bandpowers import Bins as Bins
from skysift.harmonic.pseudo import PseudoOptions as PseudoOptions
from skysift.harmonic.pseudo import PseudoSpectra as PseudoSpectra
from skysift.harmonic.pseudo import spectra as spectra
from skysift.harmonic.quadratic import QuadraticSpectra as QuadraticSpectra
from skysift.harmonic.sht import SHT as SHT
from skysift.harmonic.sht import Backend as Backend
from skysift.harmonic.sht import multipoles as multipoles
from skysift.harmonic.spectra import cross_cl as cross_cl
from skysift.harmonic.spectra import gaussian_alm as gaussian_alm
from skysift.harmonic.spectra import gaussian_maps as gaussian_maps
from skysift.harmonic.theory import CMBSpectra as CMBSpectra
