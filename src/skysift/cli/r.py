"""skysift r."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, typed_command
from skysift.cosmology.measure import Form, RSettings
from skysift.cosmology.tensor_ratio import FreeLensing

if TYPE_CHECKING:
    from skysift.cosmology import TensorRatio
    from skysift.experiment.tensor_ratio import RNoise

EXAMPLES = """
Examples:

    skysift r runs/kmeans -o r
    skysift r cmb.fits --noise-depth 3 --mask GAL060 --a-lens free -o r
    skysift r half1.fits --split half2.fits --noise-map sigma.fits --mask GAL060-sources.fits
    skysift r cl_bb.txt --noise-depth 3 --fsky 0.6 --lmax 128
"""

TABLE, PAGE = "r.nc", "r.html"


@Parameter(name="*")
@dataclass(frozen=True)
class RNoiseOptions:
    """What is known of the noise.

    Args:
        noise_depth: white noise of the map or spectra [uK_CMB arcmin], 0 for none; with --split of
            each map.
        noise_map: FITS map of the noise's standard deviation in each cell [uK_CMB].
        noise_spectrum: file of the noise's power, in the form of the spectra.
    """

    noise_depth: float | None = None
    noise_map: Path | None = None
    noise_spectrum: Path | None = None

    @property
    def noise(self) -> RNoise:
        """As the measurement takes it."""
        from skysift.experiment.tensor_ratio import RNoise

        return RNoise(self.noise_depth, self.noise_map, self.noise_spectrum)


@Parameter(name="*")
@dataclass(frozen=True)
class ROptions:
    """How r is measured.

    Args:
        lmin: smallest multipole; left out, 2, and 12 on a cut sky.
        lmax: largest multipole; left out, 2 nside, or the last of the spectra.
        a_lens: amplitude of the lensing B modes, or free to marginalise over it.
        range: of r to look at first; it is widened where the likelihood goes on.
        likelihood: fsky (Wishart, modes counted by the sky fraction) or hl (Hamimeche-Lewis with
            simulated covariance); left out, hl for maps of a cut sky, else fsky.
        apodise: width of the mask's smooth edge [degrees].
        physical: keep r from falling below zero, for upper limits.
        simulations: for the covariance of hl.
        seed: of the simulations.
    """

    lmin: int | None = None
    lmax: int | None = None
    a_lens: str = "1"
    range: tuple[float, float] | None = None
    likelihood: Form | None = None
    apodise: float | None = None
    physical: Annotated[bool, Parameter(negative="")] = False
    simulations: int = 300
    seed: int = 0

    @property
    def settings(self) -> RSettings:
        """As the measurement takes them.

        Raises:
            ValueError: for an a_lens that is neither a number nor free.
        """
        from skysift.harmonic import PseudoOptions

        return RSettings(
            lmin=self.lmin,
            lmax=self.lmax,
            a_lens=_a_lens(self.a_lens),
            r_range=self.range,
            physical=self.physical,
            form=self.likelihood,
            spectra=PseudoOptions(lmax=self.lmax, apodisation=self.apodise),
            simulations=self.simulations,
            seed=self.seed,
        )


def r(
    source: Path,
    *,
    noise: RNoiseOptions = RNoiseOptions(),
    mask: str = "ALL",
    split: Path | None = None,
    fsky: float | None = None,
    how: ROptions = ROptions(),
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> Done:
    """Measure the tensor-to-scalar ratio of a map of the CMB, a spectrum, or a separation.

    Prints r with its intervals, and writes r.html (figures), r.nc (numbers), likelihood.png and
    spectrum.png into the directory that -o names.

    Args:
        source: directory that skysift separate wrote, FITS map of Q and U (or I, Q, U), or a file
            of spectra: bandpowers (.nc), or C_l as .npy, text or FITS.
        mask: cells of a map to use: ALL, GAL020 to GAL090, halves _U and _L, FITS files, joined by
            + and -.
        noise: what is known of it.
        split: second map of the same sky with independent noise, for spectra without noise bias.
        fsky: fraction of the sky behind C_l.
        how: settings of the measurement.
        output: directory for page, numbers and pictures.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """
    options = Options(output=output, debug=debug, quiet=quiet)
    options.set_up()
    from skysift.experiment.tensor_ratio import tensor_ratio_of

    result = tensor_ratio_of(source, noise.noise, how.settings, mask=mask, split=split, fsky=fsky)
    if output is not None:
        _write(output, result, source)
    for note in result.notes:
        options.say(f"note: {note}")
    options.say(r_table(result, source, output))
    return Done()


def r_table(result: TensorRatio, source: Path, output: Path | None) -> Table:
    """The measurement in numbers.

    Args:
        result: of one realisation.
        source: what was measured.
        output: where the page is, if anywhere.
    """
    power = result.power
    table = Table(
        title=f"tensor-to-scalar ratio of {source}",
        caption=None if output is None else f"report: {output / PAGE}",
        title_justify="left",
        caption_justify="left",
        show_header=False,
    )
    table.add_column()
    table.add_column()
    low, high = result.limits(0.95)
    table.add_row("r", f"{result.r:.5f}  +{result.sigma_plus:.5f}  -{result.sigma_minus:.5f}")
    table.add_row("95 % interval", f"{low:.5f} to {high:.5f}")
    table.add_row("95 % upper limit", f"{result.upper(0.95):.5f}")
    held = "" if result.a_lens_error > 0 else "  (held)"
    error = f"  +-{result.a_lens_error:.4f}" if result.a_lens_error > 0 else ""
    table.add_row("lensing amplitude", f"{result.a_lens:.4f}{error}{held}")
    table.add_row("multipoles", f"{power.ell[0]:g} to {power.ell[-1]:g}, {power.ell.size} bins")
    table.add_row("modes", f"{power.dof.sum():.0f}")
    table.add_row("likelihood", result.name + (", r >= 0" if result.physical else ""))
    return table


def _write(folder: Path, result: TensorRatio, source: Path) -> None:
    from skysift.files import atomic
    from skysift.report import r_figures
    from skysift.report.r_page import render_r
    from skysift.report.style import png
    from skysift.store.dataset import write_dataset

    write_dataset(folder / TABLE, result.to_dataset())
    page = render_r(result, source=str(source), command=typed_command())
    with atomic(folder / PAGE) as file:
        file.write_text(page, encoding="utf-8")
    for name, draw in (("likelihood", r_figures.likelihood), ("spectrum", r_figures.spectrum)):
        with atomic(folder / f"{name}.png") as file:
            file.write_bytes(png(draw(result)))


def _a_lens(text: str) -> float | FreeLensing:
    if text.strip().lower() == "free":
        return FreeLensing()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a_lens: expected a number not below zero or 'free', got {text!r}.")
    return value
