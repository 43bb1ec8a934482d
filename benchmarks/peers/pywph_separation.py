"""Separate polarised dust from noise with pywph, in an environment with pywph and torch.

    python pywph_separation.py CASE.npz FOUND.npz

CASE has `data` (2, n, n), Stokes Q and U, `rms` (2, n, n) of the noise, `scales`, `draws` of the
noise in each evaluation of the loss, and `iterations`. FOUND gets `signal` (2, n, n), `seconds`,
`losses` and `n_coefficients`. The algorithm is that of Regaldo-Saint Blancard et al. (2021,
A&A 649, L18): L-BFGS from the data on the mean, over draws of the noise, of the squared distance of
the statistics of Q + iU from those of the data, with their automatic normalisation.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pywph
import torch
from scipy.optimize import minimize


def main(case_file: str, found_file: str) -> None:
    """Separate."""
    with np.load(case_file) as case:
        data, rms = case["data"].astype(np.float32), case["rms"].astype(np.float32)
        scales, draws, iterations = (int(case[name]) for name in ("scales", "draws", "iterations"))
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shape = data.shape[1:]
    begun = time.perf_counter()
    operator = pywph.WPHOp(*shape, scales, L=4, dn=2, cplx=True, device="cpu")
    target = operator.apply(data[0] + 1j * data[1], norm="auto").detach()
    losses: list[float] = []

    def objective(unknowns: np.ndarray) -> tuple[float, np.ndarray]:
        parts = torch.from_numpy(unknowns.reshape(2, *shape).astype(np.float32))
        parts.requires_grad_(True)
        loss = 0.0
        for _ in range(draws):
            drawn = rng.standard_normal(data.shape, dtype=np.float32) * rms
            noise = torch.from_numpy(drawn)
            total = torch.complex(parts[0] + noise[0], parts[1] + noise[1])
            seen, chunks = operator.preconfigure(total)
            for chunk in range(chunks):
                found, which = operator.apply(seen, chunk, norm="auto", ret_indices=True)
                part = torch.sum(torch.abs(found - target[which]) ** 2) / draws
                part.backward(retain_graph=True)
                loss += float(part.detach())
        losses.append(loss)
        print(len(losses), loss, time.perf_counter() - begun, flush=True)
        return loss, parts.grad.numpy().astype(float).ravel()

    options = {"maxiter": iterations, "maxfun": iterations, "gtol": 1e-14, "ftol": 1e-14}
    result = minimize(
        objective,
        data.astype(float).ravel(),
        method="L-BFGS-B",
        jac=True,
        options=options | {"maxcor": 20},
    )
    np.savez(
        found_file,
        signal=result.x.reshape(data.shape),
        seconds=time.perf_counter() - begun,
        losses=losses,
        n_coefficients=len(target),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
