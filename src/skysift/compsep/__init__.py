"""Parametric component separation with patches."""

from skysift.compsep.devices import over_devices as over_devices
from skysift.compsep.ilc import InternalLinear as InternalLinear
from skysift.compsep.ilc import internal_linear_combination as internal_linear_combination
from skysift.compsep.newton import Iteration as Iteration
from skysift.compsep.newton import SolverOptions as SolverOptions
from skysift.compsep.problem import GaussianPrior as GaussianPrior
from skysift.compsep.problem import Problem as Problem
from skysift.compsep.problem import pose as pose
from skysift.compsep.result import Separation as Separation
from skysift.compsep.result import Status as Status
from skysift.compsep.separate import separate as separate
from skysift.compsep.separate import separate_arrays as separate_arrays
from skysift.compsep.separate import solve as solve
from skysift.compsep.weights import AbstractNoise as AbstractNoise
from skysift.compsep.weights import InstrumentDepth as InstrumentDepth
from skysift.compsep.weights import InverseVariance as InverseVariance
from skysift.compsep.weights import UnitWeights as UnitWeights
