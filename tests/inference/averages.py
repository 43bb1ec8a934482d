"""A problem whose posterior is known: the level of maps under white noise."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from skysift.inference.prior import Parameter, Prior
from skysift.inference.simulators import FunctionSimulator
from skysift.inference.summary import AbstractSummary
from skysift.maps import Stokes

NOISE = 1.0
PRIOR = Prior((Parameter("level", 1.0, 3.0),))
DEVIATION = NOISE / np.sqrt(12.0)


class Average(AbstractSummary):
    """The mean and the mean square of the seen cells."""

    @property
    def size(self):
        return 2

    @property
    def learns(self):
        return False

    def __call__(self, observed):
        values = observed.values[:, 0].astype(jnp.float32)
        return jnp.stack([values.mean(axis=1), (values**2).mean(axis=1)], axis=1)


def levels(region=None):
    """Maps of nside 1 of one level, and white noise."""

    def sky(parameters, key):
        return parameters[0] + NOISE * jax.random.normal(key, (1, 12), jnp.float32)

    return FunctionSimulator(sky, PRIOR, 1, Stokes.I, region=region)


def exact(maps):
    """The posterior of each full-sky map."""
    mean = np.asarray(maps).reshape(len(maps), 12).mean(axis=1)
    low, high = ((bound - mean) / DEVIATION for bound in (1.0, 3.0))
    return scipy.stats.truncnorm(low, high, mean, DEVIATION)
