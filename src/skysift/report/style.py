"""One look for all figures, applied in a context and never globally."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

INK = "#23272f"
BLUE = "#2166ac"
RED = "#b2182b"
ORANGE = "#d98207"
GREY = "#8a909c"
SERIES = (BLUE, ORANGE, "#2a8c6a", "#7b4ea3", RED, GREY)

WIDTH = 10.0
"""Width of every figure [inch]."""

_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e6ea",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib settings of the report for the time of the context."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure that no global state knows of; call it inside `styled`."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG file with a palette of 256 colours: noisy maps shrink to a third."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with styled(), io.BytesIO() as stream:
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        palette = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        palette.save(stream, "PNG", optimize=True)
        return stream.getvalue()


def robust_range(values: Float[np.ndarray, "..."], tail: float = 1.0) -> tuple[float, float]:
    """Range that leaves out `tail` percent of the finite values at each end.

    Examples:
        >>> robust_range(np.arange(101.0))
        (1.0, 99.0)
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, [tail, 100 - tail]))
    if low < high:
        return low, high
    # A constant map still needs a colour bar with room on both sides.
    room = 0.5 * max(abs(low) * 0.02, 1e-12)
    return low - room, high + room


def sequential(values: Float[np.ndarray, "..."]) -> Normalize:
    """Colour scale of a quantity without a natural zero."""
    return Normalize(*robust_range(values))


def diverging(values: Float[np.ndarray, "..."], tail: float = 1.0) -> Normalize:
    """Colour scale of a signed quantity, symmetric about zero."""
    limit = robust_range(np.abs(values), tail)[1]
    return Normalize(-limit, limit)


def shuffled_colours(count: int, seed: int = 7) -> ListedColormap:
    """One colour for each of `count` patches, neighbours in number being unlike each other."""
    names = ("tab20", "tab20b", "tab20c")
    base = np.concatenate([mpl.colormaps[name](np.arange(20)) for name in names])
    order = np.random.default_rng(seed).permutation(count)
    return ListedColormap(base[order % len(base)], name="patches")


def unit_text(unit: str) -> str:
    """A unit as labels show it."""
    return unit.replace("uK_CMB", r"µK$_\mathrm{CMB}$")


def colour_bar(axes: Axes, mappable: ScalarMappable, label: str, shrink: float = 0.72) -> None:
    """A thin horizontal colour bar below the axes."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    bar = figure.colorbar(
        mappable,
        ax=axes,
        orientation="horizontal",
        shrink=shrink,
        aspect=32,
        pad=0.02,
        extend="both",
        extendfrac=0.025,
    )
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=2.5, width=0.5, pad=2)
    bar.ax.locator_params(nbins=5)
    bar.set_label(label, fontsize=8.5, labelpad=2)
