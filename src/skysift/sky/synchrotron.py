"""Spectra of synchrotron emission."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.sky.component import AbstractComponent, Parameter
from skysift.units import Unit

BETA_PL = Parameter("beta_pl", -3.0, (-7.0, -0.5), "", "spectral index of synchrotron (uK_RJ)")
CURVATURE_PL = Parameter(
    "curvature_pl", 0.0, (-1.0, 1.0), "", "curvature of the synchrotron spectral index"
)


class PowerLaw(AbstractComponent):
    """Synchrotron as a power law in Rayleigh-Jeans temperature, `nu^beta_pl`."""

    name: str = eqx.field(static=True, default="synchrotron")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(BETA_PL,))
    reference: float = eqx.field(static=True, default=20.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Power law relative to the reference frequency."""
        return jnp.exp(values["beta_pl"] * jnp.log(frequency / self.reference))

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB


class CurvedPowerLaw(AbstractComponent):
    """Synchrotron with curvature, `nu^(beta_pl + curvature_pl ln(nu / pivot))`.

    Source: Kogut 2012, ApJ 753, 110; PySM s3 has curvature -0.052 and pivot 23 GHz.
    """

    name: str = eqx.field(static=True, default="synchrotron")
    parameters: tuple[Parameter, ...] = eqx.field(static=True, default=(BETA_PL, CURVATURE_PL))
    reference: float = eqx.field(static=True, default=20.0)
    pivot: float = eqx.field(static=True, default=23.0)

    def brightness(
        self, frequency: Float[Array, "..."], values: Mapping[str, Float[Array, "..."]]
    ) -> Float[Array, "..."]:
        """Curved power law relative to the pivot, up to a factor."""
        curvature = values["curvature_pl"] * jnp.log(frequency / self.pivot) ** 2
        return jnp.exp(values["beta_pl"] * jnp.log(frequency / self.reference) + curvature)

    @property
    def amplitude_unit(self) -> Unit:
        """uK_CMB at the reference frequency."""
        return Unit.UK_CMB
