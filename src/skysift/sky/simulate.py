"""Simulated skies as an instrument sees them."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from skysift.grid import Grid
from skysift.harmonic import CMBSpectra, gaussian_maps
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.sky.cmb import CMB
from skysift.sky.component import AbstractComponent
from skysift.sky.model import SkyModel, band_spectrum
from skysift.sky.noise import white_noise
from skysift.sky.presets import SkyTag

CMB_STREAM, SMALL_SCALES_STREAM, NOISE_STREAM = range(3)
"""Keys of the independent random streams of a seed."""


class Truth(eqx.Module):
    """What a simulated sky is made of.

    Args:
        laws: emission laws in the order of the sky tag.
        components: amplitude maps by component name, `(stokes, cell)` in uK_CMB at the reference
            frequency of the law.
        parameters: spectral parameters by name, one value per cell.
    """

    laws: tuple[AbstractComponent, ...]
    components: dict[str, Maps]
    parameters: dict[str, Float[np.ndarray, " cell"]]

    @property
    def references(self) -> dict[str, float | None]:
        """Reference frequency of each amplitude [GHz]; `None` where it has none."""
        return {law.name: law.reference for law in self.laws}

    def of(self, law: AbstractComponent) -> dict[str, Float[Array, " cell"]]:
        """Parameters of one emission law."""
        return {p.name: jnp.asarray(self.parameters[p.name]) for p in law.parameters}

    def at(self, model: SkyModel) -> dict[str, Maps]:
        """True amplitudes at the reference frequencies of another model, to compare a fit with.

        Args:
            model: of the fit; its components are found by name, and their emission laws may differ
                from the ones simulated: the amplitude is the true emission at the model's
                frequency.

        Returns:
            Amplitude maps of the model's components [uK_CMB]; zero for one that the sky lacks.

        Raises:
            ValueError: if a component has a reference frequency in one of the two only.

        Examples:
            >>> sim = simulate("d1", "LiteBIRD", nside=2, noise_ratio=0.0)
            >>> dust = sim.truth.at(SkyModel.parse("d", dust_nu0=160.0))["dust"]
            >>> bool(abs(dust["Q"]).max() < abs(sim.truth.components["dust"]["Q"]).max())
            True
        """
        laws = {law.name: law for law in self.laws}
        like = next(iter(self.components.values()), None)
        if like is None:
            raise ValueError("truth: expected at least one component, got an empty sky.")
        amplitudes = {}
        for wanted in model.components:
            own = laws.get(wanted.name)
            if own is None:
                amplitudes[wanted.name] = like.replace(np.zeros(like.values.shape))
                continue
            if (own.reference is None) != (wanted.reference is None):
                raise ValueError(
                    f"model: expected reference {own.reference} of {own.name}, got "
                    f"{wanted.reference}; an amplitude with a frequency cannot be compared to one "
                    "without."
                )
            maps = self.components[own.name]
            if wanted.reference is not None and wanted.reference != own.reference:
                factor = own.sed(jnp.asarray(wanted.reference), self.of(own))
                maps = maps.replace(np.asarray(maps.values) * np.asarray(factor))
            amplitudes[wanted.name] = maps
        return amplitudes

    def on(self, grid: Grid) -> Truth:
        """The truth on a grid that holds a subset of the cells."""
        if not self.components:
            return self
        own = next(iter(self.components.values())).grid
        where = grid.positions(own)
        return Truth(
            self.laws,
            {name: maps.on(grid) for name, maps in self.components.items()},
            {name: values[where] for name, values in self.parameters.items()},
        )

    def without(self, name: str) -> Truth:
        """The truth without one component, or as it is if it has none of that name."""
        laws = tuple(law for law in self.laws if law.name != name)
        kept = {law.name: self.components[law.name] for law in laws}
        parameters = {p.name: self.parameters[p.name] for law in laws for p in law.parameters}
        return Truth(laws, kept, parameters)

    def masked(self, mask: Bool[np.ndarray, " npix"]) -> Truth:
        """The truth on the cells that a full-sky RING mask keeps."""
        if not self.components:
            return self
        return self.on(next(iter(self.components.values())).grid.restricted(mask))


class Simulation(eqx.Module):
    """A simulated sky.

    Args:
        maps: sky and noise in each channel [uK_CMB].
        noise: the noise alone.
        truth: components and spectral parameters that went in.
        instrument: that observed it.
        sky: the tag.
        seed: of CMB, small scales and noise.
        noise_ratio: factor on the instrument's noise.
    """

    maps: Maps
    noise: Maps
    truth: Truth
    instrument: Instrument = eqx.field(static=True)
    sky: str = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    noise_ratio: float = eqx.field(static=True)

    def masked(self, mask: Bool[np.ndarray, " npix"]) -> Simulation:
        """The simulation on the cells that a full-sky RING mask keeps."""
        return Simulation(
            self.maps.masked(mask),
            self.noise.masked(mask),
            self.truth.masked(mask),
            self.instrument,
            self.sky,
            self.seed,
            self.noise_ratio,
        )


def simulate(
    sky: str,
    instrument: Instrument | str | Path = "LiteBIRD",
    nside: int = 64,
    *,
    noise_ratio: float = 1.0,
    seed: int = 0,
    stokes: Stokes | str = Stokes.QU,
    hits: Float[np.ndarray, " npix"] | None = None,
    mask: Bool[np.ndarray, " npix"] | None = None,
) -> Simulation:
    """A sky of CMB, Galactic foregrounds and white noise in an instrument's channels.

    Bands are those of the instrument, single frequencies or finite; beams and pixel windows are not
    applied. The CMB has the packaged spectra of Planck 2018 (`CMBSpectra`) up to l = 3 nside - 1.
    Foregrounds are the packaged templates (`SkyTag`, `templates`). CMB, small scales of the
    foregrounds and noise are drawn from independent streams of the seed: the same seed gives the
    same CMB with any foregrounds, noise ratio, mask or instrument, and the same large scales at any
    nside.

    Args:
        sky: tag in PySM's style, for instance `c1d1s1`; see `SkyTag`.
        instrument: an instrument, the name of a packaged one, or a YAML file; only its channels
            that measure `stokes` are simulated (Planck's 545 and 857 measure intensity only).
        nside: resolution, a power of two.
        noise_ratio: factor on the standard deviation of the noise; 0 for none.
        seed: a whole number not below zero.
        stokes: `QU`, `I` or `IQU`.
        hits: relative observation counts, full sky, RING; see `noise_sigma`.
        mask: cells to keep, full sky, RING; all by default.

    Returns:
        Maps with noise, the noise and the truth, RING, Galactic coordinates, COSMO convention,
        uK_CMB.

    Raises:
        ValueError: for an unknown tag, instrument or Stokes name, an nside that is not a power of
            two or too large for the CMB spectra, a channel without depth, or a bad mask, hits or
            seed.

    Examples:
        >>> sim = simulate("c1d1s1", instrument="LiteBIRD", nside=8, noise_ratio=0.0)
        >>> sim.maps.values.shape, sorted(sim.truth.parameters)
        ((15, 2, 768), ['beta_dust', 'beta_pl', 'temp_dust'])
    """
    tag, stokes = SkyTag.parse(sky), _stokes(stokes)
    instrument = Instrument.of(instrument).measuring(stokes.polarised)
    seed = checked_seed(seed)
    full = Grid(nside)
    grid = full if mask is None else full.restricted(np.asarray(mask))
    noise = white_noise(
        instrument, grid, stokes, stream(seed, NOISE_STREAM), noise_ratio=noise_ratio, hits=hits
    )
    truth = _truth(tag, full, stokes, seed).on(grid)
    values = emission(truth, instrument, grid, stokes)
    values += noise.values
    maps = Maps(values, grid, stokes, channels=instrument.names)
    return Simulation(maps, noise, truth, instrument, tag.text, seed, float(noise_ratio))


def emission(
    truth: Truth, instrument: Instrument, grid: Grid, stokes: Stokes
) -> Float[np.ndarray, "channel stokes cell"]:
    """The sky without noise in each channel [uK_CMB], one channel at a time to spare memory."""
    values = np.zeros((len(instrument), len(stokes), grid.size))
    for law in truth.laws:
        parameters, amplitude = truth.of(law), np.asarray(truth.components[law.name].values)
        for position, channel in enumerate(instrument.channels):
            single = Instrument(instrument.name, (channel,))
            spectrum = np.asarray(band_spectrum(law, single, parameters))[0]
            values[position] += spectrum * amplitude
    return values


def _truth(tag: SkyTag, grid: Grid, stokes: Stokes, seed: int) -> Truth:
    nside = grid.require_nside()
    laws: list[AbstractComponent] = []
    components: dict[str, Maps] = {}
    parameters: dict[str, np.ndarray] = {}
    if tag.tensor_to_scalar is not None:
        generator = np.random.default_rng(stream(seed, CMB_STREAM))
        cl = CMBSpectra.packaged().cl(r=tag.tensor_to_scalar, lmax=3 * nside - 1)
        laws.append(CMB())
        components["cmb"] = Maps(gaussian_maps(cl, nside, stokes, generator), grid, stokes)
    for foreground in tag.foregrounds:
        law = foreground.law
        own = foreground.parameter_maps(nside)
        # One stream per component name: dust keeps its small scales whatever else is in the sky.
        small = stream(seed, SMALL_SCALES_STREAM, *law.name.encode())
        laws.append(law)
        components[law.name] = Maps(foreground.amplitude(nside, stokes, own, small), grid, stokes)
        parameters |= own
    return Truth(tuple(laws), components, parameters)


def checked_seed(seed: int) -> int:
    """A seed as it may be.

    Raises:
        ValueError: for anything but a whole number from zero on.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(
            f"seed: expected a whole number not below zero, got {seed!r}. For instance 0."
        )
    return int(seed)


def stream(seed: int, *key: int) -> np.random.SeedSequence:
    """Random numbers of a seed for one purpose."""
    return np.random.SeedSequence(int(seed), spawn_key=key)


def _stokes(stokes: Stokes | str) -> Stokes:
    try:
        return Stokes(stokes)
    except ValueError:
        known = ", ".join(member.value for member in Stokes)
        raise ValueError(f"stokes: expected {known}, got {stokes!r}.") from None
