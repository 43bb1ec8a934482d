import pytest


@pytest.fixture(scope="session")
def pysm3():
    """PySM without just-in-time compilation, which costs more than it saves on small maps."""
    numba = pytest.importorskip("numba")
    numba.config.DISABLE_JIT = True
    return pytest.importorskip("pysm3")
