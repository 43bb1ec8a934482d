"""Sky tags in the style of PySM: which components a simulated sky has, and from which templates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.maps import Stokes
from skysift.sky import templates
from skysift.sky.ame import SpinningDust
from skysift.sky.component import AbstractComponent
from skysift.sky.dust import ModifiedBlackBody
from skysift.sky.freefree import FreeFreePowerLaw
from skysift.sky.synchrotron import CurvedPowerLaw, PowerLaw
from skysift.units import Unit, conversion


@dataclass(frozen=True, eq=False)
class Foreground:
    """A Galactic component made from packaged templates.

    Args:
        law: emission law, its reference frequency the one of the amplitudes.
        intensity: name of the I template and its frequency [GHz]; `None` for no emission.
        polarisation: names of the Q and U templates, at the law's reference; `None` for
            unpolarised.
        parameters: of the law, a template name or a number each.
        carrier: law that takes intensity from its template's frequency to the reference, `law`
            itself by default.
    """

    law: AbstractComponent
    intensity: tuple[str, float] | None
    polarisation: tuple[str, str] | None
    parameters: dict[str, str | float] = field(default_factory=dict)
    carrier: AbstractComponent | None = None

    def parameter_maps(self, nside: int) -> dict[str, Float[np.ndarray, " cell"]]:
        """Spectral parameters in each cell of the full sky, RING."""
        npix = 12 * nside**2
        return {
            name: templates.parameter(value, nside)
            if isinstance(value, str)
            else np.full(npix, float(value))
            for name, value in self.parameters.items()
        }

    def amplitude(
        self,
        nside: int,
        stokes: Stokes,
        parameters: dict[str, np.ndarray],
        seed: np.random.SeedSequence,
    ) -> Float[np.ndarray, "stokes cell"]:
        """Emission at the law's reference frequency [uK_CMB], full sky, RING.

        Args:
            nside: resolution; above 64 small scales are drawn.
            stokes: which Stokes parameters.
            parameters: maps of `parameter_maps`.
            seed: of the small scales; I and QU have streams of their own.
        """
        of_intensity, of_polarisation = (np.random.default_rng(s) for s in _streams(seed, 2))
        npix = 12 * nside**2
        parts = []
        if "I" in stokes.value:
            parts.append(self._intensity(nside, parameters, of_intensity))
        if "Q" in stokes.value:
            parts.append(
                np.zeros((2, npix))
                if self.polarisation is None
                else templates.polarisation(self.polarisation, nside, of_polarisation)
            )
        return np.concatenate(parts) * float(
            conversion(Unit.UK_RJ, Unit.UK_CMB, jnp.asarray(self.pivot))
        )

    @property
    def pivot(self) -> float:
        """Reference frequency of the law [GHz]."""
        assert self.law.reference is not None
        return self.law.reference

    def _intensity(
        self, nside: int, parameters: dict[str, np.ndarray], generator: np.random.Generator
    ) -> Float[np.ndarray, "1 cell"]:
        if self.intensity is None:
            return np.zeros((1, 12 * nside**2))
        name, frequency = self.intensity
        values = templates.intensity(name, nside, generator)
        if frequency == self.pivot:
            return values
        law = self.carrier or self.law
        known = {p.name: jnp.asarray(parameters[p.name]) for p in law.parameters}
        return values / np.asarray(law.sed(jnp.asarray(frequency), known, Unit.UK_RJ))


def _dust(beta: str | float, temperature: str | float) -> Foreground:
    return Foreground(
        ModifiedBlackBody(reference=353.0),
        ("dust_I_545", 545.0),
        ("dust_Q_353", "dust_U_353"),
        {"beta_dust": beta, "temp_dust": temperature},
    )


def _synchrotron(beta: str | float) -> Foreground:
    return Foreground(
        PowerLaw(reference=23.0),
        ("synchrotron_I_0.408", 0.408),
        ("synchrotron_Q_23", "synchrotron_U_23"),
        {"beta_pl": beta},
    )


_FOREGROUNDS: dict[str, Foreground] = {
    "d0": _dust(1.54, 20.0),
    "d1": _dust("dust_beta_d1", "dust_temp_d1"),
    "d2": _dust("dust_beta_d2", "dust_temp_d1"),
    "d3": _dust("dust_beta_d3", "dust_temp_d1"),
    "s0": _synchrotron(-3.0),
    "s1": _synchrotron("synchrotron_beta_s1"),
    "s2": _synchrotron("synchrotron_beta_s2"),
    "s3": Foreground(
        CurvedPowerLaw(reference=23.0, pivot=23.0),
        ("synchrotron_I_0.408", 0.408),
        ("synchrotron_Q_23", "synchrotron_U_23"),
        {"beta_pl": "synchrotron_beta_s1", "curvature_pl": -0.052},
        carrier=PowerLaw(reference=23.0),
    ),
    "f1": Foreground(
        FreeFreePowerLaw(reference=30.0), ("freefree_I_30", 30.0), None, {"beta_ff": -2.14}
    ),
    "a1": Foreground(
        SpinningDust(reference=30.0),
        ("ame_I_30", 30.0),
        None,
        {"peak_ame": "ame_peak_a1", "width_ame": "ame_width_a1"},
    ),
}
_LEFT_OUT = ("c0", "a0", "f0")
_TAG = re.compile(r"(cr|[a-z])(\d+)")


@dataclass(frozen=True, eq=False)
class SkyTag:
    """What a tag such as `c1d1s1` stands for: letters for components, each with a model number.

    ===== ==========================================================================================
    c1    lensed CMB without tensors; `crN` with r = N / 1000, for instance `cr3`
    d0    dust: modified black body of beta 1.54 and 20 K everywhere
    d1    dust: beta and temperature maps of Planck (Commander)
    d2 d3 dust: as d1 with beta varying by 0.2 and 0.3 around 1.59
    s0    synchrotron: power law of index -3 everywhere
    s1    synchrotron: index map of Miville-Deschenes et al. 2008
    s2    synchrotron: index steepening away from the plane
    s3    synchrotron: as s1 with curvature -0.052 around 23 GHz
    f1    free-free, unpolarised, index -2.14
    a1    spinning dust, unpolarised
    ===== ==========================================================================================

    A component whose letter is not in the tag is left out; `c0`, `a0` and `f0` say so explicitly.
    `d0` and `s0` are not absence but the constant models, as in PySM. The tag `0` is an empty sky:
    noise only.

    Dust I is given at 545 GHz and the rest at 353 GHz; synchrotron I at 408 MHz and the rest at 23
    GHz; free-free and spinning dust at 30 GHz. Truth amplitudes are at 353, 23, 30 and 30 GHz. In
    `s3`, intensity goes from 408 MHz to 23 GHz with the index of s1, as in PySM; above, the
    curvature acts around 23 GHz in I as in Q and U, where PySM lets I be steeper by another 0.21 in
    the index. `a1` has PySM's intensity at 30 GHz. Its spectrum is the log-normal closest to PySM's
    sum of two shifted spdust2 emissivities (peaks 19 and 33.35 GHz) between 20 and 70 GHz, where it
    agrees with that sum to 20 % in every cell; at 100 GHz, where less than 1e-3 of the temperature
    at 30 GHz is left, it is between a third of PySM's and twice it.

    Args:
        text: the tag.
        tensor_to_scalar: r of the CMB, `None` without CMB.
        foregrounds: Galactic components in the order of the tag.
    """

    text: str
    tensor_to_scalar: float | None
    foregrounds: tuple[Foreground, ...]

    @staticmethod
    def parse(text: str) -> SkyTag:
        """Read a tag.

        Raises:
            ValueError: for an unknown model, a component given twice, or text that is no tag.

        Examples:
            >>> tag = SkyTag.parse("cr3d1s1")
            >>> tag.tensor_to_scalar, [f.law.name for f in tag.foregrounds]
            (0.003, ['dust', 'synchrotron'])
        """
        if text == "0":
            return SkyTag(text, None, ())
        parts = _TAG.findall(text)
        if not parts or "".join(letter + number for letter, number in parts) != text:
            raise _unknown(text, text)
        letters = [letter[0] for letter, _ in parts]
        twice = {letter for letter in letters if letters.count(letter) > 1}
        if twice:
            raise ValueError(
                f"sky: expected each component once, got {sorted(twice)[0]!r} twice in {text!r}. "
                "For instance 'c1d1s1'."
            )
        r, foregrounds = None, []
        for letter, number in parts:
            name = letter + number
            if letter == "cr":
                r = int(number) / 1000
            elif name == "c1":
                r = 0.0
            elif name in _FOREGROUNDS:
                foregrounds.append(_FOREGROUNDS[name])
            elif name not in _LEFT_OUT:
                raise _unknown(name, text)
        return SkyTag(text, r, tuple(foregrounds))


def _streams(seed: np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """Children of a seed, the same at every call."""
    return [
        np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, child))
        for child in range(count)
    ]


def _unknown(name: str, text: str) -> ValueError:
    known = ", ".join(["c1", "cr<N> (r = N / 1000)", *_FOREGROUNDS, *_LEFT_OUT])
    return ValueError(
        f"sky: expected models of {known}, got {name!r} in {text!r}. For instance 'c1d1s1'."
    )
