"""Settings that must stand before anything is imported."""

import gc
import importlib.metadata
import os
import signal
from types import ModuleType

# On small maps XLA compiles for far longer than its code runs: make that code plain. XLA ends the
# process at a flag that it does not know, so that only versions seen to know these are given them.
# The second keeps each program whole: in parts, which threads share, it takes more work.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

# Tracing makes so many objects that Python looks for garbage all the time: let it do so less often,
# and not in what was imported.
gc.set_threshold(20_000, 20, 100)

# A shell starts what it puts into the background with SIGINT ignored, and so would be all that the
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def compiled_anew() -> None:
    """Code compiled as in other processes, so that they find the same bits."""
    jax.clear_caches()


@pytest.fixture(scope="session")
def pysm3() -> ModuleType:
    """PySM 3, an oracle in memory, not compiled: that costs more than it saves on small maps."""
    import numba

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 1)
        return pytest.importorskip("pysm3")
