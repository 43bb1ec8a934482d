"""Internal linear combination: a component by its spectrum alone, as a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from skysift.compsep.prepare import channels_of
from skysift.compsep.weights import AbstractNoise, InstrumentDepth
from skysift.instrument import Instrument
from skysift.maps import Maps, unseen_to_nan
from skysift.patches import Patches
from skysift.sky.cmb import CMB
from skysift.sky.component import AbstractComponent
from skysift.sky.model import band_spectrum
from skysift.units import Unit

_SAME_SPECTRUM = 1e-10
_SINGULAR = 1e-14
_NAME = "cells"


class InternalLinear(eqx.Module):
    """A component map by internal linear combination.

    Args:
        component: the emission law that was kept.
        maps: its amplitude (stokes, cell) in uK_CMB, at the law's reference frequency if any.
        errors: standard deviation of the noise in it; what is left of foregrounds comes on top.
        weights: of the channels in each patch, the same for all Stokes parameters if pooled.
        patches: the patch of each cell.
        instrument: its channels, in the order of the weights.
    """

    component: AbstractComponent
    maps: Maps
    errors: Maps
    weights: Float[np.ndarray, "patch stokes channel"]
    patches: Patches
    instrument: Instrument = eqx.field(static=True)

    def apply(self, maps: Maps) -> Maps:
        """The same weights on other maps of the same channels and cells, for instance of noise.

        Raises:
            ValueError: for maps of other channels or cells.
        """
        shape = (len(self.instrument), *np.shape(self.maps.values))
        if np.shape(maps.values) != shape or maps.grid != self.maps.grid:
            raise ValueError(
                f"maps: expected shape {shape} on the cells of the combination, got "
                f"{np.shape(maps.values)}. Cut and order them as the maps it was made from."
            )
        if maps.channels and maps.channels != self.instrument.names:
            raise ValueError(
                f"maps: expected channels {self.instrument.names}, got {maps.channels}. "
                "Reorder them."
            )
        values = np.asarray(maps.values)
        return self.maps.replace(_combine(self.weights, self.patches.labels[_NAME], values))


def internal_linear_combination(
    maps: Maps,
    instrument: Instrument | str | Path,
    labels: Int[np.ndarray, " cell"] | None = None,
    component: AbstractComponent | None = None,
    *,
    remove: Sequence[AbstractComponent] = (),
    values: Mapping[str, float] | None = None,
    pool_stokes: bool = True,
    noise: AbstractNoise | None = None,
) -> InternalLinear:
    """Combine channels so that one spectrum is kept and the variance is least.

    In each patch the weights are those of `w = C^-1 A (A^T C^-1 A)^-1 e` with the empirical
    covariance C of the channels over the cells of the patch (means subtracted), the columns of A
    the spectra of the component and of those to remove, and e picking the first. Chance
    correlations of the component with the rest take away about channels / cells of it (ILC bias).

    Args:
        maps: `(channel, stokes, cell)` in uK_CMB, all of them observed.
        instrument: its channels, by object, packaged name or YAML file.
        labels: patch of each cell, contiguous from zero; one patch by default.
        component: what to keep, the CMB by default.
        remove: emission laws to which the combination is made blind (constrained combination).
        values: spectral parameters by name, defaults where left out.
        pool_stokes: one covariance of all Stokes parameters of the maps; else one for each.
        noise: for the errors only, by default that of the instrument's depth.

    Returns:
        The component with its weights.

    Raises:
        ValueError: for maps with missing values or of another unit, components that the channels
            cannot tell apart, or patches with too few cells for a covariance.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=8, seed=0)
        >>> cmb = internal_linear_combination(sim.maps, "LiteBIRD")
        >>> round(float(cmb.weights[0, 0].sum()), 12)
        1.0

    References:
        Eriksen et al. 2004, ApJ 612, 633 (ILC); Remazeilles, Delabrouille & Cardoso 2011, MNRAS
        410, 2481 (constrained).
    """
    component = CMB() if component is None else component
    instrument = channels_of(maps, Instrument.of(instrument))
    data = _complete(maps)
    patches = Patches.from_labels(
        maps.grid, **{_NAME: np.zeros(maps.grid.size, np.int64) if labels is None else labels}
    )
    spectra = _spectra(instrument, (component, *remove), values or {})
    inverse = (noise or InstrumentDepth()).weights(maps, instrument)
    count, stokes = patches.counts[_NAME], len(maps.stokes)
    weights = np.empty((count, stokes, len(instrument)))
    groups = [slice(None)] if pool_stokes else [slice(x, x + 1) for x in range(stokes)]
    order = np.argsort(patches.labels[_NAME], kind="stable")
    for patch, cells in enumerate(np.split(order, np.cumsum(patches.sizes(_NAME))[:-1])):
        for group in groups:
            covariance = _covariance(data[:, group][..., cells], patch)
            weights[patch, group] = _weights(covariance, spectra)
    labels = patches.labels[_NAME]
    variance = np.divide(1.0, inverse, out=np.full(inverse.shape, np.inf), where=inverse > 0)
    squares = np.broadcast_to(variance, data.shape)
    kept = maps.replace(_combine(weights, labels, data), channels=())
    errors = kept.replace(np.sqrt(_combine(weights**2, labels, squares)))
    return InternalLinear(component, kept, errors, weights, patches, instrument)


def _complete(maps: Maps) -> Float[np.ndarray, "channel stokes cell"]:
    """The data, if none are missing."""
    if maps.unit is not Unit.UK_CMB:
        raise ValueError(
            f"maps: expected uK_CMB, got {maps.unit.value}. Convert each channel with "
            "skysift.units.conversion at its frequency."
        )
    data = unseen_to_nan(np.asarray(maps.values))
    missing = int(np.isnan(data).any(axis=(0, 1)).sum())
    if missing:
        raise ValueError(
            f"maps: expected every channel in every cell, got {missing} cells with missing values. "
            "Mask those cells, or leave channels out."
        )
    return data


def _spectra(
    instrument: Instrument, components: Sequence[AbstractComponent], values: Mapping[str, float]
) -> Float[np.ndarray, "channel component"]:
    known = {p.name for law in components for p in law.parameters}
    unknown = set(values) - known
    if unknown:
        raise ValueError(
            "values: expected parameters of the components "
            f"({', '.join(sorted(known)) or 'none'}), got {sorted(unknown)[0]!r}."
        )
    columns = [
        band_spectrum(
            law,
            instrument,
            {p.name: jnp.asarray(values.get(p.name, p.default)) for p in law.parameters},
        )
        for law in components
    ]
    spectra = np.concatenate([np.asarray(column) for column in columns], axis=1)
    singular = np.linalg.svd(spectra / np.linalg.norm(spectra, axis=0), compute_uv=False)
    if len(components) > len(instrument) or singular[-1] < _SAME_SPECTRUM * singular[0]:
        names = ", ".join(law.name for law in components)
        raise ValueError(
            f"remove: expected components with different spectra, got {names}, which the "
            f"{len(instrument)} channels cannot tell apart. Remove fewer, or change `values`."
        )
    return spectra


def _covariance(
    data: Float[np.ndarray, "channel stokes cell"], patch: int
) -> Float[np.ndarray, "channel channel"]:
    """Mean over Stokes parameters of the covariance over cells."""
    channels, stokes, cells = data.shape
    if stokes * (cells - 1) < channels:
        raise ValueError(
            f"labels: expected at least {-(-channels // stokes) + 1} cells in each patch for a "
            f"covariance of {channels} channels, got {cells} in patch {patch}. Use larger patches, "
            "pool the Stokes parameters, or leave channels out."
        )
    left = (data - data.mean(axis=-1, keepdims=True)).reshape(channels, -1)
    covariance = left @ left.T / (stokes * (cells - 1))
    scale = np.sqrt(np.diag(covariance))
    constant = np.any(scale == 0)
    if constant or np.linalg.eigvalsh(covariance / np.outer(scale, scale))[0] < _SINGULAR:
        raise ValueError(
            "maps: expected channels that are not combinations of others, got a singular "
            f"covariance in patch {patch}. Leave constant or repeated channels out, or add noise."
        )
    return covariance


def _weights(
    covariance: Float[np.ndarray, "channel channel"],
    spectra: Float[np.ndarray, "channel component"],
) -> Float[np.ndarray, " channel"]:
    """Weights of least variance that give one for the first spectrum and zero for the others."""
    scale = np.sqrt(np.diag(covariance))
    whitened = spectra / scale[:, None]
    solved = np.linalg.solve(covariance / np.outer(scale, scale), whitened)
    return solved @ np.linalg.inv(whitened.T @ solved)[:, 0] / scale


def _combine(
    weights: Float[np.ndarray, "patch stokes channel"],
    labels: Int[np.ndarray, " cell"],
    values: Float[np.ndarray, "channel stokes cell"],
) -> Float[np.ndarray, "stokes cell"]:
    """Weighted sum over channels, one channel at a time to spare memory."""
    total = np.zeros(values.shape[1:])
    for channel, value in enumerate(values):
        total += weights[labels, :, channel].T * value
    return total
