"""How a training moves what is learnt."""

from __future__ import annotations

from typing import Any

import jax
import optax
import optax.contrib

from skysift.inference.networks import Matrices


def optimiser(
    steps: int, learning_rate: float, weight_decay: float
) -> optax.GradientTransformation:
    """Muon for `Matrices`, Adam for the rest.

    Steps of Muon (Jordan et al. 2024) are scaled to be as long as those of Adam (Liu et al. 2025,
    arXiv:2502.16982). The learning rate rises for a fifth of the steps, then falls as a cosine.

    Args:
        steps: of the training.
        learning_rate: the largest.
        weight_decay: of the weights of layers.

    Examples:
        >>> import jax.numpy as jnp
        >>> values = {"gains": Matrices(jnp.ones((5, 2, 2))), "bias": jnp.zeros(2)}
        >>> state = optimiser(100, 1e-3, 0.0).init(values)
    """
    schedule = optax.cosine_onecycle_schedule(
        max(steps, 2), learning_rate, pct_start=0.2, final_div_factor=1e3
    )
    muon = optax.contrib.muon(
        schedule, consistent_rms=1.0, muon_weight_dimension_numbers=_last_axes
    )
    adam = optax.adamw(schedule, weight_decay=weight_decay, mask=_of_layers)
    return optax.chain(
        optax.clip_by_global_norm(5.0), optax.multi_transform({True: muon, False: adam}, _by_muon)
    )


def _of_layers(values: Any) -> Any:
    """Weights of layers shrink; what linear algebra found does not."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "name", "") == "weight", values
    )


def _by_muon(values: Any) -> Any:
    return jax.tree.map(
        lambda one: isinstance(one, Matrices), values, is_leaf=lambda one: isinstance(one, Matrices)
    )


def _last_axes(values: Any) -> Any:
    return jax.tree.map(
        lambda one: optax.contrib.MuonDimensionNumbers(one.ndim - 2, one.ndim - 1), values
    )
