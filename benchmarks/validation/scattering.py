"""Time and memory of scattering statistics beside four packages, in one run.

Writes `scattering.md` and `.json` into the output folder. Every case is a process of its own; the
peers run in environments of their own (`benchmarks/peers/requirements-scattering-*.txt`). Without
them only skysift is measured.

    taskset -c 0,1 python benchmarks/validation/scattering.py --torch-python TORCH/bin/python \
        --jax-python JAX/bin/python --cheng SCATTERING_TRANSFORM
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np

FOLDER = Path(__file__).resolve().parent
PEERS = FOLDER.parent / "peers"
OURS = FOLDER / "scattering_case.py"


@dataclass(frozen=True)
class Case:
    """One process.

    Args:
        name: key of the results.
        map: which of the maps.
        script: what runs.
        python: which environment.
        words: arguments of the script.
    """

    name: str
    map: str
    script: Path
    python: str
    words: tuple[str, ...] = ()


CASES = (
    Case("sphere 64, lmax 128", "sphere-64", OURS, "skysift"),
    Case("sphere 64, lmax 128, from the map", "sphere-64", OURS, "skysift", ("--from-map",)),
    Case("sphere 64, lmax 128, harmonics 10", "sphere-64", OURS, "skysift", ("--harmonics", "10")),
    Case("sphere 64, lmax 128, harmonics 12", "sphere-64", OURS, "skysift", ("--harmonics", "12")),
    Case("sphere 32, lmax 63, double", "sphere-32", OURS, "skysift", ("--lmax", "63", "--double")),
    Case(
        "sphere 32, lmax 63, harmonics 16, double",
        "sphere-32",
        OURS,
        "skysift",
        ("--lmax", "63", "--double", "--harmonics", "16"),
    ),
    Case(
        "sphere 32, lmax 63, harmonics 18, double",
        "sphere-32",
        OURS,
        "skysift",
        ("--lmax", "63", "--double", "--harmonics", "18"),
    ),
    Case("sphere 256, lmax 512", "sphere-256", OURS, "skysift"),
    Case("plane 256", "plane-256", OURS, "skysift", ("--scales", "7")),
    Case("plane 256, WPH", "plane-256", OURS, "skysift", ("--scales", "7", "--kind", "wph")),
    Case("FOSCAT, nside 64", "sphere-64", PEERS / "foscat_covariance.py", "torch"),
    Case(
        "s2scat, L = 64",
        "sphere-32",
        PEERS / "s2scat_covariance.py",
        "jax",
        ("--band-limit", "64", "--directions", "3", "--seconds", "1200"),
    ),
    Case(
        "scattering_transform, 256",
        "plane-256",
        PEERS / "cheng_covariance.py",
        "torch",
        ("--scales", "7"),
    ),
    Case("pywph, 256", "plane-256", PEERS / "pywph_statistics.py", "torch", ("--scales", "7")),
)
BESIDE = (
    ("FOSCAT, nside 64", "sphere 64, lmax 128"),
    ("FOSCAT, nside 64", "sphere 64, lmax 128, from the map"),
    ("FOSCAT, nside 64", "sphere 64, lmax 128, harmonics 10"),
    ("FOSCAT, nside 64", "sphere 64, lmax 128, harmonics 12"),
    ("s2scat, L = 64", "sphere 32, lmax 63, double"),
    ("s2scat, L = 64", "sphere 32, lmax 63, harmonics 16, double"),
    ("s2scat, L = 64", "sphere 32, lmax 63, harmonics 18, double"),
    ("scattering_transform, 256", "plane 256"),
    ("pywph, 256", "plane 256, WPH"),
)


def prepare(folder: Path) -> None:
    """Write the maps: exponentials of Gaussian fields with a power law."""
    rng = np.random.default_rng(0)
    for nside in (32, 64, 256):
        ell = np.arange(3 * nside)
        power = np.where(ell > 0, 1.0 / np.maximum(ell, 1) ** 2.5, 0.0)
        size = hp.Alm.getsize(3 * nside - 1)
        white = (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2.0)
        field = hp.alm2map(hp.almxfl(white, np.sqrt(power)), nside)
        np.save(folder / f"sphere-{nside}.npy", np.exp(field / field.std()))
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(256)], indexing="ij"))
    spectrum = np.fft.fft2(rng.standard_normal((256, 256))) * np.where(
        k > 0, np.maximum(k, 1e-3) ** -1.25, 0.0
    )
    field = np.fft.ifft2(spectrum).real
    np.save(folder / "plane-256.npy", np.exp(field / field.std()))


def run(case: Case, folder: Path, python: str, environment: dict[str, str]) -> dict:
    """Report of one case."""
    words = [python, "-W", "ignore", str(case.script), "--map", str(folder / f"{case.map}.npy")]
    done = subprocess.run(
        [*words, *case.words],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])


def page(results: dict[str, dict]) -> str:
    """The validation page."""
    lines = ["# Speed of scattering statistics", ""]
    lines += [f"Written by `benchmarks/validation/scattering.py` on {platform.machine()},"]
    lines += [
        f"{len(os.sched_getaffinity(0))} cores shared with other work: CPU seconds count, and"
    ]
    lines += ["their ratios. Every case is a process of its own. Set-up is the configuration and"]
    lines += ["the first calls of value and gradient, with all compilation. The gradient is that"]
    lines += ["of the sum of the squares of all coefficients, with its value."]
    lines += ["On the sphere skysift's coefficients are invariant under rotations; with angular"]
    lines += ["harmonics up to 10 or 12, 16 or 18, and the products that a mirror changes, there"]
    lines += ["are a little fewer and a little more of them than the peers have for directions"]
    lines += ["fixed to the meridian. With both cores free XLA runs two transforms at a time;"]
    lines += ["that they wait for each other is part of the CPU time.", ""]
    lines += ["| | numbers | set-up [s] | forward [CPU s] | gradient [CPU s] | gradient [s] |"]
    lines[-1] += " peak memory [MiB] |"
    lines += ["| --- |" + " ---: |" * 6]
    for name, one in results.items():
        first = one["forward"]["first"]["wall"] + one["gradient"]["first"]["wall"]
        lines += [
            f"| {name} | {one['coefficients']} | {one['set_up']['wall'] + first:.1f} | "
            f"{one['forward']['cpu']:.3f} | {one['gradient']['cpu']:.3f} | "
            f"{one['gradient']['wall']:.3f} | {max(one['memory'].values()):.0f} |"
        ]
    pairs = [(peer, ours) for peer, ours in BESIDE if peer in results and ours in results]
    if pairs:
        lines += ["", "## The peer's over ours", ""]
        lines += ["| | numbers | set-up | forward, CPU | gradient, CPU | gradient | peak memory |"]
        lines += ["| --- |" + " ---: |" * 6]
    for peer, ours in pairs:
        a, b = results[peer], results[ours]
        ready = [
            one["set_up"]["wall"]
            + one["forward"]["first"]["wall"]
            + one["gradient"]["first"]["wall"]
            for one in (a, b)
        ]
        lines += [
            f"| {peer} / {ours} | {a['coefficients'] / b['coefficients']:.2f} | "
            f"{ready[0] / ready[1]:.1f} | {a['forward']['cpu'] / b['forward']['cpu']:.1f} | "
            f"{a['gradient']['cpu'] / b['gradient']['cpu']:.1f} | "
            f"{a['gradient']['wall'] / b['gradient']['wall']:.1f} | "
            f"{max(a['memory'].values()) / max(b['memory'].values()):.1f} |"
        ]
    lines += ["", "Repeat with `python benchmarks/validation/scattering.py`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure all cases, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="Python with FOSCAT, pywph and torch")
    parser.add_argument("--jax-python", help="Python with s2scat")
    parser.add_argument("--cheng", help="folder of scattering_transform")
    parser.add_argument("--resume", action="store_true", help="keep cases that are stored")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "scattering.json"
    pythons = {"skysift": sys.executable, "torch": options.torch_python, "jax": options.jax_python}
    environment = {"PYTHONPATH": options.cheng} if options.cheng else {}
    results: dict[str, dict] = json.loads(stored.read_text()) if options.resume else {}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for case in CASES:
            python = pythons[case.python]
            if python is None or case.name in results:
                continue
            given = environment if case.python == "torch" else {}
            results[case.name] = run(case, Path(name), python, given)
            stored.write_text(json.dumps(results, indent=1) + "\n")
            print(case.name, flush=True)
    ordered = {case.name: results[case.name] for case in CASES if case.name in results}
    (options.out / "scattering.md").write_text(page(ordered))


if __name__ == "__main__":
    main()
