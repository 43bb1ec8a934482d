"""How well statistics agree, order by order."""

import numpy as np


def mean_square_offset(one, two, deviation):
    """Mean over the orders that vary of the mean squared difference in standard deviations."""
    means = []
    for where in one.layout.slices:
        here = deviation[where]
        offset = np.asarray(one.vector - two.vector)[..., where]
        if np.any(here > 0.0):
            means.append(np.mean((offset[..., here > 0.0] / here[here > 0.0]) ** 2))
    return np.mean(means)
