"""Are scattering statistics of a part of the sky those of all of it?

Statistics of Gaussian fields on the full sky and without a band of 20 degrees on either side of the
equator, of the same fields. Writes `scattering-masks.md`.

    taskset -c 0 python benchmarks/validation/scattering_masks.py --fields 640
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np

from skysift.scattering import Covariance, Statistics
from skysift.scattering.statistic import AbstractStatistic

NSIDE, SCALES, BATCH = 32, 4, 40


def fields(count: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Maps of Gaussian fields with C_l as (l + 2)^-slope."""
    lmax = 2 * NSIDE
    ell, m = hp.Alm.getlm(lmax)
    real, imaginary = rng.standard_normal((2, count, ell.size)) / np.sqrt(2.0)
    alm = np.where(m == 0, np.sqrt(2.0) * real, real + 1j * imaginary)
    alm *= (ell > 0) * (ell + 2.0) ** (-0.5 * slope)
    return np.asarray(hp.alm2map(list(alm), NSIDE, lmax=lmax, pol=False))


def rows(whole: list[Statistics], part: list[Statistics]) -> list[tuple[str, np.ndarray]]:
    """Change of each kind of numbers, over their mean on the full sky, field by field."""
    layout = whole[0].layout
    found = []
    for order in ("S1", "S2"):
        full, cut = (np.concatenate([np.asarray(one[order]) for one in s]) for s in (whole, part))
        found += [
            (f"{order}, scale {scale}", (cut - full)[:, scale] / full[:, scale].mean())
            for scale in range(SCALES)
        ]
    full, cut = (np.concatenate([np.asarray(one["rest"]) for one in s]) for s in (whole, part))
    found.append(("power below the coarsest scale", (cut - full)[:, -1] / full[:, -1].mean()))
    table = layout["S4"]
    full, cut = (np.concatenate([np.asarray(one["S4"]) for one in s]) for s in (whole, part))
    own = np.ones(table.size, dtype=bool)
    for axis in ("scale", "harmonic", "part"):
        own &= table.column(f"{axis}2") == table.column(f"{axis}3")
    for scale in range(SCALES):
        for harmonic in (0, 2, 4):
            chosen = (table.column("scale") == scale) & (table.column("harmonic2") == harmonic)
            chosen &= own
            change = np.mean((cut - full)[:, chosen] / full[:, chosen].mean(axis=0), axis=1)
            found.append((f"S4 of a modulus with itself, band {scale}, q = {harmonic}", change))
    return found


def cpu(statistic: AbstractStatistic, maps: np.ndarray) -> float:
    """CPU milliseconds of the statistics of a map."""
    statistic(maps)
    seconds = []
    for _ in range(10):
        start = time.process_time()
        jax.block_until_ready(statistic(maps).vector)
        seconds.append(time.process_time() - start)
    return 1e3 * float(np.median(seconds))


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fields", type=int, default=640)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    theta, _ = hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2))
    weights = (np.abs(np.degrees(theta) - 90.0) > 20.0).astype(float)
    full = Covariance.sphere(NSIDE, SCALES)
    start = time.process_time()
    masked = Covariance.sphere(NSIDE, SCALES, weights=weights)
    ready = time.process_time() - start
    columns = []
    for slope in (2.0, 3.5):
        rng = np.random.default_rng(1)
        whole, part, reference = [], [], None
        for _ in range(options.fields // BATCH):
            maps = fields(BATCH, slope, rng)
            reference = full(maps).mean() if reference is None else reference
            whole.append(full(maps, reference=reference))
            part.append(masked(maps, reference=reference))
        columns.append(rows(whole, part))
    one = np.asarray(jnp.asarray(fields(1, 2.0, np.random.default_rng(2)))[0])
    times = [cpu(statistic, one) for statistic in (full, masked)]
    lines = ["# Scattering statistics of a part of the sky", ""]
    lines += [f"Written by `benchmarks/validation/scattering_masks.py`: {options.fields} Gaussian"]
    lines += [f"fields at nside {NSIDE}, {SCALES} scales, without 20 degrees on either side of the"]
    lines += [
        "equator (34 % of the sky). Mean of the statistics of the part less those of the full"
    ]
    lines += ["sky of the same fields, over the latter, in percent, with its standard error;"]
    lines += ["beside it the scatter of the difference in one field.", ""]
    lines += ["| | C_l as l^-2 | of one field | C_l as l^-3.5 | of one field |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for number, (name, _) in enumerate(columns[0]):
        cells = []
        for column in columns:
            change = 100.0 * column[number][1]
            scatter = change.std(ddof=1)
            error = scatter / np.sqrt(change.size)
            cells += [f"{change.mean():+.2f} ± {error:.2f}", f"{scatter:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"One map takes {times[0]:.0f} ms of CPU on the full sky, and {times[1]:.0f} ms"]
    lines += [f"with the mask, which is ready after {ready:.0f} s, with compilation."]
    lines += ["", "Repeat with `python benchmarks/validation/scattering_masks.py`.", ""]
    (options.out / "scattering-masks.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
