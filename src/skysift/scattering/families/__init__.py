"""The kinds of statistics by name, each on the plane and on the sphere."""

from skysift.scattering.families.covariance import Covariance as Covariance
from skysift.scattering.families.phases import WPH as WPH
from skysift.scattering.families.transform import WST as WST
