"""What all models of classes have in common."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Generic, TypeVar

import equinox as eqx
import numpy as np
from jaxtyping import Float


class AbstractDensity(eqx.Module):
    """A probability density of components, a sum over classes."""

    @abc.abstractmethod
    def joint(
        self, components: Float[np.ndarray, "field component"]
    ) -> Float[np.ndarray, "field class"]:
        """Logarithm of the density of each field together with each class."""

    @property
    @abc.abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    @abc.abstractmethod
    def parameters(self) -> int:
        """Number of free parameters that depend on the number of classes."""


DensityT_co = TypeVar("DensityT_co", bound=AbstractDensity, covariant=True)


@dataclass(frozen=True, eq=False)
class Fit(Generic[DensityT_co]):
    """A density that a model found.

    Args:
        density: with its classes in falling order of their shares.
        history: what was brought up, at each iteration, per field.
    """

    density: DensityT_co
    history: Float[np.ndarray, " iteration"]


class AbstractModel(abc.ABC):
    """A kind of density, and how to find one."""

    @abc.abstractmethod
    def fit(
        self,
        components: Float[np.ndarray, "field component"],
        classes: int,
        seed: np.random.SeedSequence,
    ) -> Fit[AbstractDensity]:
        """The density of components of fields.

        Args:
            components: of fields.
            classes: how many.
            seed: of the start.
        """

    @abc.abstractmethod
    def blank(self, components: int, classes: int) -> AbstractDensity:
        """A density of the shape that `fit` gives, to be filled with numbers."""


def require_at_least(name: str, value: float, least: float, usual: float) -> None:
    """Refuse a setting that makes no sense.

    Args:
        name: of the setting.
        value: given.
        least: that makes sense.
        usual: to say instead.

    Raises:
        ValueError: for less.
    """
    if not value >= least:
        raise ValueError(f"{name}: expected {least} or more, got {value}. Say {name}={usual}.")
