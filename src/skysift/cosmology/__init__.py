"""What separated maps say about cosmology: residuals, realisations, the tensor-to-scalar ratio."""

from skysift.cosmology.monte_carlo import Ensemble as Ensemble
from skysift.cosmology.monte_carlo import MonteCarlo as MonteCarlo
from skysift.cosmology.monte_carlo import monte_carlo as monte_carlo
from skysift.cosmology.residuals import Residuals as Residuals
from skysift.cosmology.residuals import foreground_recovery as foreground_recovery
from skysift.cosmology.residuals import residuals as residuals
