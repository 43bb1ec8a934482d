"""What an emission law is: a spectrum with named parameters."""

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
from equinox import AbstractVar
from jaxtyping import Array, Float

from skysift.units import Unit, conversion


@dataclass(frozen=True)
class Parameter:
    """A spectral parameter.

    Args:
        name: as users write it, for instance `beta_dust`.
        default: value where a fit starts and simulations without a template are made.
        bounds: smallest and largest value of a fit.
        unit: empty for a pure number.
        description: one line for tables and help.
    """

    name: str
    default: float
    bounds: tuple[float, float]
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not (low < high and low <= self.default <= high and math.isfinite(self.default)):
            raise ValueError(
                f"{self.name}: expected lower bound < upper bound with the default {self.default} "
                f"between, got {self.bounds}."
            )


class AbstractComponent(eqx.Module):
    """An emission law, used both to simulate a sky and to fit it.

    A subclass writes the physics once, as `brightness`: the spectrum in Rayleigh-Jeans temperature.
    Everything is differentiable in the parameters and broadcasts frequencies against cells.
    """

    name: AbstractVar[str]
    parameters: AbstractVar[tuple[Parameter, ...]]
    reference: AbstractVar[float | None]

    @abc.abstractmethod
    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Rayleigh-Jeans temperature [uK_RJ] up to a factor that does not depend on frequency.

        Args:
            frequency: [GHz], broadcast against the values.
            values: of every parameter by name.
        """

    @property
    @abc.abstractmethod
    def amplitude_unit(self) -> Unit:
        """Unit of the amplitude when maps are in uK_CMB."""

    def sed(
        self,
        frequency: Float[Array, "..."],
        values: Mapping[str, Float[Array, "..."]] | None = None,
        unit: Unit = Unit.UK_CMB,
    ) -> Float[Array, "..."]:
        """Spectrum in the unit asked per unit amplitude.

        With a reference frequency the amplitude is the emission there in that same unit, so the
        spectrum is one at the reference. Without (CMB, Sunyaev-Zeldovich) the amplitude is in
        `amplitude_unit`.

        Args:
            frequency: [GHz], broadcast against the values.
            values: parameters by name; defaults where left out.
            unit: of the emission.

        Raises:
            ValueError: for a parameter that the component does not have.

        Examples:
            >>> from skysift.sky import ModifiedBlackBody
            >>> float(ModifiedBlackBody(reference=353.0).sed(353.0))
            1.0
        """
        values = self.complete(values or {})
        frequency = jnp.asarray(frequency, dtype=float)
        emission = self.brightness(frequency, values) * conversion(Unit.UK_RJ, unit, frequency)
        if self.reference is None:
            return emission
        pivot = jnp.asarray(self.reference, dtype=float)
        return emission / (self.brightness(pivot, values) * conversion(Unit.UK_RJ, unit, pivot))

    def complete(self, values: Mapping[str, Float[Array, "..."]]) -> dict[str, Float[Array, "..."]]:
        """All parameters, defaults filled in.

        Raises:
            ValueError: for a parameter that the component does not have.
        """
        known = {parameter.name: parameter.default for parameter in self.parameters}
        unknown = set(values) - set(known)
        if unknown:
            raise ValueError(
                f"{sorted(unknown)[0]}: expected a parameter of {self.name} "
                f"({', '.join(known) or 'none'})."
            )
        return {
            name: jnp.asarray(values.get(name, default), float) for name, default in known.items()
        }
