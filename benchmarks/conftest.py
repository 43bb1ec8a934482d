"""Reference problems, made once for all benchmarks."""

import pytest

from problems import ReferenceProblem, kmeans64, ptep64


@pytest.fixture(scope="session")
def ptep() -> ReferenceProblem:
    """PTEP-64."""
    return ptep64()


@pytest.fixture(scope="session")
def kmeans() -> ReferenceProblem:
    """KMEANS-64."""
    return kmeans64()
