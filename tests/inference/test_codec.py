"""What files say of objects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.inference import codec
from skysift.inference.networks import HarmonicNetwork, HarmonicShape
from skysift.inference.regions import Shared, cap
from skysift.inference.simulators import FunctionSimulator, GaussianSky, Protocol
from skysift.inference.theory import PolarisationPeaks
from skysift.maps import Stokes


def test_simulators_and_networks_come_back():
    region = Shared(Grid.from_mask(cap(0.3, 4)))
    sky = GaussianSky(PolarisationPeaks(11), 4, region=region, protocol=Protocol.AS_PUBLISHED)
    told = codec.encode(sky)
    again = codec.decode(told)
    assert codec.encode(again) == told
    assert again.region == region
    assert again.protocol is Protocol.AS_PUBLISHED
    network = HarmonicNetwork(HarmonicShape(4, Stokes.I, (2,)), jax.random.key(3))
    told = codec.encode(network)
    same, other = codec.decode(told, jax.random.key(3)), codec.decode(told, jax.random.key(4))
    leaves = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(n)]) for n in (network, same, other)
    ]
    np.testing.assert_array_equal(leaves[0], leaves[1])
    assert not np.array_equal(leaves[0], leaves[2])


def test_numbers_come_back():
    values = (1, 0.1, True, None, "a", (2, (3.0,)), np.float64(0.1))
    assert codec.decode(codec.encode(values)) == values
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(codec.decode(codec.encode(array)), array)
    assert codec.decode(codec.encode(jnp.float32)) is np.float32


def test_functions_do_not_go_into_files():
    one = FunctionSimulator(lambda p, key: p, PolarisationPeaks(5).prior, 2, Stokes.QU)
    with pytest.raises(ValueError, match="which a file cannot hold"):
        codec.encode(one)


def test_arguments_of_another_version_are_refused():
    told = codec.encode(HarmonicShape(4, Stokes.I, (2,)))
    told["arguments"]["depth"] = 3
    with pytest.raises(ValueError, match="The file is of another version"):
        codec.decode(told)


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a" / "state"
    codec.write(path, "kind", {"n": 1}, {"x": jnp.arange(3)})
    header, payload = codec.read(path, "kind")
    assert header == {"n": 1}
    found = codec.filled({"x": jnp.zeros(3, int)}, payload)
    np.testing.assert_array_equal(found["x"], [0, 1, 2])
    with pytest.raises(TypeError):
        codec.write(path, "kind", {"n": object()}, {"x": jnp.zeros(3)})
    assert [one.name for one in path.parent.iterdir()] == ["state"]
    assert codec.read(path, "kind")[0] == {"n": 1}
