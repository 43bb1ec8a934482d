"""Which wave numbers do wavelets see, and how do they look?

The Littlewood-Paley partition of each family: the sum of the squares of all wavelets, in which each
mode should count alike. Writes `wavelets.md` and a picture.

    python benchmarks/validation/wavelets.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skysift.scattering import BumpSteerable, Morlet, Steerable
from skysift.scattering.plane.bank import Bank, BankShape, make_bank, scale_windows
from skysift.scattering.plane.wavelets import AbstractWavelet
from skysift.scattering.sphere.bank import SphereBank, ell_of

ROOT = Path(__file__).parents[2]
SIDE, SCALES, ORIENTATIONS = 256, 6, 4
LMAX = 128


@dataclass(frozen=True)
class Partition:
    """Squares of wavelets, summed over orientations.

    Args:
        name: of the family.
        at: wave numbers over the largest, or multipoles over `lmax`.
        scales: of each scale, `(scale, at)`.
        lowest: smallest sum between the centres of the coarsest and the finest scale.
        highest: largest sum there.
    """

    name: str
    at: np.ndarray
    scales: np.ndarray
    lowest: float
    highest: float


def on_the_plane(name: str, shape: tuple[int, ...], wavelet: AbstractWavelet) -> Partition:
    """The partition of wavelets of a flat grid, mean over directions."""
    orientations = 1 if len(shape) == 1 else ORIENTATIONS
    scales = min(SCALES, int(np.log2(min(shape))) - 2)
    bank = make_bank(BankShape(shape, scales, orientations), wavelet)
    windows, k = scale_windows(bank)
    # Both of a wave vector and its opposite: one half space each.
    windows = 2.0 * orientations * windows
    total = windows.sum(axis=0)
    centres = np.array([np.sum(one * k) / np.sum(one) for one in windows])
    between = (k > centres.min()) & (k < centres.max())
    edges = np.linspace(0.0, np.pi, 129)
    which = np.digitize(k.ravel(), edges) - 1
    found = [i for i in range(128) if np.any(which == i)]
    rows = [[one.ravel()[which == i].mean() for i in found] for one in windows]
    at = (edges[:-1] + edges[1:])[found] / 2.0 / np.pi
    return Partition(name, at, np.array(rows), total[between].min(), total[between].max())


def on_the_sphere(name: str, bank: SphereBank) -> Partition:
    """The partition of wavelets of the sphere."""
    ell = np.arange(bank.lmax + 1)
    windows = np.stack([bank.window(scale) ** 2 for scale in range(bank.scales)])
    total = windows.sum(axis=0)
    between = (ell >= bank.centre(bank.scales - 1)) & (ell <= bank.lmax)
    return Partition(name, ell / bank.lmax, windows, total[between].min(), total[between].max())


def flat_wavelet(bank: Bank, scale: int) -> np.ndarray:
    """Real part of a wavelet in the middle of a plane."""
    modes = jnp.ones(bank.sizes.shape) / SIDE**2
    values = np.real(np.asarray(bank.coefficients(modes, scale)[1]))
    wide = 32
    return np.roll(values, wide // 2, axis=(0, 1))[:wide, :wide]


def sphere_wavelet(bank: SphereBank, scale: int) -> np.ndarray:
    """Real part of a wavelet near the pole, seen from above."""
    ell = ell_of(bank.lmax)
    m = hp.Alm.getlm(bank.lmax)[1]
    # Of the complex wavelet with coefficients c_m = c_-m, even m are the real part.
    nside, side, wide = 128, 129, 0.25
    x, y = np.meshgrid(np.linspace(-wide, wide, side), np.linspace(-wide, wide, side))
    z = np.sqrt(1.0 - x**2 - y**2)
    angular = bank.wavelet.angular()
    window = bank.window(scale)[ell] * np.sqrt(2.0 * ell + 1.0)
    even = (m <= bank.order) & (m % 2 == 0)
    alm = np.where(even, angular[np.minimum(m, bank.order)] * window, 0.0)
    field = hp.alm2map(alm.astype(complex), nside, lmax=bank.lmax)
    return hp.get_interp_val(
        field, *hp.vec2ang(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    ).reshape(side, side)


def curves(axes: Axes, partition: Partition, label: str) -> None:
    """Each scale, and their sum."""
    for row in partition.scales:
        axes.plot(partition.at, row, color="C0", lw=1)
    axes.plot(partition.at, partition.scales.sum(axis=0), "k", label="sum")
    axes.set(title=partition.name, xlabel=label, xscale="log", ylim=(0.0, None))
    axes.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    out = parser.parse_args().out
    flat = make_bank(BankShape((SIDE, SIDE), SCALES, ORIENTATIONS), BumpSteerable())
    sphere = SphereBank(LMAX, 6, Steerable())
    shown = [
        on_the_plane("BumpSteerable", (SIDE, SIDE), BumpSteerable()),
        on_the_plane("Morlet", (SIDE, SIDE), Morlet()),
        on_the_sphere("Steerable, sphere", sphere),
    ]
    others = [
        on_the_plane("BumpSteerable, on a line", (SIDE,), BumpSteerable()),
        on_the_plane("BumpSteerable, in space", (64, 64, 64), BumpSteerable()),
    ]
    figure = Figure(figsize=(13, 7), layout="constrained")
    above, below = figure.subplots(2, 3)
    labels = ("wave number / Nyquist", "wave number / Nyquist", "multipole / lmax")
    for axes, partition, label in zip(above, shown, labels, strict=True):
        curves(axes, partition, label)
    morlet = make_bank(BankShape((SIDE, SIDE), SCALES, ORIENTATIONS), Morlet())
    pictures = (flat_wavelet(flat, 2), flat_wavelet(morlet, 2), sphere_wavelet(sphere, 2))
    for axes, picture in zip(below, pictures, strict=True):
        top = np.abs(picture).max()
        axes.imshow(picture, vmin=-top, vmax=top, cmap="RdBu", origin="lower")
        axes.set_axis_off()
    figure.savefig(out / "wavelets.png", dpi=90)
    lines = ["# Wavelets", ""]
    lines += [
        "Written by `benchmarks/validation/wavelets.py`. Squares of all wavelets, summed over"
    ]
    lines += [
        "scales and directions, between the centres of the coarsest and the finest scale: where"
    ]
    lines += [
        "the sum is 1 every mode counts alike. What is not covered there and beyond is in the"
    ]
    lines += ["statistics as `rest`. On the plane the sum depends on the direction as well.", ""]
    lines += ["| family | lowest sum | highest sum |", "| --- | ---: | ---: |"]
    for one in (*shown, *others):
        lines += [f"| {one.name} | {one.lowest:.3f} | {one.highest:.3f} |"]
    lines += ["", "![Partitions and wavelets](wavelets.png)", ""]
    lines += ["Above the squares of each scale and their sum, below the real part of a wavelet."]
    lines += ["Other profiles are classes of `AbstractWavelet` and `AbstractSphereWavelet`.", ""]
    lines += ["Repeat with `python benchmarks/validation/wavelets.py`.", ""]
    (out / "wavelets.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
