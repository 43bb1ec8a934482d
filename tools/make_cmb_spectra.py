"""Make the packaged CMB spectra with CAMB (https://camb.info, tested with 2.0.5).

    python tools/make_cmb_spectra.py src/skysift/data/cmb_spectra.npz

Cosmology: flat LambdaCDM of Planck 2018 VI (arXiv:1807.06209), table 2, column
TT,TE,EE+lowE+lensing. Tensors: r = 1 at k = 0.05 / Mpc with n_t = 0, so that C_l is linear in r
(the convention of LiteBIRD 2023, arXiv:2202.02773), not the inflationary consistency n_t = -r / 8.
"""

import json
import sys
from pathlib import Path

import camb
import numpy as np

LMAX_SCALAR = 3071
LMAX_TENSOR = 2000
COSMOLOGY = {
    "H0": 67.36,
    "ombh2": 0.02237,
    "omch2": 0.1200,
    "omk": 0.0,
    "mnu": 0.06,
    "tau": 0.0544,
    "TCMB": 2.7255,
}
SCALAR = {"As": 2.100e-9, "ns": 0.9649, "pivot_scalar": 0.05}
TENSOR = {"r": 1.0, "nt": 0.0, "pivot_tensor": 0.05}


def lensed_scalar() -> np.ndarray:
    """C_l of lensed scalar perturbations, rows TT, EE, BB, TE [uK^2]."""
    parameters = camb.set_params(
        **COSMOLOGY, **SCALAR, WantTensors=False, lmax=LMAX_SCALAR + 1000, lens_potential_accuracy=4
    )
    results = camb.get_results(parameters)
    return results.get_lensed_scalar_cls(LMAX_SCALAR, CMB_unit="muK", raw_cl=True).T


def tensor() -> np.ndarray:
    """C_l of tensor perturbations at r = 1, rows TT, EE, BB, TE [uK^2]."""
    parameters = camb.set_params(
        **COSMOLOGY,
        **SCALAR,
        **TENSOR,
        WantTensors=True,
        max_l_tensor=LMAX_TENSOR + 200,
        max_eta_k_tensor=3.0 * (LMAX_TENSOR + 200),
    )
    assert parameters.InitPower.nt == 0.0
    parameters.set_accuracy(AccuracyBoost=1.5)
    results = camb.get_results(parameters)
    spectra = np.zeros((4, LMAX_SCALAR + 1))
    cl = results.get_tensor_cls(LMAX_TENSOR, CMB_unit="muK", raw_cl=True).T
    spectra[:, : cl.shape[1]] = cl
    return spectra


def main() -> None:
    """Write the spectra and what they were made with."""
    scalar, tensors = lensed_scalar(), tensor()
    provenance = {
        "made_by": "tools/make_cmb_spectra.py",
        "code": f"CAMB {camb.__version__}",
        "cosmology": COSMOLOGY | SCALAR,
        "tensor": TENSOR | {"lmax": LMAX_TENSOR},
        "quantity": "C_l (not D_l), uK^2, rows TT, EE, BB, TE, columns l from 0",
    }
    np.savez_compressed(
        Path(sys.argv[1]),
        lensed_scalar=scalar.astype(np.float32),
        tensor_r1=tensors.astype(np.float32),
        provenance=json.dumps(provenance),
    )


if __name__ == "__main__":
    main()
