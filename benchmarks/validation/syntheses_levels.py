"""What do coarser grids first do for syntheses?

Two fields of `syntheses.py` that do not reach its tolerance, and one that does, from the same seed
on one grid and from coarse to fine ones. Writes `syntheses-levels.md`.

    python benchmarks/validation/syntheses_levels.py --data DATA
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from syntheses import EXAMPLES, METRIC, ROOT, Example, framed, statistic_of

from skysift import scattering
from skysift.scattering.domain import AbstractDomain, Flat, Sphere
from skysift.scattering.statistic import AbstractStatistic

SHOWN = (0, 2, 4)
AFTER = (25, 100, 250)


@dataclass(frozen=True)
class Way:
    """How a sample was made.

    Args:
        grids: number of them.
        history: objective at each iteration on the finest.
        seconds: of the CPU, with compilation.
    """

    grids: int
    history: np.ndarray
    seconds: float


def levels(example: np.ndarray, statistic: AbstractStatistic, most: int) -> list[scattering.Level]:
    """What samples are to have on coarser grids, as long as cells are even."""
    found, domain = [], statistic.domain
    for count in range(1, most):
        small = halved(domain, 2**count)
        if small is None:
            break
        values = scattering.coarsened(example, domain, small)
        kept = np.isfinite(values)
        own = statistic_of(values, kept)
        target = own(np.where(kept, values, np.float32(0.0)))
        found.insert(0, scattering.Level(target, own, METRIC))
    return found


def halved(domain: AbstractDomain, factor: int) -> AbstractDomain | None:
    """The domain with fewer cells, if there is one."""
    if isinstance(domain, Sphere):
        return dataclasses.replace(domain, nside=domain.nside // factor, lmax=domain.lmax // factor)
    assert isinstance(domain, Flat)
    if any(cells % factor for cells in domain.shape):
        return None
    return dataclasses.replace(domain, shape=tuple(cells // factor for cells in domain.shape))


def made(example: Example, data: Path, most: int) -> Way:
    """One sample."""
    values = framed(example, data)
    kept = np.isfinite(values)
    statistic = statistic_of(values, kept)
    begun = time.process_time()
    coarser = levels(values, statistic, most)
    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        twin = scattering.synthesise(
            statistic(np.where(kept, values, np.float32(0.0))),
            statistic,
            seed=0,
            metric=METRIC,
            coarser=coarser,
            tolerance=0.02,
            sampler=scattering.LBFGS(max_iter=max(AFTER)),
            floor=float(values[kept].min()) if example.blank else None,
        )
    return Way(1 + len(coarser), twin.history[0], time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the examples")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = ["# From coarse to fine", ""]
    lines += [
        "Written by `benchmarks/validation/syntheses_levels.py`: one sample each of fields of"
    ]
    lines += [
        "[Syntheses of real fields](syntheses.md), from the same seed, on one grid and on up to"
    ]
    lines += [
        "three, each with half the cells of the next along an axis. Iterations are those on the"
    ]
    lines += ["finest grid, of the objective the value after so many (0.02 is where they stop);"]
    lines += ["seconds are of the CPU, with the compilation for every grid.", ""]
    lines += [
        "| field | grids | iterations | " + " | ".join(f"after {n}" for n in AFTER) + " | CPU s |"
    ]
    lines += ["| --- |" + " ---: |" * (3 + len(AFTER))]
    for number in SHOWN:
        example = EXAMPLES[number]
        for most in (1, 3):
            way = made(example, options.data, most)
            after = [f"{way.history[:n].min():.3g}" for n in AFTER]
            row = [
                example.name,
                f"{way.grids}",
                f"{len(way.history)}",
                *after,
                f"{way.seconds:.0f}",
            ]
            lines += [f"| {' | '.join(row)} |"]
            print(lines[-1], flush=True)
    lines += ["", "Repeat with `python benchmarks/validation/syntheses_levels.py --data DATA`.", ""]
    (options.out / "syntheses-levels.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
