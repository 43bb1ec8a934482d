"""Many realisations of one sky: its foregrounds once, CMB and noise of other seeds."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.harmonic import CMBSpectra, gaussian_maps
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.sky.noise import white_noise
from skysift.sky.presets import SkyTag
from skysift.sky.simulate import (
    CMB_STREAM,
    NOISE_STREAM,
    Simulation,
    Truth,
    checked_seed,
    emission,
    stream,
)


class Vary(enum.Enum):
    """What a seed draws anew: the noise alone, or the CMB as well."""

    NOISE = "noise"
    CMB = "cmb"


@dataclass(frozen=True, eq=False)
class Realisations:
    """A sky, observed again and again.

    Foregrounds stay as they are, small scales included. A seed gives the noise that
    `skysift.simulate` draws with it, and with `Vary.CMB` its CMB too.

    Args:
        truth: components and spectral parameters, on the cells to realise.
        instrument: that observes, all of its channels with the Stokes parameters of the truth.
        sky: tag, which says what CMB is drawn.
        noise_ratio: factor on the instrument's noise.
        vary: what a seed draws anew.
        hits: relative observation counts, full sky, RING; see `noise_sigma`.

    Raises:
        ValueError: for an empty sky, or `Vary.CMB` and a sky without CMB.

    Examples:
        >>> from skysift.sky import simulate
        >>> realisations = Realisations.of(simulate("c1d0s0", "LiteBIRD", nside=4))
        >>> one, two = realisations(1), realisations(2)
        >>> bool(np.array_equal(one.truth.components["cmb"], two.truth.components["cmb"]))
        True
    """

    truth: Truth
    instrument: Instrument
    sky: str
    noise_ratio: float = 1.0
    vary: Vary = Vary.NOISE
    hits: Float[np.ndarray, " npix"] | None = None

    def __post_init__(self) -> None:
        if not self.truth.components:
            raise ValueError(
                f"sky: expected components, got the empty sky {self.sky!r}. Simulate a sky such as "
                "'c1d1s1'."
            )
        if self.vary is Vary.CMB and SkyTag.parse(self.sky).tensor_to_scalar is None:
            raise ValueError(
                f"vary: expected a sky with CMB, got {self.sky!r}. Vary the noise alone, or "
                "simulate a sky such as 'c1d1s1'."
            )

    @staticmethod
    def of(
        sim: Simulation,
        vary: Vary = Vary.NOISE,
        hits: Float[np.ndarray, " npix"] | None = None,
    ) -> Realisations:
        """Realisations of a simulated sky, on its cells.

        Args:
            sim: the sky; its own noise, and with `Vary.CMB` its CMB, are those of its seed.
            vary: what a seed draws anew.
            hits: that it was simulated with.
        """
        return Realisations(sim.truth, sim.instrument, sim.sky, sim.noise_ratio, vary, hits)

    @property
    def grid(self) -> Grid:
        """The cells."""
        return next(iter(self.truth.components.values())).grid

    @property
    def stokes(self) -> Stokes:
        """The Stokes parameters."""
        return next(iter(self.truth.components.values())).stokes

    @cached_property
    def foregrounds(self) -> Maps:
        """All components but the CMB in each channel, without noise [uK_CMB]."""
        values = emission(self.truth.without("cmb"), self.instrument, self.grid, self.stokes)
        return Maps(values, self.grid, self.stokes, channels=self.instrument.names)

    def __call__(self, seed: int) -> Simulation:
        """The sky with the noise, and perhaps the CMB, of a seed.

        Raises:
            ValueError: for a seed that is no whole number from zero on.
        """
        seed = checked_seed(seed)
        noise = white_noise(
            self.instrument,
            self.grid,
            self.stokes,
            stream(seed, NOISE_STREAM),
            noise_ratio=self.noise_ratio,
            hits=self.hits,
        )
        truth = self.truth
        if self.vary is Vary.CMB:
            truth = dataclasses.replace(
                truth, components=truth.components | {"cmb": self._cmb(seed)}
            )
        values = np.asarray(self.foregrounds.values) + np.asarray(noise.values)
        if "cmb" in truth.components:
            values += np.asarray(truth.components["cmb"].values)  # one in every channel, in uK_CMB
        return Simulation(
            self.foregrounds.replace(values),
            noise,
            truth,
            self.instrument,
            self.sky,
            seed,
            self.noise_ratio,
        )

    def _cmb(self, seed: int) -> Maps:
        nside, r = self.grid.require_nside(), SkyTag.parse(self.sky).tensor_to_scalar
        assert r is not None
        cl = CMBSpectra.packaged().cl(r=r, lmax=3 * nside - 1)
        generator = np.random.default_rng(stream(seed, CMB_STREAM))
        full = gaussian_maps(cl, nside, self.stokes, generator)
        return Maps(full[:, self.grid.ring], self.grid, self.stokes)
