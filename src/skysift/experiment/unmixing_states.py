"""States of statistical separations, kept so that an interrupted one goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.files import atomic
from skysift.scattering.domain import AbstractDomain
from skysift.scattering.separation.contamination import AbstractContamination, Ensemble
from skysift.scattering.separation.descent import State, Status

_DRAWS = "draws.npy"


@dataclass(frozen=True)
class Shelf:
    """A folder with the draws of a contamination and the last state of each solution.

    Args:
        folder: where they are, until the run is complete.
    """

    folder: Path

    def drawn(
        self, model: AbstractContamination, domain: AbstractDomain, count: int, seed: int
    ) -> Float[np.ndarray, "draw ..."]:
        """The draws that `separate` takes with a seed, made once.

        Fields of a texture take longer than a separation.
        """
        file = self.folder / _DRAWS
        if file.is_file():
            return np.load(file, allow_pickle=False)
        stream = np.random.SeedSequence(seed).spawn(2)[0]
        maps = np.asarray(model.maps(domain, count, stream))
        if not isinstance(model, Ensemble):
            with atomic(file) as temporary, temporary.open("wb") as stream_out:
                np.save(stream_out, maps)
        return maps

    def states(self) -> dict[int, State]:
        """Those that are there by the number of their solutions."""
        found = [_read(file) for file in sorted(self.folder.glob("solution-*.npz"))]
        return {one.restart: one for one in found}

    def keep(self, state: State) -> None:
        """Keep a state in place of the last of its solution."""
        names = list(state.losses[0])
        losses = np.array([[one[name] for name in names] for one in state.losses])
        with atomic(self.folder / f"solution-{state.restart}.npz") as temporary:
            np.savez(
                temporary,
                restart=state.restart,
                step=state.step,
                best=np.asarray(state.signal[0]),
                present=np.asarray(state.signal[1]),
                names=np.array(names),
                losses=losses,
                status="" if state.status is None else state.status.value,
            )


def _read(file: Path) -> State:
    with np.load(file, allow_pickle=False) as kept:
        names = [str(one) for one in kept["names"]]
        status = str(kept["status"])
        return State(
            int(kept["restart"]),
            int(kept["step"]),
            (jnp.asarray(kept["best"]), jnp.asarray(kept["present"])),
            tuple(dict(zip(names, map(float, row), strict=True)) for row in kept["losses"]),
            Status(status) if status else None,
        )
