"""Spectra of the CMB and of its distortion by hot electrons."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.sky.component import AbstractComponent, Parameter
from skysift.units import H_OVER_K_GHZ, T_CMB, Unit, rj_to_cmb


class CMB(AbstractComponent):
    """Temperature anisotropy of the CMB: one in uK_CMB at every frequency."""

    name: str = eqx.field(static=True, default="cmb")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=())
    reference: float | None = eqx.field(static=True, default=None)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """uK_RJ per uK_CMB."""
        return 1.0 / rj_to_cmb(frequency)

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB."""
        return Unit.UK_CMB


class ThermalSZ(AbstractComponent):
    """Thermal Sunyaev-Zeldovich effect, T_CMB y (x coth(x/2) - 4), non-relativistic.

    The amplitude is the Compton parameter y in units of 1e-6 (Carlstrom et al. 2002, ARA&A 40, 643,
    eq. 3).
    """

    name: str = eqx.field(static=True, default="sz")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=())
    reference: float | None = eqx.field(static=True, default=None)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """uK_RJ per 1e-6 of y."""
        x = H_OVER_K_GHZ / T_CMB * frequency
        return T_CMB * (x / jnp.tanh(0.5 * x) - 4.0) / rj_to_cmb(frequency)

    @property
    def amplitude_unit(self) -> Unit:
        """Compton y in 1e-6."""
        return Unit.COMPTON_Y
