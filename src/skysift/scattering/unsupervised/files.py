"""Classes of fields as files: NetCDF with the arrays, and a header in JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.files import atomic
from skysift.scattering.layout import Layout, Order, Table
from skysift.scattering.statistics import Statistics
from skysift.scattering.unsupervised.auto_encoder import AutoEncoder
from skysift.scattering.unsupervised.features import Features
from skysift.scattering.unsupervised.mixture import GaussianMixture, Shape
from skysift.scattering.unsupervised.model import AbstractDensity, AbstractModel

FORMAT = "skysift-classes-1"
_MODELS = {one.__name__: one for one in (GaussianMixture, AutoEncoder)}


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """What is known of classes of fields.

    Args:
        statistics: of the fields.
        features: that the classes are told by.
        model: that found them.
        density: of the features, as the model found it.
        history: what the model brought up, per field, at each iteration.
        bics: Bayesian information criterion of each number of classes that was tried.
    """

    statistics: Statistics
    features: Features
    model: AbstractModel
    density: AbstractDensity
    history: Float[np.ndarray, " iteration"]
    bics: Mapping[int, float]


def write(contents: Contents, path: str | Path) -> None:
    """Write to NetCDF.

    Raises:
        ValueError: for another suffix than `.nc`, or if nothing can be written there.
        DiskFull: if the disk is full; what was there is kept.
    """
    import xarray as xr

    path = _checked(path)
    layout, features = contents.statistics.layout, contents.features
    arrays = {
        "statistics": np.asarray(contents.statistics.vector),
        "kept": features.kept.astype(np.int8),
        "logarithmic": features.logarithmic.astype(np.int8),
        "centre": features.centre,
        "basis": features.basis,
        "history": contents.history,
        "counts": np.array(list(contents.bics), dtype=np.int64),
        "bics": np.array(list(contents.bics.values())),
    }
    for number, table in enumerate(layout.tables):
        arrays[f"index_{number}"] = table.index
    for number, values in enumerate(_arrays(contents.density)):
        arrays[f"density_{number}"] = np.asarray(values)
    settings = {
        name: value.value if isinstance(value, enum.Enum) else value
        for name, value in vars(contents.model).items()
    }
    header = {
        "format": FORMAT,
        "origin": layout.origin,
        "tables": [(one.order.value, one.axes, one.complex) for one in layout.tables],
        "masked": contents.statistics.masked,
        "explained": features.explained,
        "model": type(contents.model).__name__,
        "settings": settings,
        "classes": contents.density.classes,
    }
    variables = {
        name: ([f"{name}_axis_{axis}" for axis in range(values.ndim)], values)
        for name, values in arrays.items()
    }
    dataset = xr.Dataset(variables, attrs={"header": json.dumps(header)})
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")


def read(path: str | Path) -> Contents:
    """Read what `write` wrote.

    Raises:
        ValueError: for a file that is missing, or something else.
    """
    import xarray as xr

    path = _checked(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as file:
            arrays = {str(name): np.asarray(one.values) for name, one in file.items()}
            header = json.loads(file.attrs["header"])
        if header["format"] != FORMAT:
            raise KeyError(header["format"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"path: expected a file of classes ({FORMAT}), got {path}, which is missing, damaged "
            "or something else. Write it with `Classes.save`."
        ) from error
    tables = tuple(
        Table(Order(order), tuple(axes), arrays[f"index_{number}"], complex)
        for number, (order, axes, complex) in enumerate(header["tables"])
    )
    layout = Layout(tables, header["origin"])
    features = Features(
        layout,
        arrays["kept"].astype(bool),
        arrays["logarithmic"].astype(bool),
        arrays["centre"],
        arrays["basis"],
        header["explained"],
    )
    model = _model(header["model"], header["settings"])
    blank = model.blank(features.components, header["classes"])
    count = len(_arrays(blank))
    return Contents(
        Statistics.of_vector(arrays["statistics"], layout, header["masked"]),
        features,
        model,
        _filled(blank, [arrays[f"density_{number}"] for number in range(count)]),
        arrays["history"],
        dict(zip(arrays["counts"].tolist(), arrays["bics"].tolist(), strict=True)),
    )


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".nc":
        raise ValueError(f"path: expected a name that ends in .nc, got {path.name!r}. Append .nc.")
    return path


def _arrays(density: AbstractDensity) -> list[Any]:
    return [one for one in jax.tree.leaves(density) if isinstance(one, np.ndarray | jax.Array)]


def _filled(density: AbstractDensity, arrays: list[np.ndarray]) -> AbstractDensity:
    """The same density with other numbers, on the device where it had some there."""
    leaves, structure = jax.tree.flatten(density)
    rest = iter(arrays)
    filled = []
    for leaf in leaves:
        if isinstance(leaf, np.ndarray | jax.Array):
            values = next(rest)
            filled.append(jnp.asarray(values) if isinstance(leaf, jax.Array) else values)
        else:
            filled.append(leaf)
    return jax.tree.unflatten(structure, filled)


def _model(name: str, settings: dict[str, Any]) -> AbstractModel:
    if "shape" in settings:
        settings = {**settings, "shape": Shape(settings["shape"])}
    return _MODELS[name](**settings)
