"""Make tests/reference/spectral_cnn.npz: what small SpectralCNNs of torch-harmonics-healpix give.

The script runs in the environment of `spectral_cnn.py` beside it:

    python spectral_cnn_reference.py tests/reference/spectral_cnn.npz

For temperature (I) and inpainted polarisation (QU) at nside 2 the file holds maps, the state before
training, the numbers before the last layer of the head in evaluation and in training (without
dropout), and the running means and variances after one batch.
"""

import sys

import numpy as np
import torch
from torch_harmonics_healpix.models import SpectralCNN

BLOCKS, CHANNELS, NSIDE = 2, 3, 2


def numbers(network: SpectralCNN, maps: torch.Tensor) -> np.ndarray:
    """What the last layer of the head is given."""
    found = []
    hook = network.fc[1].register_forward_hook(lambda *given: found.append(given[-1]))
    network(maps)
    hook.remove()
    return found[0].detach().numpy()


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    out = {}
    for stokes, channels in (("I", 1), ("QU", 3)):
        network = SpectralCNN(
            nside=NSIDE,
            in_channels=channels,
            hidden_channels=CHANNELS,
            num_blocks=BLOCKS,
            inpaint=stokes == "QU",
        )
        for norm in network.batchnorms:
            norm.weight.data.normal_()
            norm.bias.data.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
        maps = rng.standard_normal((3, channels, 12 * NSIDE**2)).astype(np.float32)
        if stokes == "QU":
            maps[:, 2] = rng.uniform(size=maps.shape[-1]) < 0.6
            maps[:, :2] *= maps[:, 2:]
        out[f"{stokes}.maps"] = maps
        for name, value in network.state_dict().items():
            out[f"{stokes}.before.{name}"] = value.numpy().copy()
        out[f"{stokes}.evaluated"] = numbers(network.eval(), torch.from_numpy(maps))
        out[f"{stokes}.trained"] = numbers(network.train(), torch.from_numpy(maps))
        for name, value in network.state_dict().items():
            if "running" in name:
                out[f"{stokes}.after.{name}"] = value.numpy().copy()
    np.savez_compressed(sys.argv[1], **out)


if __name__ == "__main__":
    main()
