"""Does a separation on eight devices give what one device gives?

PTEP-64 and a set of 16 realisations on eight forced host devices, against one of them. Writes
`devices.md`.

    python benchmarks/validation/devices.py
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np

import skysift as ss
from skysift.compsep import pose, solve
from skysift.cosmology import monte_carlo

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from problems import ptep64  # noqa: E402


def main() -> None:
    """Run both, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/validation/devices.md")
    arguments = parser.parse_args()
    assert len(jax.local_devices()) == 8
    rows = [separation(), realisations()]
    arguments.output.write_text(page(rows), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def separation() -> tuple[str, float, float, float]:
    """PTEP-64: cells and blocks over the devices."""
    reference = ptep64()
    problem = pose(reference.maps, **reference.arguments)
    fits, seconds = [], []
    for device in (jax.local_devices()[0], None):
        with jax.default_device(device):
            solve(problem)
            begun = time.perf_counter()
            fits.append(solve(problem))
            seconds.append(time.perf_counter() - begun)
    worst = max(
        largest(one, two)
        for one, two in (
            (fits[0].theta, fits[1].theta),
            (fits[0].components["cmb"].values, fits[1].components["cmb"].values),
            (fits[0].objective, fits[1].objective),
        )
    )
    return "PTEP-64: cells and blocks of patches", worst, *seconds


def realisations() -> tuple[str, float, float, float]:
    """Sixteen realisations, one on each device at a time."""
    sim = ss.simulate("c1d1s1", "LiteBIRD", nside=16)
    mask = ss.galactic_mask("GAL060", 16)
    patches = ss.Patches.kmeans(mask, beta_dust=50, temp_dust=20, beta_pl=20)
    problem = pose(sim.maps.masked(mask), "LiteBIRD", patches=patches)
    sky = ss.Realisations.of(sim.masked(mask), ss.Vary.CMB)
    sets, seconds = [], []
    for device in (jax.local_devices()[0], None):
        with jax.default_device(device):
            monte_carlo(problem, sky, range(8))
            begun = time.perf_counter()
            sets.append(monte_carlo(problem, sky, range(16)))
            seconds.append(time.perf_counter() - begun)
    worst = max(
        largest(sets[0].parameters["beta_dust"], sets[1].parameters["beta_dust"]),
        largest(sets[0].cmb.values, sets[1].cmb.values),
        largest(sets[0].objective, sets[1].objective),
    )
    return "16 realisations, nside 16", worst, *seconds


def largest(one: np.ndarray | float, two: np.ndarray | float) -> float:
    """Largest difference relative to the numbers themselves."""
    a, b = np.asarray(one), np.asarray(two)
    known = a != b
    return float(np.max(np.abs(a[known] / b[known] - 1.0), initial=0.0))


def page(rows: list[tuple[str, float, float, float]]) -> str:
    """The page."""
    lines = [
        "# Several devices",
        "",
        "Eight forced host devices share the cores of one machine: they are no faster, but the",
        "numbers must be those of one device. Times are of warm runs.",
        "",
        "| | largest relative difference | seconds on one | seconds on eight |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {worst:.1e} | {one:.2f} | {many:.2f} |" for name, worst, one, many in rows
    ]
    return "\n".join([*lines, "", "Repeat with `python benchmarks/validation/devices.py`.", ""])


if __name__ == "__main__":
    main()
