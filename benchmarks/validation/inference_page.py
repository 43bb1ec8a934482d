"""Tables, picture and model cards of `inference.py`."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt

from skysift.inference.model import Family

HEAD = """# Networks on the sphere

Written by `benchmarks/validation/inference.py`: for each test the network that
`skysift.inference.Network.of` takes, trained on {cores} core(s) with maps drawn on the fly, and tested on
{tests} maps that it has not seen. Errors are means of |estimate - truth| / truth over the prior, the
estimate being the mean of the posterior; limits are those of [Limits of inference](limits.md).
Coverage is of the central 68 % interval. Time is of set-up, maps and training.

![errors over limits](inference.png)
"""  # noqa: E501

PHYSICAL = """
## T1, T2 and T3

Published: SpectralCNN (torch-harmonics-healpix; of T2 and T3 on other maps, see below), NNhealpix and MCMC
(Krachmalnicoff & Tomasi 2019), fit (the chi-square fit of torch-harmonics-healpix).

| test | error [%] | limit [%] | over limit | coverage | worst bias [errors] | published [%] | maps | time [s] |
| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |
"""  # noqa: E501

WRONG = """
## Maps as published

The polarisation maps of the published tables were drawn with the spectra in the wrong order
(`Protocol.AS_PUBLISHED`): E and B are the same random numbers, and together tell the parameters almost
without error.

| test | error [%] | SpectralCNN, published [%] | ratio | coverage | maps | time [s] |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""  # noqa: E501

JOINT = """
## T4

The worst of nine fiducials (r = 0.001, 0.003, 0.006; tau = 0.04, 0.054, 0.07), each with a ninth as many
maps as the test (200 to 300, which tell it to 5 to 4 %): root mean square error of posterior means over the
Fisher bound; in parentheses the worst of those that are three bounds or more from either end of the prior
(r 0 to 0.01, tau 0.03 to 0.08). The slope is that of means on truths over the prior, over what right
posteriors have (1 less their variance over that of the prior); in parentheses the slope itself. A network that
collapsed has none. The bound is that of the cells; of cut skies from nside 64 on it is that of the full sky
over the root of the part that is seen, which is smaller than that of the cells for r, and larger for tau
([T4](limits.md#t4), at nside 32).

| nside | f_sky | noise [uK arcmin] | rmse / bound, r | tau | slope of r | of tau | coverage of r | of tau | time [s] |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""  # noqa: E501


def write(rows: list[dict], out: Path) -> None:
    """The page and its picture.

    Args:
        rows: figures of all tests so far.
        out: folder.
    """
    wrong = [row for row in rows if row["name"].endswith("as-published")]
    joint = [row for row in rows if row["test"] == "T4"]
    plain = [row for row in rows if row not in wrong and row not in joint]
    tests = [row["tests"] for row in rows]
    text = HEAD.format(
        cores=" or ".join(sorted({str(row["cores"]) for row in rows})),
        tests=" to ".join(str(count) for count in sorted({f(tests) for f in (min, max)})),
    )
    for head, some, told in (
        (PHYSICAL, plain, line),
        (WRONG, wrong, wrong_line),
        (JOINT, joint, joint_line),
    ):
        if some:
            text += head + "\n".join(map(told, some)) + "\n"
    text += "\nRepeat with `python benchmarks/validation/inference.py`.\n"
    (out / "inference.md").write_text(text)
    picture(plain, out / "inference.png")


def line(row: dict) -> str:
    """Of a test whose limit is known."""
    if row["test"] == "T4":
        return joint_line(row)
    if "limit" not in row:
        return wrong_line(row)
    over = " / ".join(
        f"{error / limit:.3f}" for error, limit in zip(row["error"], row["limit"], strict=True)
    )
    worst = max(abs(one) for bias in row["bias_in_errors"] for one in bias)
    told = "; ".join(
        f"{one['name'].split(',')[0]} {' / '.join(f'{value:g}' for value in one['values'])}"
        for one in row["published"]
    )
    return (
        f"| {row['name']} | {errors(row)} | {plain(row['limit'])} | {over} | "
        f"{plain(row['coverage_0.68'])} | {worst:.1f} of {len(row['bias_in_errors'])} | {told} | "
        f"{row['maps']} | {row['seconds']:.0f} |"
    )


def wrong_line(row: dict) -> str:
    """Of maps as published."""
    theirs = [one["values"] for one in row["published"] if not one["other"]]
    ratio = "-"
    if theirs:
        pairs = zip(theirs[0], row["error"], strict=True)
        ratio = " / ".join(f"{their / own:.3g}" for their, own in pairs)
    told = " / ".join(f"{value:g}" for value in theirs[0]) if theirs else "-"
    return (
        f"| {row['name'].removesuffix('-as-published')} | {errors(row)} | {told} | {ratio} | "
        f"{plain(row['coverage_0.68'])} | {row['maps']} | {row['seconds']:.0f} |"
    )


def joint_line(row: dict) -> str:
    """Of T4."""
    nside, fsky, noise = (settings(row)[one] for one in ("nside", "fsky", "noise"))
    cells = []
    bounds = ((0.0, 0.01), (0.03, 0.08))
    for number, (low, high) in enumerate(bounds):
        every = [(one["rmse"][number] / one["bound"][number], one) for one in row["fiducials"]]
        inner = [
            ratio
            for ratio, one in every
            if min(one["truth"][number] - low, high - one["truth"][number])
            >= 3.0 * one["bound"][number]
        ]
        worst = f"{max(ratio for ratio, _ in every):.2f}"
        cells.append(f"{worst} ({max(inner):.2f})" if inner else worst)
    slopes = [
        f"{slope / expected:.3f} ({slope:.2f})"
        for slope, expected in zip(row["slope"], row["expected_slope"], strict=True)
    ]
    coverage = [f"{one:.3f}" for one in row["coverage_0.68"]]
    return (
        f"| {nside} | {fsky} | {noise} | {' | '.join([*cells, *slopes, *coverage])} | "
        f"{row['seconds']:.0f} |"
    )


def settings(row: dict) -> dict[str, str]:
    """What the name of a row says of its maps: nside, fsky, noise."""
    return dict(re.findall(r"(nside|fsky|noise)([0-9.]+)", row["name"]))


def errors(row: dict) -> str:
    """With their uncertainties."""
    pairs = zip(row["error"], row["error_uncertainty"], strict=True)
    return " / ".join(f"{error:.3g} ± {off:.1g}" for error, off in pairs)


def plain(values: list[float]) -> str:
    """Numbers of each parameter."""
    return " / ".join(f"{value:.3f}" for value in values)


def picture(rows: list[dict], file: Path) -> None:
    """Errors over limits, ours and published ones."""
    figure, axes = plt.subplots(figsize=(8.0, 0.4 * len(rows) + 1.6), layout="constrained")
    seen = set()
    for place, row in enumerate(rows):
        for number, (error, limit) in enumerate(zip(row["error"], row["limit"], strict=True)):
            at = place + 0.12 * (2 * number + 1 - len(row["limit"]))
            first = not (place or number)
            axes.errorbar(
                error / limit,
                at,
                xerr=row["error_uncertainty"][number] / limit,
                fmt="o",
                color="C0",
                label="skysift" if first else None,
            )
            marks = {"SpectralCNN": "s", "NNhealpix": "^", "MCMC": "x", "χ² fit": "+"}
            for one in row["published"]:
                name = one["name"].split(",")[0]
                shown = one["values"][number] / limit
                if one["other"]:
                    continue
                axes.plot(
                    shown,
                    at,
                    marks.get(name, "d"),
                    color="0.5",
                    label=None if name in seen else name,
                )
                seen.add(name)
    axes.axvspan(1.0, 1.05, color="C2", alpha=0.3, lw=0, label="within 5 % of the limit")
    axes.set_xscale("log")
    axes.set_xticks([1, 1.5, 2, 3, 4], ["1", "1.5", "2", "3", "4"])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mean relative error over the information limit")
    figure.legend(loc="outside upper center", ncols=6, fontsize="small")
    figure.savefig(file, dpi=120)
    plt.close(figure)


CARD = """# {name}

