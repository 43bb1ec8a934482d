"""Spectrum of anomalous microwave emission (spinning dust)."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.sky.component import AbstractComponent, Parameter
from skysift.units import Unit

PEAK_AME = Parameter("peak_ame", 25.0, (10.0, 60.0), "GHz", "frequency where AME peaks (in flux)")
WIDTH_AME = Parameter("width_ame", 0.5, (0.2, 1.0), "", "logarithmic width of the AME spectrum")


class SpinningDust(AbstractComponent):
    """Spinning dust as a log-normal in flux, `nu^-2 exp(-(ln(nu / peak) / width)^2 / 2)` in uK_RJ.

    Source: Stevenson 2014, ApJ 781, 113; Cepeda-Arroita et al. 2021, MNRAS 503, 2927, eq. 7.
    """

    name: str = eqx.field(static=True, default="ame")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(PEAK_AME, WIDTH_AME))
    reference: float = eqx.field(static=True, default=30.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Log-normal relative to its peak, divided by the frequency squared."""
        distance = jnp.log(frequency / values["peak_ame"]) / values["width_ame"]
        return (frequency / self.reference) ** -2.0 * jnp.exp(-0.5 * distance**2)

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB
