"""Make the inputs of a separation fit each other, or say what does not."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.compsep.kernel import Kernel
from skysift.compsep.structure import Structure
from skysift.compsep.weights import AbstractNoise
from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps, unseen_to_nan
from skysift.patches import Patches
from skysift.sky.model import SkyModel
from skysift.units import Unit

_SINGULAR = 1e-10


@dataclass(frozen=True)
class Measurements:
    """Data and weights without missing values.

    Args:
        data: zero where missing.
        weights: zero where missing or of no use.
        fixed: parameters that are not fitted, one number or one per cell.
        used: whether a cell has at least as many channels as components.
        dof: measurements used less amplitudes, per cell.
        instrument: the channels, in the order of the data.
        calibrated: whether the weights are inverse noise variances.
    """

    data: Float[np.ndarray, "channel stokes cell"]
    weights: Float[np.ndarray, "channel #stokes #cell"]
    fixed: dict[str, Float[np.ndarray, "#cell"]]
    used: Bool[np.ndarray, "stokes cell"]
    dof: Int[np.ndarray, " cell"]
    instrument: Instrument
    calibrated: bool


def match(
    maps: Maps,
    instrument: Instrument,
    model: SkyModel,
    patches: Patches | None,
    noise: AbstractNoise,
) -> tuple[Maps, Patches, Measurements]:
    """Bring maps, instrument, patches and weights to the same channels and cells.

    Raises:
        ValueError: where they cannot be.
    """
    if not isinstance(maps, Maps):
        raise ValueError(
            f"maps: expected Maps, got {type(maps).__name__}. Make them with Maps.from_healpix, or "
            "call separate_arrays."
        )
    if not isinstance(noise, AbstractNoise):
        raise ValueError(
            f"noise: expected InstrumentDepth, UnitWeights or InverseVariance, got {noise!r}."
        )
    if maps.unit is not Unit.UK_CMB:
        raise ValueError(
            f"maps: expected uK_CMB, got {maps.unit.value}. Convert each channel with "
            "skysift.units.conversion at its frequency."
        )
    if np.ndim(maps.values) != 3:
        raise ValueError(
            f"maps: expected (channel, stokes, cell), got shape {np.shape(maps.values)}. Stack "
            "the channels."
        )
    instrument = channels_of(maps, instrument)
    if len(instrument) < len(model.components):
        raise ValueError(
            f"maps: expected at least {len(model.components)} channels for {len(model.components)} "
            f"components ({', '.join(model.names)}), got {len(instrument)}. Leave components out."
        )
    given, weights = maps.grid, noise.weights(maps, instrument)
    maps, patches = _cells(maps, model, patches)
    where = _positions(maps.grid, given)
    if weights.shape[-1] > 1:
        weights = weights[..., where]
    data, weights, used = _clean(maps, weights, model)
    counted = np.sum(weights > 0, axis=0) - len(model.components)
    dof = np.sum(np.where(used, counted, 0), axis=0)
    fixed = {n: _fixed(n, np.asarray(v), given, where) for n, v in model.fixed.items()}
    return (
        maps,
        patches,
        Measurements(data, weights, fixed, used, dof, instrument, noise.calibrated),
    )


def channels_of(maps: Maps, instrument: Instrument) -> Instrument:
    """The instrument's channels that the maps hold, in their order."""
    if maps.channels:
        unknown = [name for name in maps.channels if name not in instrument.names]
        if unknown:
            raise ValueError(
                f"maps: expected channels of {instrument.name} ({', '.join(instrument.names)}), "
                f"got {unknown[0]!r}. Give the instrument that the maps come from, or rename their "
                "channels (Maps.replace)."
            )
        return instrument.select(maps.channels)
    count = np.shape(maps.values)[0]
    for one in (instrument, instrument.measuring(maps.stokes.polarised)):
        if len(one) == count:
            return one
    raise ValueError(
        f"maps: expected {len(instrument)} channels as {instrument.name} has "
        f"({', '.join(instrument.names)}), got {count}. Name the maps' channels, or give the "
        "instrument they come from."
    )


def _cells(maps: Maps, model: SkyModel, patches: Patches | None) -> tuple[Maps, Patches]:
    """Maps and patches on the same cells; one patch for parameters without."""
    names = [parameter.name for parameter in model.free]
    if patches is None:
        patches = Patches.of(maps.grid)
    unknown = set(patches.labels) - set(names)
    if unknown:
        raise ValueError(
            f"patches: expected free parameters of the model ({', '.join(names)}), got "
            f"{sorted(unknown)[0]!r}."
        )
    if patches.grid != maps.grid:
        if patches.grid.nside != maps.grid.nside:
            raise ValueError(
                f"patches: expected nside {maps.grid.nside} as the maps have, got "
                f"{patches.grid.nside}. "
                "Make the patches from a mask at the maps' nside."
            )
        maps = maps.reordered(patches.grid.ordering)
        if np.isin(patches.grid.index, maps.grid.index).all():
            maps = maps.on(patches.grid)
        elif np.isin(maps.grid.index, patches.grid.index).all():
            patches = patches.restricted(maps.grid)
        else:
            shared = np.isin(maps.grid.index, patches.grid.index).sum()
            raise ValueError(
                f"patches: expected cells that hold those of the maps or lie within them, got "
                f"{shared} shared by {maps.grid.size} of the maps and {patches.grid.size} of the "
                "patches. Make the patches from maps.grid, or mask the maps as the patches."
            )
    one = np.zeros(maps.grid.size, dtype=np.intp)
    labels = {name: patches.labels.get(name, one) for name in names}
    return maps, Patches(labels, maps.grid)


def _clean(
    maps: Maps, weights: Float[np.ndarray, "channel #stokes #cell"], model: SkyModel
) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "stokes cell"]]:
    """Data and weights with zeros for what is missing, and where enough is left."""
    data = unseen_to_nan(np.asarray(maps.values))
    missing = np.isnan(data)
    if missing.any():
        data = np.where(missing, 0.0, data)
        weights = np.where(missing, 0.0, weights)
    enough = np.sum(weights > 0, axis=0) >= len(model.components)
    if not enough.any():
        raise ValueError(
            f"maps: expected cells with at least {len(model.components)} observed channels, got "
            "none. "
            "Check for NaN or UNSEEN in whole channels, and the mask."
        )
    if not enough.all():
        weights = np.where(enough, weights, 0.0)
    return data, weights, np.broadcast_to(enough, data.shape[1:])


def _positions(kept: Grid, given: Grid) -> slice | Int[np.ndarray, " cell"]:
    """Where the cells that are fitted stand in arrays on the given grid, whatever the orderings."""
    if kept == given:
        return slice(None)
    order = np.argsort(given.ring)
    return order[np.searchsorted(given.ring[order], kept.ring)]


def _fixed(
    name: str, value: Float[np.ndarray, "..."], given: Grid, where: slice | Int[np.ndarray, " cell"]
) -> Float[np.ndarray, "#cell"]:
    """A parameter that is not fitted on the cells that are."""
    value = np.atleast_1d(np.asarray(value, dtype=float))
    if value.shape == (1,):
        chosen = value
    elif value.shape == (given.size,):
        chosen = value[where]
    elif given.nside is not None and value.shape == (given.npix,):
        chosen = value[given.index][where]
    else:
        raise ValueError(
            f"fixed[{name!r}]: expected a number, or one value per cell of the maps ({given.size} "
            f"or full sky), got shape {value.shape}."
        )
    if not np.all(np.isfinite(unseen_to_nan(chosen))):
        raise ValueError(
            f"fixed[{name!r}]: expected finite values in every cell, got missing ones."
        )
    return chosen


def check_independent(
    kernel: Kernel,
    model: SkyModel,
    measurements: Measurements,
    theta: Float[np.ndarray, " parameter"],
    structure: Structure,
) -> None:
    """Refuse components that the channels cannot tell apart.

    Raises:
        ValueError: naming two components whose columns of the mixing matrix are parallel at the
            start.
    """
    cell = (
        int(np.argmax(np.sum(measurements.weights > 0, axis=(0, 1))))
        if (measurements.weights.shape[-1] > 1)
        else 0
    )
    fixed = {
        name: jnp.asarray(value[..., [cell]] if value.shape[-1] > 1 else value)
        for name, value in measurements.fixed.items()
    }
    columns = kernel.columns(jnp.asarray(theta[structure.index[:, [cell]]]), fixed)
    seen = (
        measurements.weights[..., cell if measurements.weights.shape[-1] > 1 else 0].max(axis=1) > 0
    )
    matrix = np.stack(
        [np.broadcast_to(np.asarray(c), (seen.size, 1))[seen, 0] for c in columns], axis=1
    )
    matrix = matrix / np.linalg.norm(matrix, axis=0)
    _, singular, right = np.linalg.svd(matrix, full_matrices=False)
    if singular[-1] < _SINGULAR * singular[0]:
        pair = [model.names[i] for i in np.argsort(-np.abs(right[-1]))[:2]]
        raise ValueError(
            f"model: expected components with different spectra, got {pair[0]} and {pair[1]} that "
            "the "
            f"{int(seen.sum())} channels cannot tell apart. Leave one out, or change its "
            "parameters."
        )
