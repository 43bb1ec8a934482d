"""Draw the picture of the README from a run.

    python tools/make_readme_image.py demo/ptep docs/images/ptep.png

Input and estimate of each spectral parameter, and of the CMB's Q, on the fitted cells.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from skysift.experiment.replay import stored_report
from skysift.report.data import ReportData
from skysift.report.sky_plot import choose_projection, draw_sky
from skysift.report.style import colour_bar, diverging, new_figure, png, sequential, styled
from skysift.store.run import Run

LABELS = {
    "beta_dust": "spectral index of dust",
    "temp_dust": "temperature of dust [K]",
    "beta_pl": "spectral index of synchrotron",
}


def picture(data: ReportData) -> bytes:
    """PNG file: input above, estimate below."""
    projection = choose_projection(data.grid)
    cmb = next(component for component in data.components if component.name == "cmb")
    assert cmb.truth is not None
    pairs = [(LABELS[p.name], "viridis", p.truth, p.map) for p in data.parameters]
    pairs.append((r"CMB, Q [µK$_\mathrm{CMB}$]", "RdBu_r", cmb.truth[0], cmb.values[0]))
    with styled():
        figure = new_figure(2.9)
        panels = figure.subplots(2, len(pairs))
        for column, (label, colours, truth, estimate) in zip(panels.T, pairs, strict=True):
            both = np.concatenate([truth, estimate])
            norm = diverging(both) if colours == "RdBu_r" else sequential(both)
            image = None
            for axes, values in zip(column, (truth, estimate), strict=True):
                image = draw_sky(
                    axes, values, data.grid, projection, mpl.colormaps[colours], norm, 420
                )
            column[0].set_title(label, fontsize="medium")
            colour_bar(column[1], image, "", 0.8)
        for axes, text in zip(panels[:, 0], ("input", "estimate"), strict=True):
            axes.text(-0.04, 0.5, text, rotation=90, va="center", transform=axes.transAxes)
        return png(figure, dpi=130)


def main() -> None:
    """Read the run, draw, write."""
    source, target = (Path(word) for word in sys.argv[1:])
    content = picture(stored_report(Run.open(source)))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    print(f"{target}: {len(content)} bytes")


if __name__ == "__main__":
    main()
