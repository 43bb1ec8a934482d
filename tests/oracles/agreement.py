"""How well statistics agree, order by order."""

import numpy as np


def mean_square_offset(one, two, deviation):
    """Mean over the orders that vary of the mean squared difference in standard deviations."""
    means, start = [], 0
    for table in one.layout.tables:
        end = start + table.size * (2 if table.complex else 1)
        here = deviation[start:end]
        offset = np.asarray(one.vector - two.vector)[..., start:end]
        if np.any(here > 0.0):
            means.append(np.mean((offset[..., here > 0.0] / here[here > 0.0]) ** 2))
        start = end
    return np.mean(means)
