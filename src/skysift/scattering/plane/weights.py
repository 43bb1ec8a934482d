"""Weights of the cells at each scale: masks, and the margins that wavelets need around them."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from skysift.scattering.plane.bank import Bank
from skysift.scattering.weights import checked_weights, margin, normalised


class ScaleWeights(eqx.Module):
    """Weights of the cells of a flat grid, region by region.

    Args:
        cells: `(region, *shape)` as given, zero on masked cells.
        scales: of each scale `(region, *grid of the scale)`, adding to 1 in each region.
        moduli: the same of moduli seen through the wavelets of a scale: those of the cells that are
            a margin away also from where the coefficients of the scale do not count.
    """

    cells: Float[Array, "region ..."]
    scales: tuple[Float[Array, "region ..."], ...]
    moduli: tuple[Float[Array, "region ..."], ...]

    def flat(self, scale: int | None, moduli: bool = False) -> Float[Array, "region cell"]:
        """Weights of a scale, or of the field itself, adding to 1, the cells on one axis.

        Args:
            scale: of the wavelets, or `None` for the field itself.
            moduli: whether what the wavelets see are moduli.
        """
        if scale is not None:
            weights = self.moduli if moduli else self.scales
            return weights[scale].reshape(len(self.cells), -1)
        flat = self.cells.reshape(len(self.cells), -1)
        return flat / jnp.sum(flat, axis=-1, keepdims=True)

    def any_region(self, scale: int) -> Bool[Array, "..."]:
        """Which cells of a scale count in any region."""
        return jnp.any(self.scales[scale] > 0.0, axis=0)

    def both(self, fine: int, coarse: int) -> Float[Array, "region ..."]:
        """Weights of a scale where the wavelets of a coarser one see no masked cells either."""
        weights, kept = self.scales[fine], self.any_region(coarse)
        for axis, cells in enumerate(weights.shape[1:]):
            have = kept.shape[axis]
            near = np.rint(np.arange(cells) * have / cells).astype(np.int64) % have
            kept = jnp.take(kept, near, axis)
        weights = weights * kept
        return weights / jnp.sum(weights, axis=tuple(range(1, weights.ndim)), keepdims=True)


def scale_weights(bank: Bank, cells: Float[np.ndarray, "..."]) -> ScaleWeights:
    """Weights at each scale: those of the cells, less where a wavelet sees masked cells.

    Args:
        bank: wavelets.
        cells: `shape` or `(region, *shape)`, 0 and more; 0 on masked cells.

    Raises:
        ValueError: for weights that are negative, not finite or of another shape, and when no cell
            is far enough from the masked ones at a scale.
    """
    cells = checked_weights(cells, bank.sizes.shape)
    axes = tuple(range(1, cells.ndim))
    scales, moduli = [], []
    kept = np.any(cells > 0.0, axis=0)
    masked = np.fft.fftn((~kept).astype(float), norm="forward")
    spectra = np.fft.fftn(cells, axes=axes, norm="forward")
    for scale, filters in enumerate(bank.filters):
        grid, width = bank.sizes.grid(scale), f"{2**scale} cells wide"
        bank_axes = tuple(range(1, len(grid) + 1))
        wavelets = np.fft.ifftn(np.asarray(filters), axes=bank_axes, norm="forward")
        energy = np.mean(np.abs(wavelets) ** 2, axis=0)
        kernel = np.fft.fftn(energy / energy.sum())
        seen = np.real(np.fft.ifftn(_crop(masked, grid) * kernel, norm="forward"))
        coarse = np.real(
            np.fft.ifftn(
                np.stack([_crop(one, grid) for one in spectra]), axes=bank_axes, norm="forward"
            )
        )
        weights = normalised(np.clip(coarse, 0.0, None) * margin(seen), scale, width)
        scales.append(jnp.asarray(weights))
        # Where no coefficient counts, there is no modulus either for the wavelets of this scale.
        unknown = ~np.any(weights > 0.0, axis=0)
        seen = np.real(np.fft.ifftn(np.fft.fftn(unknown) * kernel))
        moduli.append(jnp.asarray(normalised(weights * margin(seen), scale, width)))
    return ScaleWeights(jnp.asarray(cells), tuple(scales), tuple(moduli))


def _crop(spectrum: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Lowest modes of a spectrum; what lies on the Nyquist modes of the grid is left out."""
    numbers = [np.fft.fftfreq(cells, 1.0 / cells).astype(int) for cells in grid]
    where = np.ix_(*[number % cells for number, cells in zip(numbers, spectrum.shape, strict=True)])
    cut = spectrum[where]
    for axis, cells in enumerate(grid):
        if cells < spectrum.shape[axis] and cells % 2 == 0:
            np.moveaxis(cut, axis, 0)[cells // 2] = 0.0
    return cut
