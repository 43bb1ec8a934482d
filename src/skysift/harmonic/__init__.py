"""Spherical-harmonic transforms and angular power spectra."""

from skysift.harmonic.sht import SHT as SHT
from skysift.harmonic.sht import multipoles as multipoles
from skysift.harmonic.spectra import auto_spectra as auto_spectra
from skysift.harmonic.spectra import cross_cl as cross_cl
from skysift.harmonic.spectra import gaussian_alm as gaussian_alm
from skysift.harmonic.spectra import gaussian_maps as gaussian_maps
from skysift.harmonic.theory import CMBSpectra as CMBSpectra
