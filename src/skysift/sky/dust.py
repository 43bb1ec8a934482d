"""Spectra of thermal dust."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.sky.component import AbstractComponent, Parameter
from skysift.units import H_OVER_K_GHZ, Unit

BETA_DUST = Parameter("beta_dust", 1.54, (0.5, 3.0), "", "spectral index of thermal dust")
TEMP_DUST = Parameter("temp_dust", 20.0, (10.0, 40.0), "K", "temperature of thermal dust")
BETA_COLD = Parameter("beta_cold", 1.63, (0.5, 3.0), "", "spectral index of cold dust")
TEMP_COLD = Parameter("temp_cold", 9.75, (4.0, 15.0), "K", "temperature of cold dust")
FRACTION_COLD = Parameter(
    "fraction_cold", 0.05, (0.0, 1.0), "", "cold share of the emission at the reference frequency"
)


class ModifiedBlackBody(AbstractComponent):
    """Thermal dust, I = nu^beta B_nu(T): `nu^(beta+1) / (exp(h nu / k T) - 1)` in uK_RJ.

    Source: Planck 2013 XI, arXiv:1312.1300, eq. 3, and PySM d0 to d3.
    """

    name: str = eqx.field(static=True, default="dust")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(BETA_DUST, TEMP_DUST))
    reference: float = eqx.field(static=True, default=160.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Modified black body relative to the reference frequency, up to a factor."""
        return grey_body(
            frequency / self.reference, frequency, values["beta_dust"], values["temp_dust"]
        )

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB


class TwoTemperatureDust(AbstractComponent):
    """Hot and cold dust, each a modified black body, mixed at the reference frequency.

    `fraction_cold` is the cold share at the reference frequency (Finkbeiner, Davis & Schlegel 1999,
    ApJ 524, 867, model 8; Meisner & Finkbeiner 2015, ApJ 798, 88).
    """

    name: str = eqx.field(static=True, default="dust")
    parameters: tuple[Parameter, ...] = eqx.field(
        static=True, default=(BETA_DUST, TEMP_DUST, BETA_COLD, TEMP_COLD, FRACTION_COLD)
    )
    reference: float = eqx.field(static=True, default=353.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Sum of the two bodies, each one at the reference frequency before mixing."""
        pivot = jnp.asarray(self.reference, dtype=float)

        def body(beta, temperature):
            at = grey_body(frequency / self.reference, frequency, beta, temperature)
            return at / grey_body(jnp.ones_like(pivot), pivot, beta, temperature)

        hot = body(values["beta_dust"], values["temp_dust"])
        cold = body(values["beta_cold"], values["temp_cold"])
        return hot + values["fraction_cold"] * (cold - hot)

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB


def grey_body(
    ratio: Float[Array, "..."],
    frequency: Float[Array, "..."],
    beta: Float[Array, "..."],
    temperature: Float[Array, "..."],
) -> Float[Array, "..."]:
    """`ratio^(1 + beta) / (exp(h nu / k T) - 1)`, the frequency ratio being to some reference.

    Written with exp and log: XLA's power costs ten times its exponential.
    """
    return jnp.exp((1.0 + beta) * jnp.log(ratio)) / jnp.expm1(
        H_OVER_K_GHZ * frequency / temperature
    )