A model of skysift that tells {what} of maps.

```python
import skysift as ss

model = ss.inference.load("{name}")
post = model(maps)  # .mean .std .sample(key, n)
```

- **Maps**: {sky}, {noise}, nside {nside}, Stokes {stokes}, unit {unit}; RING or NESTED.
- **Parameters**: {prior}; uniform between these bounds.
- **Network**: {summary}, and a head that was trained on {maps} maps (seed {seed}) in {seconds:.0f} s on
  {cores}. Filters are made again when the model is read.
- **Not for**: maps with a beam, other noise or another mask, foregrounds. Of those it warns only where it can
  tell: of masks, units and resolutions.

On {tests} maps that it has not seen:

| | {names} |
| --- | {rule} |
| error, mean of abs(mean - truth) / truth [%] | {error} |
| what maps can tell [%] | {limit} |
| coverage of the 68 % interval | {coverage} |
| coverage of the 95 % interval | {wide} |
| slope of means on truths | {slope} |

Written by `benchmarks/validation/inference.py`. MIT licence, as skysift.
"""  # noqa: E501


def card(row: dict, family: Family) -> str:
    """What a model is, and is not, for.

    Args:
        row: figures of the model.
        family: the maps it is for.
    """
    names, said = row["parameters"], settings(row)
    part, noise = said.get("fsky", "1"), said.get("noise", "0")
    return CARD.format(
        **{key: row[key] for key in ("name", "maps", "seed", "seconds", "tests")},
        cores="one core" if row["cores"] == 1 else f"{row['cores']} cores",
        what=" and ".join(names),
        sky="the full sky" if float(part) == 1.0 else f"the cap of the tests, {part} of the sky",
        noise=f"noise of deviation {noise} in each cell" if float(noise) else "without noise",
        nside=family.nside,
        stokes=family.stokes.value,
        unit=family.unit.value or "none",
        prior=", ".join(
            f"{one.name} {one.low:g} to {one.high:g}" for one in family.prior.parameters
        ),
        summary=row["summary"],
        names=" | ".join(names),
        rule=" | ".join("---:" for _ in names),
        error=" | ".join(f"{value:.3f}" for value in row["error"]),
        limit=" | ".join(f"{value:.3f}" for value in row["limit"]),
        coverage=" | ".join(f"{value:.3f}" for value in row["coverage_0.68"]),
        wide=" | ".join(f"{value:.3f}" for value in row["coverage_0.95"]),
        slope=" | ".join(f"{value:.4f}" for value in row["slope"]),
    )
