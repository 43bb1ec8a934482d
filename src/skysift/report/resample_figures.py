"""Figures of samples on cells: maps seen from outside, as of the Earth, and histograms."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from skysift.grid import Grid, Ordering
from skysift.report.map_figures import SIGNED, VALUE, Sky
from skysift.report.resample_view import Residuals
from skysift.report.sheet import number
from skysift.report.sky_plot import AbstractProjection, Caps, Mollweide
from skysift.report.style import (
    BLUE,
    INK,
    WIDTH,
    diverging,
    new_figure,
    robust_range,
    styled,
)

_ELEMENTS = 150
_STEPS = (1 / 60, 1 / 30, 1 / 12, 1 / 6, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_FINE_BELOW = 30.0
_FEW = 20_000
_WIDEST = 80.0


@dataclass(frozen=True)
class FromOutside(AbstractProjection):
    """A projection seen from outside the sphere: longitude grows to the right.

    Args:
        inside: the projection as the sky is seen.
    """

    inside: AbstractProjection

    @property
    def discs(self) -> tuple[tuple[float, float, float, float], ...]:
        """Mirrored."""
        return tuple((-x, y, a, b) for x, y, a, b in self.inside.discs)

    @property
    def labels(self) -> tuple[str, ...]:
        """Centres as geographers write them."""
        if not isinstance(self.inside, Caps):
            return self.inside.labels
        return tuple(f"{_east(lon)}, {_north(lat)}" for lon, lat in self.inside.centres)

    def inverse(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mirrored."""
        return self.inside.inverse(-np.asarray(x), y)

    def forward(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mirrored."""
        x, y = self.inside.forward(lon, lat)
        return -x, y


class Scale(enum.Enum):
    """What the colours of a map span."""

    RANGE = "range of the values"
    FROM_ZERO = "from zero"
    SIGNED = "as far below zero as above"

    def colours(self, values: Float[np.ndarray, " cell"]) -> tuple[Colormap, Normalize]:
        """Colours of values."""
        if self is Scale.SIGNED:
            return SIGNED, diverging(values)
        low, high = robust_range(values)
        return VALUE, Normalize(0.0 if self is Scale.FROM_ZERO else low, high)


class CellMap:
    """Pictures of cells; cells that are finer than a picture's elements are drawn as means.

    Args:
        grid: of the cells.
    """

    def __init__(self, grid: Grid) -> None:
        self.level = grid.level
        nested = grid.nested
        self.projection = FromOutside(_zoomed(nested, self.level))
        self.shown = min(self.level, _finest(self.projection))
        parents = nested >> 2 * (self.level - self.shown)
        cells, self._parent = np.unique(parents, return_inverse=True)
        self._grid = Grid(1 << self.shown, Ordering.NESTED, cells)

    @property
    def note(self) -> str:
        """What is drawn, where it is not the cells themselves."""
        if self.shown == self.level:
            return ""
        return f" Drawn as means in cells of level {self.shown}."

    def draw(
        self,
        rows: list[Float[np.ndarray, " cell"]],
        labels: list[str],
        titles: list[str],
        *scales: Scale,
    ) -> Figure:
        """Maps below each other.

        Args:
            rows: values of the cells.
            labels: of the colour bars.
            titles: of the maps.
            *scales: of the colours of each map; one for all, or of the range of each by default.
        """
        columns = 1 if len(rows) == 1 else 2
        count = math.ceil(len(rows) / columns)
        sky = Sky(self._grid, count, columns, projection=self.projection)
        with styled():
            figure, panels = sky.panels()
            scales = scales if len(scales) == len(rows) else (scales or (Scale.RANGE,)) * len(rows)
            for axes, values, label, title, scale in zip(
                panels.flat, rows, labels, titles, scales, strict=False
            ):
                shown = self._mean(values)
                sky.draw(axes, shown, *scale.colours(shown), label, title)
                _fine_graticule(axes, self.projection)
            for axes in panels.flat[len(rows) :]:
                axes.set_visible(False)
        return figure

    def _mean(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " shown"]:
        known = np.isfinite(values)
        total = np.bincount(self._parent, np.where(known, values, 0.0), self._grid.size)
        number = np.bincount(self._parent, known, self._grid.size)
        return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def counts_figure(counts: Int[np.ndarray, " cell"]) -> Figure:
    """Histogram of the samples per cell, of cells that have some."""
    counts = counts[counts > 0]
    top = int(np.percentile(counts, 99.5)) if counts.size else 1
    width = max(1, math.ceil(top / 80))
    edges = np.arange(1, top + 1 + width, width) - 0.5
    with styled():
        figure = new_figure(2.8)
        axes = figure.subplots()
        axes.hist(np.clip(counts, 1, edges[-1]), edges.tolist(), color=BLUE)
        axes.set(xlabel="samples linked to a cell", ylabel="cells")
    return figure


def residuals_figure(residuals: Residuals, rows: tuple[str, ...], units: tuple[str, ...]) -> Figure:
    """Histograms of samples minus cells of the first rows."""
    count = len(rows)
    columns = min(count, 3)
    with styled():
        figure = new_figure(2.9 * math.ceil(count / columns))
        panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False)
        for row, (title, unit) in enumerate(zip(rows, units, strict=True)):
            axes, counts, limit = panels.flat[row], residuals.counts[row], residuals.limit[row]
            edges = np.linspace(-limit, limit, counts.size + 1)
            axes.stairs(counts, edges, fill=True, color=BLUE)
            label = "sample − cells" + (f" [{unit}]" if unit else "")
            name = f"{title}: rms {number(float(residuals.rms[row]))}"
            axes.set(xlabel=label, ylabel="samples", title=name)
        for axes in panels.flat[count:]:
            axes.set_visible(False)
    return figure


def _zoomed(nested: Int[np.ndarray, " cell"], level: int) -> AbstractProjection:
    """A disc around cells on one side of the sphere, else the whole sphere."""
    parents = np.unique(nested)
    while parents.size > _FEW:
        parents, level = np.unique(parents >> 2), level - 1
    vectors = Grid(1 << level, Ordering.NESTED, parents).vectors()
    centre = vectors.mean(axis=0)
    if np.linalg.norm(centre) < 1e-3:
        return Mollweide()
    # Towards the farthest cell, less and less: Badoiu & Clarkson 2003, smallest enclosing ball.
    for step in range(1, 200):
        centre = centre + (vectors[np.argmin(vectors @ centre)] - centre) / (step + 1)
    centre /= np.linalg.norm(centre)
    farthest = math.degrees(math.acos(float(np.clip(np.min(vectors @ centre), -1.0, 1.0))))
    radius = 1.02 * farthest + 45.0 / 2**level
    if radius > _WIDEST:
        return Mollweide()
    lon, lat = hp.vec2ang(centre, lonlat=True)
    return Caps(((float(lon[0]), float(lat[0])),), radius)


def _shown_area(projection: AbstractProjection) -> float:
    """Area of the sphere that a projection shows [sr]."""
    if not isinstance(projection, Caps):
        return 4.0 * math.pi
    cap = 2.0 * math.pi * (1.0 - math.cos(math.radians(projection.radius)))
    return len(projection.centres) * cap


def _finest(projection: FromOutside) -> int:
    """Finest level whose cells are no smaller than the elements of a picture."""
    width = _ELEMENTS * min(WIDTH, 6.0)
    elements = (
        sum(math.pi * a * b for _, _, a, b in projection.discs)
        * (width / (projection.extent[1] - projection.extent[0])) ** 2
    )
    element = math.sqrt(_shown_area(projection.inside) / elements)
    return max(int(math.log2(math.sqrt(math.pi / 3.0) / element)), 0)


def _fine_graticule(axes: Axes, projection: FromOutside) -> None:
    """Labelled lines for a small field, where those of the whole sphere are too far apart."""
    inside = projection.inside
    if not isinstance(inside, Caps) or len(inside.centres) != 1 or inside.radius > _FINE_BELOW:
        return
    (lon, lat), radius = inside.centres[0], inside.radius
    slope = max(math.cos(math.radians(lat)), 0.05)
    halo = [withStroke(linewidth=2, foreground="white")]
    for centre, scale, write, upright in ((lat, 1.0, _north, False), (lon, slope, _east, True)):
        step = min(_STEPS, key=lambda one: abs(one * scale - radius / 2.5))
        first = math.ceil((centre - radius / scale) / step)
        for count in range(first, math.floor((centre + radius / scale) / step) + 1):
            line = np.full(201, count * step)
            along = np.linspace(-radius, radius, 201)
            if upright:
                x, y = projection.forward(line, np.clip(lat + along, -89.99, 89.99))
            else:
                x, y = projection.forward(lon + along / slope, np.clip(line, -89.99, 89.99))
            axes.plot(x, y, color=INK, linewidth=0.4, alpha=0.35)
            seen = np.flatnonzero(np.isfinite(x))
            if seen.size < 20:
                continue
            axes.text(
                float(x[seen[0]]),
                float(y[seen[0]]),
                write(count * step),
                fontsize=7,
                ha="center" if upright else "right",
                va="top" if upright else "center",
                color=INK,
                path_effects=halo,
            )


def _east(lon: float) -> str:
    wrapped = (lon + 180.0) % 360.0 - 180.0
    return f"{abs(wrapped):.4g}° {'W' if wrapped < 0 else 'E'}"


def _north(lat: float) -> str:
    return f"{abs(lat):.4g}° {'S' if lat < 0 else 'N'}"
