"""Spectrum of free-free emission."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.sky.component import AbstractComponent, Parameter
from skysift.units import Unit

BETA_FF = Parameter("beta_ff", -2.14, (-2.5, -1.9), "", "spectral index of free-free (uK_RJ)")
TEMP_ELECTRON = Parameter(
    "temp_electron", 7000.0, (2000.0, 20000.0), "K", "electron temperature of ionised gas"
)


class FreeFreePowerLaw(AbstractComponent):
    """Free-free as a power law in Rayleigh-Jeans temperature, index -2.14 as PySM f1."""

    name: str = eqx.field(static=True, default="freefree")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(BETA_FF,))
    reference: float = eqx.field(static=True, default=30.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Power law relative to the reference frequency."""
        return jnp.exp(values["beta_ff"] * jnp.log(frequency / self.reference))

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB


class FreeFree(AbstractComponent):
    """Optically thin free-free emission, `nu^-2 g_ff(nu, T_e)`.

    Gaunt factor `ln(exp(5.960 - sqrt(3)/pi ln(nu_9 T_4^-1.5)) + e)`, Draine 2011 (Physics of the
    Interstellar and Intergalactic Medium), eq. 10.9, as in Planck 2015 X, arXiv:1502.01588, table
    4.
    """

    name: str = eqx.field(static=True, default="freefree")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(TEMP_ELECTRON,))
    reference: float = eqx.field(static=True, default=30.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Thin-limit spectrum up to a factor."""
        log = jnp.log(frequency * (1e-4 * values["temp_electron"]) ** -1.5)
        gaunt = jnp.logaddexp(5.960 - jnp.sqrt(3.0) / jnp.pi * log, 1.0)
        return gaunt * (frequency / self.reference) ** -2.0

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB
