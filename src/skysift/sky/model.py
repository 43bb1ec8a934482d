"""The components of a sky, and the mixing matrix they make in an instrument's channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.instrument import Instrument
from skysift.sky.ame import SpinningDust
from skysift.sky.cmb import CMB, ThermalSZ
from skysift.sky.component import AbstractComponent, Parameter
from skysift.sky.dust import ModifiedBlackBody, TwoTemperatureDust
from skysift.sky.freefree import FreeFree, FreeFreePowerLaw
from skysift.sky.synchrotron import CurvedPowerLaw, PowerLaw

_LETTERS: dict[str, Callable[..., AbstractComponent]] = {
    "c": CMB,
    "d": ModifiedBlackBody,
    "dd": TwoTemperatureDust,
    "s": PowerLaw,
    "sc": CurvedPowerLaw,
    "f": FreeFreePowerLaw,
    "ff": FreeFree,
    "a": SpinningDust,
    "y": ThermalSZ,
}


class SkyModel(eqx.Module):
    """What a fit takes the sky to be: components, some of their parameters held fixed.

    Args:
        components: with different names and different parameter names.
        fixed: values of the parameters that are not fitted; a number, or one per cell.

    Raises:
        ValueError: for no or repeated components, or an unknown fixed parameter.

    Examples:
        >>> model = SkyModel.parse("c+d+s")
        >>> [parameter.name for parameter in model.free]
        ['beta_dust', 'temp_dust', 'beta_pl']
    """

    components: tuple[AbstractComponent, ...]
    fixed: dict[str, Float[Array, "..."]] = eqx.field(default_factory=dict)

    def __check_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"components: expected one or more with different names, got {names}. Give each "
                "a name of its own."
            )
        parameters = [parameter.name for parameter in self.parameters]
        if len(set(parameters)) < len(parameters):
            raise ValueError(
                f"components: expected different parameter names, got {parameters}. Give one of "
                "the components other Parameters."
            )
        for law in self.components:
            if law.reference is not None and not 0.0 < law.reference < math.inf:
                raise ValueError(
                    f"components: expected a positive reference frequency [GHz] of {law.name}, got "
                    f"{law.reference!r}. For instance dust_nu0=160.0."
                )
        unknown = set(self.fixed) - set(parameters)
        if unknown:
            raise ValueError(
                f"fixed: expected some of {parameters}, got {sorted(unknown)[0]!r}. Correct the "
                "name, or add the component that has it."
            )

    @staticmethod
    def parse(text: str, *, dust_nu0: float = 160.0, synchrotron_nu0: float = 20.0) -> SkyModel:
        """A model from letters joined by `+`, for instance `c+d+s`.

        Letters: c CMB, d dust (modified black body), dd two-temperature dust, s synchrotron (power
        law), sc curved power law, f free-free (power law), ff free-free (Gaunt factor), a spinning
        dust, y thermal Sunyaev-Zeldovich.

        Args:
            text: the letters.
            dust_nu0: reference frequency of dust [GHz].
            synchrotron_nu0: reference frequency of synchrotron [GHz].

        Raises:
            ValueError: for a letter that names no component.
        """
        components = []
        for letter in (part.strip() for part in text.split("+")):
            law = _LETTERS.get(letter)
            if law is None:
                raise ValueError(
                    f"model: expected letters of {', '.join(_LETTERS)} joined by '+', got "
                    f"{letter!r} in "
                    f"{text!r}. For instance 'c+d+s'."
                )
            if law in (ModifiedBlackBody, TwoTemperatureDust):
                components.append(law(reference=dust_nu0))
            elif law in (PowerLaw, CurvedPowerLaw):
                components.append(law(reference=synchrotron_nu0))
            else:
                components.append(law())
        return SkyModel(tuple(components))

    @property
    def names(self) -> tuple[str, ...]:
        """Component names in order."""
        return tuple(component.name for component in self.components)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in order."""
        return tuple(p for component in self.components for p in component.parameters)

    @property
    def free(self) -> tuple[Parameter, ...]:
        """The parameters that are fitted, in order."""
        return tuple(p for p in self.parameters if p.name not in self.fixed)


def band_spectrum(
    component: AbstractComponent,
    instrument: Instrument,
    values: Mapping[str, Float[Array, " cell"]],
) -> Float[Array, "channel cell"]:
    """Emission of one component in each channel [uK_CMB] per unit amplitude.

    Args:
        component: the emission law.
        instrument: with delta or finite bands.
        values: parameters by name, a number or one per cell; defaults where left out.

    Returns:
        A column of the mixing matrix in each cell.

    Examples:
        >>> from skysift.instrument import Instrument
        >>> band_spectrum(CMB(), Instrument.preset("LiteBIRD"), {}).shape
        (15, 1)
    """
    nu, weight = instrument.quadrature()
    values = {name: jnp.atleast_1d(jnp.asarray(value)) for name, value in values.items()}
    total = sum(
        jnp.asarray(weight[:, node, None]) * component.sed(jnp.asarray(nu[:, node, None]), values)
        for node in range(nu.shape[1])
    )
    cells = max((value.shape[-1] for value in values.values()), default=1)
    return jnp.broadcast_to(total, (len(instrument), cells))
