"""Settings of the tests of component separation."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def optimised():
    """Code that XLA optimises: separations run for longer than they compile."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)
