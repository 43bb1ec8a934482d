"""Fields in isotropic dyadic bands, seen in cells, with weighted averages over the cells."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.scattering.domain import AbstractDomain, Flat, Sphere
from skysift.scattering.plane.bank import wavenumbers
from skysift.scattering.sphere.bank import ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.weights import kernel_energy, margin_weights, nearest_weights
from skysift.scattering.weights import checked_weights, margin, normalised


class AbstractBands(eqx.Module):
    """Isotropic bands of dyadic scales whose powers add to that of the field.

    The window of scale j is `cos(pi/2 log2(k / k_j))` around `k_j = k_0 / 2^j`, 1 above the centre
    of the finest and below that of the coarsest.
    """

    windows: eqx.AbstractVar[Float[Array, "scale ..."]]
    cells: eqx.AbstractVar[Float[Array, "region ..."] | None]
    parts: eqx.AbstractVar[tuple[Float[Array, "region cell"], ...]]

    @property
    def scales(self) -> int:
        """Number of scales."""
        return len(self.windows)

    @property
    def regions(self) -> int:
        """Number of masks."""
        return 1 if self.cells is None else len(self.cells)

    @abc.abstractmethod
    def seen(
        self, fields: Inexact[Array, "field channel ..."], scale: int | None
    ) -> Float[Array, "field channel cell"]:
        """Values in cells of one band of fields, or of the fields themselves."""

    @abc.abstractmethod
    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""

    def weights(self, scale: int | None) -> Float[Array, "region cell"]:
        """Weights of the cells of a band, adding to 1, the last being those of the field."""
        return self.parts[self.scales if scale is None else scale]

    def average(
        self, values: Float[Array, "field channel cell"], scale: int | None
    ) -> Float[Array, "field region channel"]:
        """Averages of values in the cells of a band."""
        return jnp.einsum("bcp,rp->brc", values, self.weights(scale).astype(values.dtype))


class FlatBands(AbstractBands):
    """Bands of fields on a flat grid.

    Args:
        windows: `(scale, *shape)`, in the order of `numpy.fft`.
        cells: weights `(region, *shape)` as given, or `None` for equal ones.
        parts: weights of each band and of the field.
    """

    windows: Float[Array, "scale ..."]
    cells: Float[Array, "region ..."] | None
    parts: tuple[Float[Array, "region cell"], ...]

    def seen(
        self, fields: Inexact[Array, "field channel ..."], scale: int | None
    ) -> Float[Array, "field channel cell"]:
        """See `AbstractBands`."""
        if scale is not None:
            axes = tuple(range(2 - fields.ndim, 0))
            if self.cells is not None:
                # The mean in the masked cells: their edge is no structure then.
                kept = jnp.any(self.cells > 0.0, axis=0)
                mean = jnp.sum(fields * kept, axis=axes, keepdims=True) / jnp.sum(kept)
                fields = jnp.where(kept, fields, mean.astype(fields.dtype))
            half = self.windows[scale][..., : fields.shape[-1] // 2 + 1]
            spectrum = jnp.fft.rfftn(fields, axes=axes) * half.astype(fields.dtype)
            fields = jnp.fft.irfftn(spectrum, s=fields.shape[2:], axes=axes)
        return fields.reshape(*fields.shape[:2], -1)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        windows = np.asarray(self.windows)
        return windows**2, wavenumbers(windows.shape[1:])


class SphereBands(AbstractBands):
    """Bands of fields on the sphere, in cells of Gauss-Legendre grids.

    The grids have twice the band limit of what they hold, so that averages of fourth powers are
    exact.

    Args:
        windows: `(scale, ell)`.
        cells: weights `(region, cell)` of HEALPix cells as given, or `None` for equal ones.
        parts: weights of each band and of the field.
        grids: of each band and of the field.
        lmax: of the fields.
    """

    windows: Float[Array, "scale ell"]
    cells: Float[Array, "region cell"] | None
    parts: tuple[Float[Array, "region cell"], ...]
    grids: tuple[GaussLegendre, ...] = eqx.field(static=True)
    lmax: int = eqx.field(static=True)

    def seen(
        self, fields: Inexact[Array, "field channel ..."], scale: int | None
    ) -> Float[Array, "field channel cell"]:
        """See `AbstractBands`."""
        grid = self.grids[self.scales if scale is None else scale]
        if scale is not None:
            window = self.windows[scale][ell_of(self.lmax)]
            fields = fields * window.astype(jnp.real(fields).dtype)
        return grid.synthesis(truncated(fields, self.lmax, grid.lmax), (0,))[..., 0, :]

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        ell = ell_of(self.lmax)
        measure = multiplicity(self.lmax) / (4.0 * np.pi)
        return np.asarray(self.windows)[:, ell] ** 2 * measure, ell.astype(float)


def make_bands(
    domain: AbstractDomain, scales: int, cells: Float[np.ndarray, "region ..."] | None
) -> AbstractBands:
    """The bands of a domain.

    Args:
        domain: flat or the sphere.
        scales: number of dyadic scales, from 1.
        cells: weights `(region, *cell shape)`, 0 and more; 0 on masked cells.

    Raises:
        ValueError: for more scales than there are, and weights that make no sense or leave nothing
            at a scale.
    """
    if isinstance(domain, Sphere):
        return _sphere_bands(domain, scales, cells)
    assert isinstance(domain, Flat)
    _require_scales(scales, int(math.log2(min(domain.shape))) - 1, f"{domain.shape} cells")
    windows = _dyadic(wavenumbers(domain.shape), np.pi, scales)
    if cells is None:
        equal = jnp.full((1, domain.size), 1.0 / domain.size)
        return FlatBands(jnp.asarray(windows), None, (equal,) * (scales + 1))
    cells = checked_weights(cells, domain.cell_shape)
    parts = [_margins(window, cells, scale) for scale, window in enumerate(windows)]
    parts.append(cells)
    flat = [one.reshape(len(cells), -1) for one in parts]
    return FlatBands(
        jnp.asarray(windows),
        jnp.asarray(cells),
        tuple(jnp.asarray(one / one.sum(axis=-1, keepdims=True)) for one in flat),
    )


def _sphere_bands(
    domain: Sphere, scales: int, cells: Float[np.ndarray, "region cell"] | None
) -> SphereBands:
    lmax = domain.lmax
    _require_scales(scales, int(math.log2(lmax)), f"lmax {lmax}")
    windows = _dyadic(np.arange(lmax + 1.0), float(lmax), scales)
    bands = [int(np.flatnonzero(window).max()) for window in windows]
    grids = tuple(GaussLegendre(2 * band) for band in (*bands, lmax))
    if cells is None:
        parts = [grid.weights[None] for grid in grids]
    else:
        cells = checked_weights(cells, domain.cell_shape)
        parts = [
            margin_weights(domain, cells, kernel_energy(window, 0), grid, scale)
            for scale, (window, grid) in enumerate(zip(windows, grids[:-1], strict=True))
        ]
        parts.append(nearest_weights(domain, cells, grids[-1]))
    return SphereBands(
        jnp.asarray(windows),
        None if cells is None else jnp.asarray(cells),
        tuple(jnp.asarray(one) for one in parts),
        grids,
        lmax,
    )


def _require_scales(scales: int, most: int, size: str) -> None:
    if not 1 <= scales <= most:
        raise ValueError(
            f"scales: expected 1 to {most} for {size}, got {scales}. Say scales={most}."
        )


def _dyadic(
    wavenumber: Float[np.ndarray, "..."], finest: float, scales: int
) -> Float[np.ndarray, "scale ..."]:
    """Windows whose squares add to 1 for all wave numbers but zero."""
    octaves = np.log2(np.where(wavenumber > 0.0, wavenumber, 1.0) / finest)
    # Scale j is centred at octave -j; the ends are open.
    octaves = np.clip(octaves, 1.0 - scales, 0.0)
    offset = octaves + np.arange(scales).reshape(-1, *([1] * wavenumber.ndim))
    inside = (np.abs(offset) < 1.0) & (wavenumber > 0.0)
    return np.where(inside, np.cos(0.5 * np.pi * offset), 0.0)


def _margins(
    window: Float[np.ndarray, "..."], cells: Float[np.ndarray, "region ..."], scale: int
) -> Float[np.ndarray, "region ..."]:
    """Weights of the cells, adding to 1, less where the kernel of a band sees masked cells."""
    kernel = np.real(np.fft.ifftn(window)) ** 2
    masked = (~np.any(cells > 0.0, axis=0)).astype(float)
    spectrum = np.fft.fftn(kernel / kernel.sum()) * np.fft.fftn(masked)
    seen = np.real(np.fft.ifftn(spectrum))
    return normalised(cells * margin(seen), scale, f"{2**scale} cells wide")
