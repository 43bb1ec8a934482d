"""What separated maps say about cosmology: residuals, realisations, the tensor-to-scalar ratio."""

from skysift.cosmology.analysis import ResidualSpectra as ResidualSpectra
from skysift.cosmology.analysis import residual_spectra as residual_spectra
from skysift.cosmology.covariance import BandpowerCovariance as BandpowerCovariance
from skysift.cosmology.covariance import bandpower_covariance as bandpower_covariance
from skysift.cosmology.covariance import leaked_power as leaked_power
from skysift.cosmology.likelihoods import AbstractLikelihood as AbstractLikelihood
from skysift.cosmology.likelihoods import HamimecheLewis as HamimecheLewis
from skysift.cosmology.likelihoods import Wishart as Wishart
from skysift.cosmology.measure import RSettings as RSettings
from skysift.cosmology.measure import measure_r as measure_r
from skysift.cosmology.monte_carlo import Ensemble as Ensemble
from skysift.cosmology.monte_carlo import MonteCarlo as MonteCarlo
from skysift.cosmology.monte_carlo import monte_carlo as monte_carlo
from skysift.cosmology.residuals import Residuals as Residuals
from skysift.cosmology.residuals import foreground_recovery as foreground_recovery
from skysift.cosmology.residuals import residuals as residuals
from skysift.cosmology.tensor_ratio import FreeLensing as FreeLensing
from skysift.cosmology.tensor_ratio import TensorRatio as TensorRatio
from skysift.cosmology.tensor_ratio import fit_r as fit_r
