"""Tasks for executors, in a module that workers can import."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path


def do(item):
    """`(name, argument)`: call the function of that name here."""
    name, argument = item
    return globals()[name](argument)


def square(number):
    return number**2


def fail(message):
    raise ArithmeticError(message)


def leave(code):
    raise SystemExit(code)


def unsendable(_):
    return lambda: None


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker):
    """Die in the first attempt, which leaves the marker."""
    if not Path(marker).exists():
        Path(marker).touch()
        die(None)
    return "survived"


def cancel_once(marker):
    """Cancel the SLURM job that runs this, in the first attempt."""
    if not Path(marker).exists():
        Path(marker).touch()
        subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]], check=True)
        time.sleep(60)
    return "survived"


def sleep(marker):
    """Say who this is, then take long."""
    Path(marker).write_text(str(os.getpid()))
    time.sleep(600)


def threads(_):
    """Cores and threads that a task may use: affinity, ducc0, XLA's variable, BLAS libraries."""
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    blas = [library["num_threads"] for library in threadpool_info()]
    return (
        len(os.sched_getaffinity(0)),
        os.environ["DUCC0_NUM_THREADS"],
        os.environ["NPROC"],
        sorted(set(blas)),
    )


def cholesky(size):
    """Digest of a factor whose last bits depend on the number of threads of OpenBLAS."""
    import numpy as np
    from scipy.linalg import cho_factor

    matrix = np.random.default_rng(0).normal(size=(size, size))
    factor, _ = cho_factor(matrix @ matrix.T + size * np.eye(size))
    return hashlib.sha256(factor.tobytes()).hexdigest()


def separation(seed):
    """Everything that a separation with clusters as patches finds, from a sky of its own."""
    import skysift as ss
    from skysift.partitions import KMeans

    maps = ss.simulate("c1d1s1", "LiteBIRD", nside=16, seed=seed).maps
    patches = ss.Patches.of(
        maps.grid, beta_dust=KMeans(200), temp_dust=KMeans(60), beta_pl=KMeans(60)
    )
    found = ss.separate(maps, "LiteBIRD", patches=patches).to_dataset()
    return {name: array.values for name, array in found.items() if name != "seconds"}
