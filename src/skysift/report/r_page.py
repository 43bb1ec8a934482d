"""One self-contained HTML page about a measurement of the tensor-to-scalar ratio."""

from __future__ import annotations

from skysift.cosmology import TensorRatio
from skysift.report import r_figures
from skysift.report.sheet import Origin, Picture, Sheet, Tile, render_sheet


def render_r(
    result: TensorRatio, *, source: str = "", command: str = "", truth: float | None = None
) -> str:
    """The page as HTML; it needs neither network nor scripts.

    Args:
        result: of one realisation.
        source: what was measured.
        command: what to type to repeat it.
        truth: value that went in, where it is known.

    Raises:
        ValueError: for several realisations.
    """
    return render_sheet(
        Sheet(
            title="Tensor-to-scalar ratio",
            lead=f"{source} · {result.name} likelihood",
            verdict=f"r = {result.r:.5f} +{result.sigma_plus:.5f} −{result.sigma_minus:.5f}",
            good=True,
            tiles=tuple(r_tiles(result)),
            pictures=tuple(_pictures(result, truth)),
            soft="Tensors have n_t = 0, pivot 0.05 / Mpc.",
            notes=result.notes,
            origin=Origin(command=command),
        )
    )


def r_tiles(result: TensorRatio) -> list[Tile]:
    """The measurement in numbers."""
    low, high = result.limits(0.95)
    power = result.power
    fitted = result.a_lens_error > 0
    lensing = f"{result.a_lens:.3f}" + (f" ± {result.a_lens_error:.3f}" if fitted else "")
    return [
        Tile(
            "r",
            f"{result.r:.5f} +{result.sigma_plus:.5f} −{result.sigma_minus:.5f}",
            "maximum of the likelihood, 68 % interval" + (", r ≥ 0" if result.physical else ""),
        ),
        Tile("95 % interval", f"{low:.5f} to {high:.5f}", "around the maximum"),
        Tile("95 % upper limit", f"{result.upper(0.95):.5f}", "one-sided"),
        Tile("lensing amplitude", lensing, "marginalised over" if fitted else "held"),
        Tile(
            "multipoles",
            f"{power.ell[0]:g} to {power.ell[-1]:g}",
            f"{power.ell.size} bins, {power.dof.sum():,.0f} modes",
        ),
    ]


def _pictures(result: TensorRatio, truth: float | None) -> list[Picture]:
    plans = (
        (
            "likelihood",
            "Likelihood",
            "Dark: 68 % of the probability on each side of the maximum, light: 95 %. A curve that "
            "ends above zero was cut by the bound r ≥ 0.",
            r_figures.likelihood(result, truth),
        ),
        (
            "spectrum",
            "B-mode power",
            "Observed power with the scatter expected at the best fit; the points should lie about "
            "the black line, as many above as below. Where they leave it at low multipoles, look "
            "for foregrounds.",
            r_figures.spectrum(result),
        ),
    )
    return [Picture.of(*plan) for plan in plans]
