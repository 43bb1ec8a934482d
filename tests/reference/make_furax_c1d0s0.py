"""Reduce furax's test sky to a small table.

    python tests/reference/make_furax_c1d0s0.py SOURCE tests/reference/furax_c1d0s0.npz

SOURCE is tests/data of the furax 0.11.3 source distribution (MIT licence): PySM 3's c1d0s0 in
LiteBIRD's 15 bands, I, Q and U, nside 32 RING, uK_CMB, with furax's spectra of CMB, dust
(1 at 150 GHz) and synchrotron (1 at 20 GHz) in both temperatures. Kept: the spectra, and the maps
in every 61st cell.
"""

import sys

import numpy as np

STEP = 61


def main() -> None:
    """Read, thin out, write."""
    with np.load(sys.argv[1]) as source:
        cells = np.arange(0, source["freq_maps"].shape[-1], STEP)
        kept = {key: source[key] for key in source.files if key != "freq_maps"}
        kept["cells"] = cells
        kept["maps"] = source["freq_maps"][..., cells].astype(np.float64)
    np.savez_compressed(sys.argv[2], **kept)


if __name__ == "__main__":
    main()
