"""Packaged angular power spectra of the CMB."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class CMBSpectra:
    """Theoretical C_l of the CMB, never D_l, in uK_CMB^2, rows TT, EE, BB, TE (EB and TB vanish).

    Planck 2018 flat LambdaCDM (arXiv:1807.06209, table 2, last column), computed with CAMB. Tensors
    have n_t = 0 at every r, pivot 0.05 / Mpc, as in LiteBIRD 2023 (arXiv:2202.02773): C_l is
    exactly linear in r. With the inflationary consistency relation n_t = -r / 8 evaluated at r = 1
    the BB spectrum would be 1.8 times larger at l = 2 and 1.2 times at l = 80.

    Args:
        lensed_scalar: C_l of lensed scalar perturbations, `(4, lmax + 1)`.
        tensor: C_l of tensor perturbations at r = 1, `(4, lmax + 1)`.

    Examples:
        >>> spectra = CMBSpectra.packaged()
        >>> spectra.cl(r=0.003).shape[0]
        4
    """

    lensed_scalar: Float[np.ndarray, "4 ell"]
    tensor: Float[np.ndarray, "4 ell"]

    def __post_init__(self) -> None:
        if self.lensed_scalar.shape != self.tensor.shape or self.lensed_scalar.shape[:1] != (4,):
            raise ValueError(
                "tensor: expected the shape (4, lmax + 1) of lensed_scalar, got "
                f"{self.tensor.shape} and {self.lensed_scalar.shape}."
            )

    @staticmethod
    @functools.cache
    def packaged() -> CMBSpectra:
        """The spectra that come with the package, to l = 3071 (tensors to 2000)."""
        with (
            (resources.files("skysift") / "data/cmb_spectra.npz").open("rb") as file,
            np.load(file) as table,
        ):
            return CMBSpectra(
                table["lensed_scalar"].astype(float), table["tensor_r1"].astype(float)
            )

    @property
    def lmax(self) -> int:
        """Largest multipole."""
        return self.tensor.shape[1] - 1

    def cl(
        self, r: float = 0.0, a_lens: float = 1.0, lmax: int | None = None
    ) -> Float[np.ndarray, "4 ell"]:
        """Spectra at a tensor-to-scalar ratio.

        Args:
            r: tensor-to-scalar ratio at 0.05 / Mpc.
            a_lens: factor on the B modes made by lensing, below one after delensing; the lensing of
                TT, EE and TE stays.
            lmax: largest multipole, all by default.

        Returns:
            TT, EE, BB, TE from l = 0 [uK_CMB^2].

        Raises:
            ValueError: for negative or non-finite r or a_lens, or an lmax beyond the table.

        Examples:
            >>> bb = CMBSpectra.packaged().cl(r=1.0)[2]
            >>> bool(bb[2] > bb[80] > 0)
            True
        """
        for name, value in (("r", r), ("a_lens", a_lens)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: expected a number not below zero, got {value!r}.")
        lmax = self.lmax if lmax is None else lmax
        if not 0 <= lmax <= self.lmax:
            raise ValueError(
                f"lmax: expected 0 to {self.lmax}, which the table holds, got {lmax}. "
                "Make a longer table with tools/make_cmb_spectra.py."
            )
        scalar = self.lensed_scalar[:, : lmax + 1].copy()
        scalar[2] *= a_lens
        return scalar + r * self.tensor[:, : lmax + 1]
