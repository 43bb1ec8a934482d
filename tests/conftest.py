"""Settings that must stand before anything is imported."""

import importlib.metadata
import os
import signal

# PySM's just-in-time compilation costs more than it saves on small maps. Numba reads this when it
# is imported; changing its configuration later breaks what it has compiled until then.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

# On small maps XLA compiles for far longer than its code runs: make that code plain. XLA ends the
# process at a flag that it does not know, so that only versions seen to know this one are given it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

# A shell starts what it puts into the background with SIGINT ignored, and so would be all that the
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="module")
def compiled_anew() -> None:
    """Code compiled as in other processes, so that they find the same bits."""
    jax.clear_caches()
