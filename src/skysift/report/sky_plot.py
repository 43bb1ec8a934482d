"""Fast pictures of HEALPix maps: a table of cells per projection, then one image."""

from __future__ import annotations

import abc
import functools
import math
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from matplotlib.path import Path

from skysift.grid import Grid, Ordering

MISSING_COLOUR = "#d9dbdf"
_LINE_COLOUR = "#3b4252"
_POLES_ABOVE = 20.0
_CAP_BELOW = 40.0


class AbstractProjection(abc.ABC):
    """A map of the sphere to a plane, longitude growing to the left as seen from inside."""

    @property
    @abc.abstractmethod
    def discs(self) -> tuple[tuple[float, float, float, float], ...]:
        """Outline as ellipses: centre x, centre y, half width, half height."""

    @property
    @abc.abstractmethod
    def labels(self) -> tuple[str, ...]:
        """What to write beside each disc."""

    @abc.abstractmethod
    def inverse(
        self, x: Float[np.ndarray, "*shape"], y: Float[np.ndarray, "*shape"]
    ) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """Longitude and latitude [degrees] of points of the plane, NaN outside the outline."""

    @abc.abstractmethod
    def forward(
        self, lon: Float[np.ndarray, "*shape"], lat: Float[np.ndarray, "*shape"]
    ) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """Points of the plane of longitude and latitude [degrees], NaN where not shown."""

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the plane."""
        left = min(x - a for x, _, a, _ in self.discs)
        right = max(x + a for x, _, a, _ in self.discs)
        bottom = min(y - b for _, y, _, b in self.discs)
        top = max(y + b for _, y, _, b in self.discs)
        return left, right, bottom, top

    @property
    def aspect(self) -> float:
        """Width over height."""
        left, right, bottom, top = self.extent
        return (right - left) / (top - bottom)


@dataclass(frozen=True)
class Mollweide(AbstractProjection):
    """Equal-area picture of the whole sky, centred on longitude and latitude zero.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.2.4.
    """

    @property
    def discs(self) -> tuple[tuple[float, float, float, float], ...]:
        """One ellipse twice as wide as high."""
        return ((0.0, 0.0, 2.0, 1.0),)

    @property
    def labels(self) -> tuple[str, ...]:
        """Nothing: the picture is of the whole sky."""
        return ("",)

    def inverse(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Closed form through the auxiliary angle arcsin(y)."""
        inside = x**2 / 4 + y**2 < 1
        angle = np.arcsin(np.where(inside, y, 0.0))
        lat = np.arcsin((2 * angle + np.sin(2 * angle)) / np.pi)
        lon = -0.5 * np.pi * np.where(inside, x, 0.0) / np.cos(angle)
        return (
            np.where(inside, np.degrees(lon), np.nan),
            np.where(inside, np.degrees(lat), np.nan),
        )

    def forward(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton iterations for the auxiliary angle, quadratic away from the poles."""
        target = np.pi * np.sin(np.radians(lat))
        angle = 2 * np.arcsin(np.clip(2 * np.radians(lat) / np.pi, -1, 1))
        for _ in range(30):
            slope = np.maximum(1 + np.cos(angle), 1e-12)
            angle = np.clip(angle - (angle + np.sin(angle) - target) / slope, -np.pi, np.pi)
        wrapped = (np.asarray(lon) + 180.0) % 360.0 - 180.0
        return -2 * wrapped / 180.0 * np.cos(angle / 2), np.sin(angle / 2)


@dataclass(frozen=True)
class Caps(AbstractProjection):
    """Equal-area discs around one or two directions (Lambert's azimuthal projection).

    Args:
        centres: longitude and latitude [degrees] of one or two directions.
        radius: angle from the centre to the outline [degrees].

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.7.
    """

    centres: tuple[tuple[float, float], ...]
    radius: float

    def __post_init__(self) -> None:
        if not self.centres or not 0 < self.radius <= 180:
            raise ValueError(
                f"radius: expected one or two centres and 0 to 180 degrees, got {self.centres} and "
                f"{self.radius}."
            )

    @property
    def discs(self) -> tuple[tuple[float, float, float, float], ...]:
        """Unit circles side by side."""
        first = -1.04 * (len(self.centres) - 1)
        return tuple((first + 2.08 * i, 0.0, 1.0, 1.0) for i in range(len(self.centres)))

    @property
    def labels(self) -> tuple[str, ...]:
        """N and S for the Galactic poles, else the centre."""
        poles = {90.0: "N", -90.0: "S"}
        return tuple(poles.get(b, f"l = {l:.0f}°, b = {b:.0f}°") for l, b in self.centres)  # noqa: E741

    def inverse(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each point by the disc that holds it."""
        lon, lat = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
        for centre, (x0, y0, _, _) in zip(self.centres, self.discs, strict=True):
            inside = (x - x0) ** 2 + (y - y0) ** 2 < 1
            p, q = (x[inside] - x0) * self._scale, (y[inside] - y0) * self._scale
            square = p**2 + q**2
            root = np.sqrt(1 - square / 4)
            east, north, out = _frame(*centre)
            vector = np.outer(-p * root, east) + np.outer(q * root, north)
            vector += np.outer(1 - square / 2, out)
            lon[inside], lat[inside] = hp.vec2ang(vector, lonlat=True)
        return lon, lat

    def forward(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each direction in the disc whose centre is nearest."""
        vector = np.asarray(hp.ang2vec(np.asarray(lon), np.asarray(lat), lonlat=True)).T
        frames = [_frame(*centre) for centre in self.centres]
        nearest = np.argmax([out @ vector for _, _, out in frames], axis=0)
        x, y = np.full(vector.shape[1:], np.nan), np.full(vector.shape[1:], np.nan)
        for i, (east, north, out) in enumerate(frames):
            cosine = out @ vector
            shown = (nearest == i) & (cosine >= math.cos(math.radians(self.radius)))
            factor = np.sqrt(2 / np.maximum(1 + cosine[shown], 1e-12)) / self._scale
            x[shown] = self.discs[i][0] - (east @ vector[:, shown]) * factor
            y[shown] = self.discs[i][1] + (north @ vector[:, shown]) * factor
        return x, y

    @property
    def _scale(self) -> float:
        return 2 * math.sin(math.radians(self.radius) / 2)


def _frame(lon: float, lat: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to the east, to the north and outwards at a direction [degrees]."""
    a, b = math.radians(lon), math.radians(lat)
    east = np.array([-math.sin(a), math.cos(a), 0.0])
    north = np.array([-math.sin(b) * math.cos(a), -math.sin(b) * math.sin(a), math.cos(b)])
    return east, north, np.cross(east, north)


def choose_projection(grid: Grid) -> AbstractProjection:
    """The projection that shows a cut sky largest.

    One disc for a field of less than 40 degrees radius, two polar discs when the cells keep away
    from the Galactic equator, else the whole sky.
    """
    vectors = grid.vectors()
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length > 0.1:
        centre = mean / length
        radius = math.degrees(math.acos(float(np.clip(np.min(vectors @ centre), -1, 1))))
        if radius < _CAP_BELOW:
            lon, lat = hp.vec2ang(centre, lonlat=True)
            return Caps(((float(lon[0]), float(lat[0])),), min(1.1 * radius + 1.0, 180.0))
    nearest = float(np.min(np.abs(np.degrees(np.arcsin(vectors[:, 2])))))
    if nearest > _POLES_ABOVE:
        return Caps(((0.0, 90.0), (0.0, -90.0)), min(92.0 - nearest, 89.9))
    return Mollweide()


@functools.lru_cache(maxsize=8)
def pixel_table(
    projection: AbstractProjection, nside: int, width: int
) -> Int[np.ndarray, "height width"]:
    """RING number of the cell behind each picture element, -1 outside, first row at the bottom."""
    left, right, bottom, top = projection.extent
    height = max(1, round(width / projection.aspect))
    x = left + (right - left) * (np.arange(width) + 0.5) / width
    y = bottom + (top - bottom) * (np.arange(height) + 0.5) / height
    lon, lat = projection.inverse(*np.meshgrid(x, y))
    inside = np.isfinite(lon)
    table = np.full((height, width), -1, dtype=np.int64)
    table[inside] = hp.ang2pix(nside, lon[inside], lat[inside], lonlat=True)
    table.flags.writeable = False
    return table


def project(
    values: Float[np.ndarray, " cell"] | Int[np.ndarray, " cell"],
    grid: Grid,
    projection: AbstractProjection,
    width: int = 800,
) -> np.ma.MaskedArray:
    """Picture of the values of a grid's cells.

    Args:
        values: one per kept cell.
        grid: where the cells are.
        projection: of the sphere.
        width: of the picture in elements.

    Returns:
        `(height, width)`, masked outside the projection, outside the grid and where not finite.

    Raises:
        ValueError: if there is not one value per cell.

    Examples:
        >>> picture = project(np.arange(12.0), Grid(1), Mollweide(), width=8)
        >>> picture.shape, float(picture[1, 0]), bool(picture.mask[0, 0])
        ((4, 8), 6.0, True)
    """
    values = np.asarray(values)
    if values.shape != (grid.size,):
        raise ValueError(
            f"values: expected one number for each of {grid.size} cells, got shape {values.shape}."
        )
    nside = grid.require_nside()
    table = pixel_table(projection, nside, width)
    # A search, because a full sky of fine cells would not fit into memory.
    index = _ring_index(grid)
    order = np.argsort(index)
    place = order[np.minimum(np.searchsorted(index, table, sorter=order), grid.size - 1)]
    found = values[place].astype(float)
    hidden: Bool[np.ndarray, "height width"] = (index[place] != table) | ~np.isfinite(found)
    return np.ma.MaskedArray(found, mask=hidden)


def _ring_index(grid: Grid) -> Int[np.ndarray, " cell"]:
    return grid.index if grid.ordering is Ordering.RING else grid.ring


def draw_sky(
    axes: Axes,
    values: Float[np.ndarray, " cell"] | Int[np.ndarray, " cell"],
    grid: Grid,
    projection: AbstractProjection,
    colours: Colormap,
    norm: Normalize,
    width: int = 800,
) -> AxesImage:
    """Draw a map on bare axes: missing cells light grey, a faint grid every 30 or 60 degrees.

    Returns:
        The image, for a colour bar.
    """
    left, right, bottom, top = projection.extent
    picture = project(values, grid, projection, width)
    image = axes.imshow(
        picture,
        origin="lower",
        extent=(left, right, bottom, top),
        cmap=colours.with_extremes(bad=MISSING_COLOUR),
        norm=norm,
        interpolation="nearest",
    )
    margin = 0.012 * (top - bottom)
    axes.set(
        xlim=(left - margin, right + margin), ylim=(bottom - margin, top + margin), aspect="equal"
    )
    axes.set_axis_off()
    outlines = [Ellipse((x, y), 2 * a, 2 * b) for x, y, a, b in projection.discs]
    for (x, y, a, b), label in zip(projection.discs, projection.labels, strict=True):
        axes.text(x - a, y + b, label, ha="left", va="top", fontsize="small", color=_LINE_COLOUR)
    _clip(axes, image, outlines)
    _graticule(axes, projection)
    return image


def _clip(axes: Axes, image: AxesImage, outlines: list[Ellipse]) -> None:
    """Smooth edge: the picture is clipped to its outline, which is then drawn as a line."""
    for outline in outlines:
        outline.set(facecolor="none", edgecolor=_LINE_COLOUR, linewidth=0.7)
        axes.add_patch(outline)
    paths = [
        outline.get_patch_transform().transform_path(outline.get_path()) for outline in outlines
    ]
    image.set_clip_path(Path.make_compound_path(*paths), axes.transData)


def _graticule(axes: Axes, projection: AbstractProjection) -> None:
    style = {"color": _LINE_COLOUR, "linewidth": 0.35, "alpha": 0.3}
    fine = np.linspace(-179.99, 179.99, 361)
    for lat in range(-60, 61, 30):
        axes.plot(*projection.forward(fine, np.full(fine.shape, float(lat))), **style)
    steep = np.linspace(-90, 90, 181)
    for lon in range(-180, 180, 60):
        axes.plot(*projection.forward(np.full(steep.shape, float(lon)), steep), **style)
