"""Where the maps of a separation come from: a simulated sky, or files with an instrument."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skysift.experiment.config import SeparateExperiment
from skysift.instrument import Instrument
from skysift.store.channels import find_files
from skysift.store.run import INSTRUMENT, MAPS, Run


@dataclass(frozen=True)
class MapSource:
    """Files of maps, the instrument that made them, and the simulation they come from, if any."""

    files: tuple[Path, ...]
    source: tuple[str, ...] | str
    instrument: Instrument
    simulation: Run | None = None

    @staticmethod
    def of(experiment: SeparateExperiment) -> MapSource:
        """Find the maps of an experiment.

        Raises:
            ValueError: if there are none, no instrument is known, or it is a run of another kind.
        """
        if not experiment.maps:
            raise ValueError(
                "maps: expected a simulated sky, a folder or FITS files, got none. For instance "
                "skysift separate sky, after skysift simulate c1d1s1 -o sky."
            )
        single = experiment.maps[0] if len(experiment.maps) == 1 else None
        named = None if experiment.instrument is None else Instrument.of(experiment.instrument)
        if single is not None and Run.is_run(single):
            run = Run.open(single)
            if run.manifest.kind != "simulate":
                raise ValueError(
                    f"maps: expected a simulated sky, got {single}, a run of skysift "
                    f"{run.manifest.kind}. Give the sky that it was made from."
                )
            instrument = named or Instrument.from_yaml(run.path / INSTRUMENT)
            folder = str(run.path / MAPS)
            return MapSource(find_files(folder), folder, instrument, run)
        source = experiment.maps if single is None else single
        files = find_files(source)
        if named is None:
            raise ValueError(
                "instrument: expected one for maps that are no simulated sky, got none. Say it "
                "with --instrument LiteBIRD (Planck, SO_SAT, SO_LAT, PICO, or a YAML file)."
            )
        return MapSource(files, source, named)
