"""Make the packaged spectra of all optical depths with CAMB (https://camb.info, tested with 2.0.5).

    python tools/make_tau_spectra.py src/skysift/data/tau_spectra.npz

Cosmology, tensors and accuracy are those of `make_cmb_spectra.py` but for tau: A_s stays, so that
all power beyond the reionisation bump goes as exp(-2 tau). Spectra are taken at Chebyshev nodes of
tau, through which `skysift.inference` interpolates.
"""

import json
import sys
from pathlib import Path

import camb
import make_cmb_spectra as at_planck
import numpy as np

LMAX = 383
"""Three times nside less one, at nside 128."""
LOW, HIGH, NODES = 0.03, 0.08, 12


def spectra(tau: float) -> np.ndarray:
    """C_l of EE and BB of lensed scalars, then of tensors at r = 1 [uK^2]."""
    cosmology = at_planck.COSMOLOGY | {"tau": tau}
    scalar = camb.set_params(
        **cosmology,
        **at_planck.SCALAR,
        WantTensors=False,
        lmax=at_planck.LMAX_SCALAR + 1000,
        lens_potential_accuracy=4,
    )
    lensed = camb.get_results(scalar).get_lensed_scalar_cls(LMAX, CMB_unit="muK", raw_cl=True)
    parameters = camb.set_params(
        **cosmology,
        **at_planck.SCALAR,
        **at_planck.TENSOR,
        WantScalars=False,
        WantTensors=True,
        max_l_tensor=at_planck.LMAX_TENSOR + 200,
        max_eta_k_tensor=3.0 * (at_planck.LMAX_TENSOR + 200),
    )
    parameters.set_accuracy(AccuracyBoost=1.5)
    tensor = camb.get_results(parameters).get_tensor_cls(LMAX, CMB_unit="muK", raw_cl=True)
    return np.concatenate([lensed.T[1:3], tensor.T[1:3]])


def main() -> None:
    """Write the spectra and what they were made with."""
    nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)[::-1]
    tau = 0.5 * (LOW + HIGH) + 0.5 * (HIGH - LOW) * nodes
    table = np.stack([spectra(float(value)) for value in tau])
    cosmology = {name: value for name, value in at_planck.COSMOLOGY.items() if name != "tau"}
    provenance = {
        "made_by": "tools/make_tau_spectra.py",
        "code": f"CAMB {camb.__version__}",
        "cosmology": cosmology | at_planck.SCALAR,
        "tensor": at_planck.TENSOR,
        "quantity": "C_l (not D_l), uK^2: EE, BB of lensed scalars; EE, BB of tensors at r = 1",
        "range": [LOW, HIGH],
    }
    np.savez_compressed(
        Path(sys.argv[1]),
        tau=tau,
        spectra=table.astype(np.float32),
        provenance=json.dumps(provenance),
    )


if __name__ == "__main__":
    main()
