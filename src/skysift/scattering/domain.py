"""Where fields live: a flat grid or the sphere, and how many of them are seen together."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.harmonic import SHT, multipoles
from skysift.scattering.mesh import AbstractMesh, FlatMesh, SphereMesh


def precision_of(values: np.ndarray) -> np.dtype:
    """Single for single precision of either byte order, as in files; double for all else."""
    single = values.dtype.newbyteorder("=") == np.float32
    return np.dtype(np.float32 if single else np.float64)


class AbstractDomain(eqx.Module):
    """Maps, the fields that statistics are computed of, and the unknowns of an optimisation.

    A map is what a user has, `(..., *map shape)`. A field is what the wavelets act on: the same on
    a flat grid, harmonic coefficients on the sphere. Unknowns are real vectors, in which white
    noise is white.
    """

    channels: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels: expected 1 or more, got {self.channels}. Say channels=1.")

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What it is, as layouts of statistics tell it."""

    @property
    @abc.abstractmethod
    def cell_shape(self) -> tuple[int, ...]:
        """Shape of the map of one channel."""

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of a map, with its channels when there are several."""
        return self.cell_shape if self.channels == 1 else (self.channels, *self.cell_shape)

    @property
    @abc.abstractmethod
    def mesh(self) -> AbstractMesh:
        """The cells of a map and their neighbours."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of unknowns of one channel."""

    @abc.abstractmethod
    def fields(self, maps: Float[Array, "..."]) -> Inexact[Array, "... channel mode"]:
        """Fields of maps, with a channel axis always."""

    @abc.abstractmethod
    def of_unknowns(
        self, unknowns: Float[Array, "... channel unknown"]
    ) -> Inexact[Array, "... channel mode"]:
        """Fields of unknowns."""

    @abc.abstractmethod
    def unknowns(
        self, fields: Inexact[Array, "... channel mode"]
    ) -> Float[Array, "... channel unknown"]:
        """Unknowns of fields."""

    @abc.abstractmethod
    def filtered(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """Fields with each mode times an amplitude."""

    @abc.abstractmethod
    def whitened(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """What `filtered` makes these fields of; nothing in modes without an amplitude."""

    @abc.abstractmethod
    def shifted(
        self, fields: Inexact[Array, "... channel mode"], mean: Float[Array, " channel"]
    ) -> Inexact[Array, "... channel mode"]:
        """Fields plus a constant in each channel."""

    @abc.abstractmethod
    def seen(self, fields: Inexact[Array, "... channel mode"]) -> Float[Array, "..."]:
        """Maps of fields."""

    def visible(
        self, maps: Float[Array, "..."], cells: Float[Array, "region ..."] | None
    ) -> Inexact[Array, "... channel mode"]:
        """Fields of maps whose cells count only where a region has any weight.

        Masked cells have what the others let expect (`AbstractMesh.continued`).

        Args:
            maps: `(..., *map shape)`.
            cells: weights of the cells, 0 on masked ones; `None` when all are alike.
        """
        if cells is None:
            return self.fields(maps)
        return self.fields(self.mesh.continued(maps, jnp.any(cells > 0.0, axis=0)))

    def check(self, maps: Float[Array, "..."] | np.ndarray) -> None:
        """Refuse maps of another shape.

        Raises:
            ValueError: for maps whose last axes are not those of the domain.
        """
        expected = self.map_shape
        if tuple(maps.shape[-len(expected) :]) != expected:
            shown = ", ".join(["...", *map(str, expected)])
            raise ValueError(
                f"maps: expected shape ({shown}), got {tuple(maps.shape)}. Make the statistics for "
                "the grid and the channels of the maps."
            )


class Flat(AbstractDomain):
    """A flat grid with periodic edges.

    Args:
        shape: cells along 1, 2 or 3 axes.
        channels: number of maps that are seen together.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    @property
    def words(self) -> str:
        """See `AbstractDomain`."""
        return f"flat grid {self.shape}"

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """See `AbstractDomain`."""
        return self.shape

    @property
    def mesh(self) -> AbstractMesh:
        """See `AbstractDomain`."""
        return FlatMesh(self.shape)

    @property
    def size(self) -> int:
        """See `AbstractDomain`."""
        return int(np.prod(self.shape))

    def fields(self, maps: Float[Array, "..."]) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return maps if self.channels > 1 else jnp.expand_dims(maps, -len(self.shape) - 1)

    def filtered(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        axes = tuple(range(-len(self.shape), 0))
        half = amplitude[..., : self.shape[-1] // 2 + 1]
        # Unknowns of unit variance have modes of that variance with this normalisation.
        spectrum = jnp.fft.rfftn(fields, axes=axes, norm="ortho") * half
        return jnp.fft.irfftn(spectrum, s=self.shape, axes=axes, norm="forward")

    def whitened(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        axes = tuple(range(-len(self.shape), 0))
        half = _inverse(amplitude[..., : self.shape[-1] // 2 + 1])
        spectrum = jnp.fft.rfftn(fields, axes=axes, norm="forward") * half
        return jnp.fft.irfftn(spectrum, s=self.shape, axes=axes, norm="ortho")

    def shifted(
        self, fields: Inexact[Array, "... channel mode"], mean: Float[Array, " channel"]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return fields + mean.reshape(-1, *([1] * len(self.shape)))

    def seen(self, fields: Inexact[Array, "... channel mode"]) -> Float[Array, "..."]:
        """See `AbstractDomain`."""
        return fields.reshape(*fields.shape[: -len(self.shape) - 1], *self.map_shape)

    def of_unknowns(
        self, unknowns: Float[Array, "... channel unknown"]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return unknowns.reshape(*unknowns.shape[:-1], *self.shape)

    def unknowns(
        self, fields: Inexact[Array, "... channel mode"]
    ) -> Float[Array, "... channel unknown"]:
        """See `AbstractDomain`."""
        return fields.reshape(*fields.shape[: -len(self.shape)], self.size)


class Sphere(AbstractDomain):
    """HEALPix maps of the full sky in RING order, seen up to a multipole.

    Args:
        nside: of the maps.
        lmax: of the fields; 2 nside is exact enough for the maps and cheap.
        channels: number of maps that are seen together.
        iterations: of the analysis of maps (`SHT.analysis`).
    """

    nside: int = eqx.field(static=True)
    lmax: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not hp.isnsideok(self.nside, nest=True):
            raise ValueError(
                f"nside: expected a power of two such as 64, got {self.nside!r}. Regrade the maps."
            )
        if not 4 <= self.lmax <= 3 * self.nside - 1:
            raise ValueError(
                f"lmax: expected 4 to 3 nside - 1 = {3 * self.nside - 1}, got {self.lmax}. "
                f"Say lmax={2 * self.nside}."
            )

    @property
    def words(self) -> str:
        """See `AbstractDomain`."""
        return f"sphere nside {self.nside} lmax {self.lmax}"

    @property
    def sht(self) -> SHT:
        """Transform between the maps and the fields."""
        return SHT(self.nside, self.lmax)

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """See `AbstractDomain`."""
        return (12 * self.nside**2,)

    @property
    def mesh(self) -> AbstractMesh:
        """See `AbstractDomain`."""
        return SphereMesh(self.nside)

    def visible(
        self, maps: Float[Array, "..."], cells: Float[Array, "region ..."] | None
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        if cells is None:
            return self.fields(maps)
        kept = jnp.any(cells > 0.0, axis=0)
        maps = self.mesh.continued(maps, kept)
        fields = self.fields(maps)
        # At an edge there are modes above the band limit. What kept cells lose with them is added;
        # of the full sky it is no part of the fields.
        at_edge = kept & ~jnp.all(kept)
        return fields + self.fields(jnp.where(at_edge, maps - self.seen(fields), 0.0))

    @property
    def size(self) -> int:
        """See `AbstractDomain`."""
        return (self.lmax + 1) ** 2

    def fields(self, maps: Float[Array, "..."]) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        maps = maps if self.channels > 1 else jnp.expand_dims(maps, -2)
        # The quadrature of HEALPix is not exact, which a large constant would show.
        mean = jnp.mean(maps, axis=-1)
        alm = self.sht.analysis(maps - mean[..., None], iterations=self.iterations)
        return alm.at[..., 0].add(mean * math.sqrt(4.0 * math.pi))

    def filtered(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return fields * amplitude

    def whitened(
        self, fields: Inexact[Array, "... channel mode"], amplitude: Float[Array, "channel ..."]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return fields * _inverse(amplitude)

    def shifted(
        self, fields: Inexact[Array, "... channel mode"], mean: Float[Array, " channel"]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        return fields.at[..., 0].add(mean * math.sqrt(4.0 * math.pi))

    def seen(self, fields: Inexact[Array, "... channel mode"]) -> Float[Array, "..."]:
        """See `AbstractDomain`."""
        maps = self.sht.synthesis(fields)
        return maps if self.channels > 1 else maps[..., 0, :]

    def of_unknowns(
        self, unknowns: Float[Array, "... channel unknown"]
    ) -> Inexact[Array, "... channel mode"]:
        """See `AbstractDomain`."""
        zonal, real = self.lmax + 1, self.sht.size
        imaginary = jnp.pad(unknowns[..., real:], [(0, 0)] * (unknowns.ndim - 1) + [(zonal, 0)])
        scale = jnp.asarray(_unit(self.lmax), unknowns.dtype)
        return jax.lax.complex(unknowns[..., :real] * scale, imaginary * scale)

    def unknowns(
        self, fields: Inexact[Array, "... channel mode"]
    ) -> Float[Array, "... channel unknown"]:
        """See `AbstractDomain`."""
        scaled = fields / jnp.asarray(_unit(self.lmax), jnp.real(fields).dtype)
        return jnp.concatenate([jnp.real(scaled), jnp.imag(scaled)[..., self.lmax + 1 :]], axis=-1)


def _inverse(amplitude: Float[Array, "..."]) -> Float[Array, "..."]:
    """One over an amplitude, 0 where there is none."""
    some = amplitude > 0.0
    return jnp.where(some, 1.0 / jnp.where(some, amplitude, 1.0), 0.0)


def _unit(lmax: int) -> Float[np.ndarray, " alm"]:
    """Unknowns of unit variance give coefficients whose two parts have half of it each."""
    m = multipoles(lmax)[1]
    return np.where(m == 0, 1.0, np.sqrt(0.5))
