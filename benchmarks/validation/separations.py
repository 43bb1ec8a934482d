"""Is a signal recovered from a contamination of which only the statistics are known?

Mixtures with a known truth: polarised dust with uneven noise on the plane, the polarised dust of
the whole sky with noise in two half-missions (nside 64, with more noise as well, and 128), and dust
with a patch of the cosmic infrared background of which other patches are known. Each is made
several times, with other contaminations. Beside the separation stand the data, what they tell of
the power at best, and the Wiener filter, which knows the true spectra; with `--pywph PYTHON`,
beside one of them pywph.

Trials count from 1: settings were tried on others. Each is kept in `separations-NAME.json` once it
is done, and not made again: remove the file to begin anew. Of the trials that are there it writes
`separations.md` and pictures.

    python benchmarks/validation/separations.py --data DATA

DATA has `scattering/pywph_{I_1,Q_1,U_1}.npy` (simulated interstellar medium, of pywph),
`scattering/foscat_cib_map_Planck.npy` (Planck CIB, of FOSCAT's tests),
`foregrounds/pysm_templates_nside64.npz` (templates of PySM) and
`foregrounds/pymaster-3.0.1_bmode_fg_QU_nside256.fits` (dust and synchrotron of NaMaster's tests).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from separations_limits import limits
from separations_measures import octaves, powers, shown, structure, wiener
from separations_mixtures import MIXTURES, Mixture, small_dust_and_noise
from separations_page import image_of_maps, image_of_spectra, page, slug

from skysift import scattering as sc
from skysift.scattering.separation.descent import State

ROOT = Path(__file__).parents[2]
PEER = ROOT / "benchmarks/peers/pywph_separation.py"


def pywph(mixture: Mixture, python: str) -> tuple[np.ndarray, float]:
    """Signal and seconds of pywph, of an environment of its own."""
    assert isinstance(mixture.model, sc.WhiteNoise)
    with tempfile.TemporaryDirectory() as folder:
        case, found = Path(folder) / "case.npz", Path(folder) / "found.npz"
        np.savez(case, data=mixture.data, rms=mixture.model.rms, scales=5, draws=5, iterations=40)
        subprocess.run([python, str(PEER), str(case), str(found)], check=True)
        with np.load(found) as kept:
            return kept["signal"], float(kept["seconds"])


def trial(
    mixture: Mixture, seed: int, python: str | None
) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Separate one mixture, and compare with the truth.

    Returns:
        What was measured, and the maps.
    """
    begun, used = time.perf_counter(), time.process_time()
    # The contamination of the data, drawn with the seed itself, is not among the known ones.
    (stream,) = np.random.SeedSequence(seed).spawn(1)
    drawn = mixture.model.maps(mixture.statistic.domain, mixture.draws, stream)
    data, truth = shown(mixture, mixture.data), shown(mixture, mixture.truth)

    def separated(
        descent: sc.Descent, resume: Sequence[State], report: Callable[[State], None]
    ) -> sc.Separated:
        return sc.separate(
            data,
            sc.Ensemble(drawn),
            mixture.statistic,
            mixture.constraints,
            seed,
            draws=mixture.draws,
            begin=mixture.begin,
            descent=descent,
            resume=resume,
            report=report,
        )

    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        found = separated(
            mixture.descent,
            (),
            lambda state: print(state.step, dict(state.losses[-1]), flush=True),
        )
    result: dict[str, object] = {
        "seed": seed,
        "begin": mixture.begin.value,
        "seconds": time.perf_counter() - begun,
        "seconds of cpu": time.process_time() - used,
        "status": found.status.value,
        "losses": {name: [float(one) for one in losses] for name, losses in found.history.items()},
    }
    fields = mixture.statistic.domain.fields(truth)
    enough = sc.Descent(tolerance=np.finfo(float).max)
    true = separated(enough, [State(0, 0, (fields, fields), ())], lambda state: None)
    result["losses of the truth"] = {name: float(one[0]) for name, one in true.history.items()}
    maps = {
        "separated": found.map.reshape(mixture.truth.shape),
        "data": mixture.whole,
        "Wiener": wiener(mixture),
    }
    if python is not None:
        maps["pywph"], result["seconds of pywph"] = pywph(mixture, python)
    if mixture.halves:
        drawn = drawn.mean(axis=1)
    result["structure"] = structure(mixture, maps)
    result |= powers(mixture, maps, drawn.reshape(-1, *mixture.truth.shape))
    return result, {"truth": mixture.truth, **maps}


def kept(file: Path) -> dict:
    """What was measured before; without trials if nothing was."""
    return json.loads(file.read_text()) if file.is_file() else {"trials": []}


def keep(file: Path, result: dict) -> None:
    """Write what was measured, a trial in each line."""
    rows = ",\n".join(json.dumps(one) for one in result["trials"])
    others = {name: one for name, one in result.items() if name != "trials"}
    file.write_text(f'{json.dumps(others)[:-1]}, "trials": [\n{rows}\n]}}\n')


def main() -> None:
    """Separate mixtures, and write the page of all that were separated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the fields")
    parser.add_argument(
        "--only", type=int, nargs="*", help="numbers of the mixtures; none for the page alone"
    )
    parser.add_argument("--trials", type=int, default=3, help="contaminations of each")
    parser.add_argument("--pywph", help="python with pywph, for the mixture on fewer cells")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for number, make in enumerate(MIXTURES):
        name = make.__name__.replace("_", " ")
        file = options.out / f"separations-{slug(name)}.json"
        result = kept(file)
        done = {one["seed"] for one in result["trials"]}
        asked = options.only is None or number in options.only
        wanted = set(range(1, 1 + options.trials)) if asked else set()
        for seed in sorted(wanted - done):
            mixture = make(options.data, seed)
            python = options.pywph if make is small_dust_and_noise else None
            row, maps = trial(mixture, seed, python)
            result["draws"], result["channels"] = mixture.draws, mixture.channels
            result["edges"] = octaves(mixture.top).tolist()
            result["trials"].append(row)
            keep(file, result)
            if seed == 1:
                image_of_maps(maps, mixture, options.out / f"separations-{slug(name)}-maps.png")
        if result["trials"] and "limits" not in result:
            result["limits"] = limits(make(options.data, 0))
            keep(file, result)
        if result["trials"]:
            image_of_spectra(result, options.out / f"separations-{slug(name)}.png")
            results[name] = result
    (options.out / "separations.md").write_text(page(results))


if __name__ == "__main__":
    main()
