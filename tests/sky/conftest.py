import pytest


@pytest.fixture(scope="session")
def pysm3():
    """PySM 3, an oracle in memory."""
    return pytest.importorskip("pysm3")
