"""skysift simulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import (
    Done,
    Options,
    channels_line,
    memory_table,
    number,
    typed_command,
)
from skysift.cli.interrupts import check
from skysift.experiment.config import SimulateExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.sky import Simulation

EXAMPLES = """
Examples:

    skysift simulate c1d1s1 --nside 64 --instrument LiteBIRD --noise-ratio 1 --seed 0 -o sky
    skysift simulate cr3d2s3 --stokes iqu --nside 32 --instrument PICO -o pico
    skysift simulate c1d0s0 --noise-ratio 0 -o noiseless --dry-run
"""


def simulate(
    sky: Annotated[SimulateExperiment, Parameter(name="*")] = SimulateExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Simulate a sky as an instrument sees it.

    Writes maps/CHANNEL.fits, truth.nc (components and spectral parameters), instrument.yaml,
    experiment.yaml and manifest.json into the directory that -o names.
    """
    options.set_up()
    from skysift.experiment.fingerprint import Fingerprint
    from skysift.experiment.memory import Memory
    from skysift.experiment.problem import channels_of_simulation, simulation_of
    from skysift.store.manifest import Manifest
    from skysift.store.products import write_simulation
    from skysift.store.run import EXPERIMENT, drafted, finished_run, require_apart

    if options.dry_run:
        memory, used = Memory.of_simulation(sky), channels_of_simulation(sky)
        options.say(to_text(sky), channels_line(used), memory_table(memory.parts))
        return Done()
    output = options.require_output()
    mark = Fingerprint.of(sky)
    require_apart(output, mark.inputs)
    if finished_run(output, mark.config_hash, overwrite=options.overwrite) is not None:
        options.say(f"{output} is complete already; --overwrite makes it again")
        return Done()
    head = Manifest("simulate", mark.config_hash, typed_command(), sky.seed)
    with drafted(output, head, need=_size(sky)) as draft:
        draft.inputs.update(mark.inputs)
        draft.write_text(EXPERIMENT, to_text(sky))
        with draft.stage("simulate"):
            simulation = simulation_of(sky)
        check()
        with draft.stage("write"):
            write_simulation(draft.directory, simulation, sky.precision)
        draft.summary.update(
            sky=simulation.sky,
            nside=sky.nside,
            instrument=simulation.instrument.name,
            noise_ratio=sky.noise_ratio,
        )
        check()
    options.say(channel_table(simulation, output))
    return Done()


def channel_table(simulation: Simulation, output: Path) -> Table:
    """What was simulated: scatter over the sky of signal and noise in each channel.

    Args:
        simulation: the maps.
        output: directory of the run.
    """
    import numpy as np

    stokes = simulation.maps.stokes.value
    table = Table(
        title=f"{simulation.sky}, seed {simulation.seed}: scatter over the sky in uK_CMB",
        caption=f"{channels_line(simulation.instrument)}\nsky: {output}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("channel")
    table.add_column("GHz", justify="right")
    for letter in stokes:
        table.add_column(f"sky {letter}", justify="right")
    for letter in stokes:
        table.add_column(f"noise {letter}", justify="right")
    for place, channel in enumerate(simulation.instrument.channels):
        noise = np.asarray(simulation.noise.values[place])
        sky = np.asarray(simulation.maps.values[place]) - noise
        table.add_row(
            channel.name,
            f"{channel.band.centre:g}",
            *(number(float(np.nanstd(values))) for values in (*sky, *noise)),
        )
    return table


def _size(sky: SimulateExperiment) -> int:
    """Bytes of the maps and the truth, before compression."""
    from skysift.experiment.problem import channels_of_simulation

    width = 4 if sky.precision.value == "float32" else 8
    maps = len(channels_of_simulation(sky)) * len(sky.stokes) * width
    return 12 * sky.nside**2 * (maps + 8 * 4 * (len(sky.stokes) + 1))
