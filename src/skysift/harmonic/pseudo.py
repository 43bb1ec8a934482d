"""Power spectra of maps on the full or a cut sky, by pseudo-spectra."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import healpy as hp
import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from skysift.grid import Grid, Ordering
from skysift.harmonic.apodise import Taper, apodised, distance_to_edge
from skysift.harmonic.bandpowers import NAMES, Bandpowers, Bins
from skysift.harmonic.coupling import Coupling, Kernel, couplings
from skysift.harmonic.purify import Purification
from skysift.harmonic.sht import SHT, multipoles
from skysift.harmonic.spectra import cross_cl
from skysift.maps import Maps, unseen_to_nan

_APODISATION = 4.0  # degrees: at nside 64 on 60 % of the sky the best trade of leakage for sky
_SMOOTHING = 2.2  # sides of a cell
_REACH = 1.3  # FWHM of the smoothing after which the edge of the mask is not felt
_KERNELS = {"T": Kernel.SCALAR, "E": Kernel.SPIN2, "B": Kernel.SPIN2}


@dataclass(frozen=True, eq=False)
class PseudoOptions:
    """How spectra are estimated.

    Args:
        lmax: largest multipole, 2 nside by default.
        bins: the bins; by default every multipole from 2 on the full sky, else bins as wide as the
            sky that is left can tell apart, at least 4.
        apodisation: of the mask's edge [degrees]; by default 4, or twice the side of a cell if that
            is more, and 0 on the full sky.
        taper: shape of the edge.
        purify: take the E modes that a cut sky mixes into B out of the map, by default if the sky
            is cut.
        decouple: free the spectra from the coupling of multipoles and of E and B. Left in, the
            bandpowers are pseudo-spectra over mean(w^2): never negative, and what they expect of a
            theory is in their windows.
        smoothing: FWHM of a smoothing of the maps before they are purified, which the spectra are
            freed from again [arcmin]; by default 2.2 sides of a cell if `purify`, else 0. Without,
            E modes too fine for the cells are sampled into B modes of low multipoles. It takes 1.3
            FWHM off the mask.
        fwhm: of the beam that the maps were smoothed with [arcmin]; the spectra are without it.
        transfer: any further response of the maps to a multipole, from l = 0 to at least
            3 nside - 1, such as the window of cells that maps are means over: one row, or one for I
            and one for Q and U.
        iterations: of the analysis, as in healpy.
    """

    lmax: int | None = None
    bins: Bins | None = None
    apodisation: float | None = None
    taper: Taper = Taper.SMOOTH
    purify: bool | None = None
    decouple: bool = True
    smoothing: float | None = None
    fwhm: float = 0.0
    transfer: Float[np.ndarray, "*spin ell"] | None = None
    iterations: int = 3

    def __post_init__(self) -> None:
        for name, value in (("fwhm", self.fwhm), ("smoothing", self.smoothing or 0.0)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"{name}: expected arcmin from 0 on, got {value!r}. Leave it out for none."
                )
        if self.iterations < 0:
            raise ValueError(f"iterations: expected 0 or more, got {self.iterations}. 3 is usual.")

    def resolved(self, mask: Bool[np.ndarray, " npix"], nside: int) -> PseudoOptions:
        """With the defaults that suit a mask.

        Raises:
            ValueError: for an lmax that the resolution does not hold, or bins beyond it.
        """
        cut = not mask.all()
        purify = cut if self.purify is None else self.purify
        lmax = 2 * nside if self.lmax is None else self.lmax
        if self.lmax is None and self.bins is not None:
            lmax = self.bins.lmax
        if not 2 <= lmax <= 3 * nside - 1:
            raise ValueError(
                f"lmax: expected 2 to {3 * nside - 1} at nside {nside}, got {lmax}. Above 2 nside "
                "the cells do not hold the sky well."
            )
        transfer = None if self.transfer is None else np.asarray(self.transfer, dtype=float)
        if transfer is not None and (
            transfer.shape[:-1] not in ((), (2,)) or transfer.shape[-1] < 3 * nside
        ):
            raise ValueError(
                f"transfer: expected values from l = 0 to {3 * nside - 1}, one row or two, got "
                f"shape {transfer.shape}."
            )
        width = max(4, math.ceil(1.5 / math.sqrt(float(mask.mean())))) if cut else 1
        bins = Bins.linear(2, lmax, min(width, lmax - 1)) if self.bins is None else self.bins
        if bins.lmax > lmax:
            raise ValueError(
                f"bins: expected multipoles up to lmax = {lmax}, got bins to {bins.lmax}. Raise "
                "lmax or take fewer."
            )
        side = math.degrees(hp.nside2resol(nside))
        edge = max(_APODISATION, 2.0 * side) if cut else 0.0
        smoothing = 60.0 * _SMOOTHING * side if purify else 0.0
        return PseudoOptions(
            lmax,
            bins,
            edge if self.apodisation is None else self.apodisation,
            self.taper,
            purify,
            self.decouple,
            smoothing if self.smoothing is None else self.smoothing,
            self.fwhm,
            transfer,
            self.iterations,
        )


@dataclass(frozen=True, eq=False)
class PseudoSpectra:
    """Estimator of power spectra for one mask, to be applied to many maps.

    Pseudo-spectra of the weighted maps are freed from what the weights do to them: the coupling of
    multipoles and the mixing of E and B (Hivon et al. 2002, ApJ 567, 2), in bins. Purified, the B
    modes are those that no E mode can make on the cut sky (Smith 2006, PRD 74, 083002): the mixing
    then adds no variance. On the full sky the result is `healpy.anafast`.

    Args:
        mask: the cells that are used, full sky, RING.
        weight: the apodised mask, without the margin that smoothing needs.
        options: with nothing left to default.

    Examples:
        >>> import skysift as ss
        >>> estimator = PseudoSpectra.of(ss.galactic_mask("GAL060", 16))
        >>> sim = ss.simulate("c1", "LiteBIRD", nside=16, noise_ratio=0.0)
        >>> powers = estimator(sim.truth.components["cmb"])
        >>> sorted(powers.values)
        ['BB', 'EB', 'EE']
    """

    mask: Bool[np.ndarray, " npix"]
    weight: Float[np.ndarray, " npix"]
    options: PseudoOptions

    @staticmethod
    def of(
        where: Grid | Bool[np.ndarray, " npix"], options: PseudoOptions | None = None
    ) -> PseudoSpectra:
        """The estimator for a mask.

        Args:
            where: grid of the cells to use, or a full-sky RING mask that is true where kept.
            options: how; defaults that suit the mask.

        Raises:
            ValueError: for a mask without cells or of no HEALPix size, or options that do not fit.
        """
        grid = where if isinstance(where, Grid) else Grid.from_mask(np.asarray(where))
        nside = grid.require_nside()
        mask = np.zeros(grid.npix, bool)
        mask[grid.ring] = True
        options = (options or PseudoOptions()).resolved(mask, nside)
        assert options.apodisation is not None
        inner = _away_from_edge(mask, _REACH * (options.smoothing or 0.0) / 60.0)
        weight = apodised(inner, options.apodisation, options.taper)
        return PseudoSpectra(mask, weight, options)

    @property
    def nside(self) -> int:
        """Resolution of the maps."""
        return hp.npix2nside(self.mask.size)

    @property
    def bins(self) -> Bins:
        """The bins."""
        assert self.options.bins is not None
        return self.options.bins

    @property
    def fsky(self) -> float:
        """Share of the sky that counts: mean(w^2)^2 / mean(w^4)."""
        return float(np.mean(self.weight**2) ** 2 / np.mean(self.weight**4))

    def __call__(self, maps: Maps, other: Maps | None = None) -> Bandpowers:
        """Spectra of maps, or of maps with others.

        The spectrum of two maps with independent noise, such as two halves of the data, has no
        noise bias; neither has it for many maps at once, row by row.

        Args:
            maps: `(..., stokes, cell)` with a value in each kept cell, any ordering.
            other: to cross with, of the same shape; itself by default.

        Raises:
            ValueError: for maps of another nside, without some of the kept cells, or missing values
                there.
        """
        one = self._coefficients(maps)
        two = one if other is None else self._coefficients(other)
        if set(one) != set(two):
            raise ValueError(
                f"other: expected Stokes {maps.stokes.value} as the maps have, got others."
            )
        pseudo = {}
        for name in self._names(set(one)):
            a, b = name
            power = cross_cl(one[a], two[b], self._sht.lmax)
            if a != b and other is not None:
                power = 0.5 * (power + cross_cl(one[b], two[a], self._sht.lmax))
            pseudo[name] = power[..., : self._lmax + 1]
        return self._decoupled(pseudo)

    def noise_bias(
        self, variance: float | Float[np.ndarray, " npix"], polarised: bool = True
    ) -> dict[str, Float[np.ndarray, " bin"]]:
        """Bandpowers expected of white noise.

        Exact without smoothing and iterations. With smoothing, noise that varies over the sky is
        taken as one of its weighted mean variance, which is wrong in the lowest purified bins:
        cross maps with independent noise there.

        Args:
            variance: of each cell and Stokes parameter [uK^2], one number or a full-sky RING map.
            polarised: of Q and U, else of I.

        Returns:
            EE and BB, or TT.
        """
        area = 4.0 * np.pi / self.mask.size
        variance = np.where(self.mask, variance, 0.0)
        if self.options.smoothing:
            mean = np.mean(self.weight**2 * variance) / np.mean(self.weight**2)
            # As if it were a sky of flat spectrum, seen without beam and cells.
            beam = self._responses(self.options.fwhm)["E" if polarised else "T"] ** 2
            flat = np.zeros((4, beam.size))
            flat[:3, beam > 0] = area * mean / beam[beam > 0]
            names = ("EE", "BB") if polarised else ("TT",)
            zero = {n: np.zeros(self._lmax + 1) for n in names}
            expected = self._decoupled(zero).expected(flat)
            return {n: expected[n] for n in names}
        level = area * np.mean(self.weight**2 * variance) * np.ones(self._lmax + 1)
        if not polarised:
            return dict(self._decoupled({"TT": level}).values)
        pure = level
        if self.options.purify:
            pure = self._purification.noise(self._lmax, variance)
        return dict(self._decoupled({"EE": level, "BB": pure}).values)

    @property
    def response(self) -> dict[str, Float[np.ndarray, " ell"]]:
        """What T, E and B of the prepared maps hold of the sky: beam, smoothing and transfer."""
        return self._responses(math.hypot(self.options.fwhm, self.options.smoothing or 0.0))

    def prepared(self, maps: Maps) -> Float[np.ndarray, "... stokes npix"]:
        """The maps as they are weighted: full sky, RING, zero where not used, smoothed.

        Raises:
            ValueError: for maps of another nside, without some of the kept cells, or missing values
                there.
        """
        full = filled(maps, self.mask)
        return self._smoothed(full, maps.stokes.value) if self.options.smoothing else full

    @property
    def _lmax(self) -> int:
        assert self.options.lmax is not None
        return self.options.lmax

    @cached_property
    def _sht(self) -> SHT:
        return SHT(self.nside, 3 * self.nside - 1)

    @cached_property
    def _purification(self) -> Purification:
        return Purification(self.weight)

    def _coefficients(self, maps: Maps) -> dict[str, Complex[np.ndarray, "... alm"]]:
        """Coefficients of the weighted fields T, E and B."""
        full = self.prepared(maps)
        letters, steps = maps.stokes.value, self.options.iterations
        fields = {}
        if "I" in letters:
            fields["T"] = self._sht.analysis(self.weight * full[..., 0, :], iterations=steps)
        if "Q" in letters:
            qu = full[..., -2:, :]
            both = self._sht.analysis(self.weight * qu, spin=2, iterations=steps)
            fields["E"], fields["B"] = both[..., 0, :], both[..., 1, :]
            if self.options.purify:
                fields["B"] = fields["B"] + self._purification(self._sht, qu, steps)
        return fields

    def _smoothed(
        self, full: Float[np.ndarray, "... stokes npix"], letters: str
    ) -> Float[np.ndarray, "... stokes npix"]:
        """The maps smoothed; right where the weights are not zero."""
        assert self.options.smoothing is not None
        ell, _ = multipoles(self._sht.lmax)
        scalar, spin2 = gaussian_response(self.options.smoothing, ell)
        parts = []
        # One iteration: the quadrature alone mixes E into B at high multipoles.
        if "I" in letters:
            alm = self._sht.analysis(full[..., :1, :], iterations=1)
            parts.append(self._sht.synthesis(alm * scalar))
        if "Q" in letters:
            alm = self._sht.analysis(full[..., -2:, :], spin=2, iterations=1)
            parts.append(self._sht.synthesis(alm * spin2, spin=2))
        return np.concatenate(parts, axis=-2)

    def _names(self, fields: set[str]) -> list[str]:
        return [name for name in NAMES if set(name) <= fields]

    def _decoupled(self, pseudo: dict[str, np.ndarray]) -> Bandpowers:
        values, windows, leakage = {}, {}, {}
        binning = self.bins.matrix(self._lmax)
        binned = {name: power @ binning.T for name, power in pseudo.items()}
        for name in pseudo:
            if name in ("EE", "BB"):
                continue
            inverse, window = self._alone(name)
            values[name], windows[name] = binned[name] @ inverse.T, window
        if "EE" in pseudo:
            inverse, window = self._together
            pair = np.concatenate([binned["EE"], binned["BB"]], axis=-1) @ inverse.T
            count, size = self.bins.count, window.shape[1] // 2
            for i, name in enumerate(("EE", "BB")):
                mine = slice(i * count, (i + 1) * count)
                values[name] = pair[..., mine]
                own, leak = window[mine, :size], window[mine, size:]
                windows[name], leakage[name] = (own, leak) if i == 0 else (leak, own)
        order = [name for name in NAMES if name in values]
        return Bandpowers(
            {name: values[name] for name in order},
            {name: windows[name] for name in order},
            leakage,
            self.bins,
            self.fsky,
        )

    @cached_property
    def _couplings(self) -> dict[str, Coupling]:
        """Coupling matrices by name, with beam and pixel window."""
        kernels = _KERNELS | ({"B": Kernel.PURE} if self.options.purify else {})
        pairs = [(kernels[name[0]], kernels[name[1]]) for name in NAMES]
        power = np.array([4.0 * np.pi])
        if not np.all(self.weight == 1.0):
            alm = self._sht.analysis(self.weight)
            power = cross_cl(alm, alm, self._sht.lmax)
        found = couplings(power, self._lmax, self._sht.lmax, pairs)
        response = self.response
        beam = {name: response[name[0]] * response[name[1]] for name in NAMES}
        return {
            name: Coupling(matrix.even * beam[name], matrix.odd * beam[name])
            for name, matrix in zip(NAMES, found, strict=True)
        }

    def _responses(self, fwhm: float) -> dict[str, Float[np.ndarray, " ell"]]:
        """Window of each field: a beam of this FWHM [arcmin], and the transfer of the maps."""
        scalar, spin2 = gaussian_response(fwhm, np.arange(self._sht.lmax + 1))
        if self.options.transfer is not None:
            rows = np.asarray(self.options.transfer)[..., : self._sht.lmax + 1]
            scalar, spin2 = np.broadcast_to(rows, (2, scalar.size)) * (scalar, spin2)
        return {"T": scalar, "E": spin2, "B": spin2}

    def _alone(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Inverse of the binned coupling, and windows, of a spectrum that mixes with no other."""
        coupling = self._couplings[name]
        matrix = coupling.even - coupling.odd if name == "EB" else coupling.even
        rows = self.bins.matrix(self._lmax) @ matrix
        inverse = self._inverse(rows @ self.bins.spread(self._sht.lmax), name)
        return inverse, inverse @ rows

    @cached_property
    def _together(self) -> tuple[np.ndarray, np.ndarray]:
        """Inverse and windows of EE and BB, which mix with each other."""
        binning, spread = self.bins.matrix(self._lmax), self.bins.spread(self._sht.lmax)
        ee, bb = self._couplings["EE"], self._couplings["BB"]
        blocks = [[ee.even, ee.odd], [bb.odd, bb.even]]
        rows = np.block([[binning @ block for block in row] for row in blocks])
        square = np.block([[binning @ block @ spread for block in row] for row in blocks])
        inverse = self._inverse(square, "EE and BB")
        return inverse, inverse @ rows

    def _inverse(self, square: np.ndarray, name: str) -> np.ndarray:
        if not self.options.decouple:
            return np.eye(square.shape[0]) / np.mean(self.weight**2)
        condition = np.linalg.cond(square)
        if not condition < 1e6:
            raise ValueError(
                f"bins: expected bins that {self.fsky:.1%} of the sky can tell apart, got bins for "
                f"which the coupling of {name} has no inverse (condition {condition:.1g}). Take "
                "wider ones."
            )
        return np.linalg.inv(square)


def spectra(
    maps: Maps,
    mask: Bool[np.ndarray, " npix"] | None = None,
    other: Maps | None = None,
    options: PseudoOptions | None = None,
) -> Bandpowers:
    """Power spectra of maps, on the full or a cut sky.

    Args:
        maps: `(..., stokes, cell)`, any ordering; NaN or UNSEEN where missing.
        mask: full sky, RING, true where used; by default the cells where all maps have values.
        other: maps to cross with, whose noise is independent: the spectra are then without noise
            bias; the maps themselves by default.
        options: how; defaults that suit the mask.

    Returns:
        TT for I; EE, BB and EB for QU; with both also TE and TB.

    Raises:
        ValueError: for a mask without cells, of another nside, or with cells that the maps lack,
            and for options that do not fit.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1", "LiteBIRD", nside=8, noise_ratio=0.0)
        >>> spectra(sim.truth.components["cmb"]).values["EE"].shape
        (15,)
    """
    if mask is None:
        mask = np.zeros(maps.grid.npix, bool)
        mask[maps.grid.ring] = _known(maps)
        if other is not None:
            seen = np.zeros(mask.size, bool)
            seen[other.grid.ring] = _known(other)
            mask = mask & seen
    return PseudoSpectra.of(np.asarray(mask), options)(maps, other)


def filled(maps: Maps, mask: Bool[np.ndarray, " npix"]) -> Float[np.ndarray, "... stokes npix"]:
    """The maps on the full sky, RING, zero outside a mask.

    Raises:
        ValueError: for maps of another nside, without some of the kept cells, or missing values
            there.
    """
    nside = hp.npix2nside(mask.size)
    if maps.grid.require_nside() != nside:
        raise ValueError(
            f"maps: expected nside {nside} as the mask has, got {maps.grid.nside}. Make "
            "the mask at the maps' nside."
        )
    maps = maps.reordered(Ordering.RING)
    values = unseen_to_nan(np.asarray(maps.values))
    full = np.full((*values.shape[:-1], mask.size), np.nan)
    full[..., maps.grid.index] = values
    missing = mask & np.isnan(full).any(axis=tuple(range(full.ndim - 1)))
    if missing.any():
        raise ValueError(
            f"maps: expected a value in each of the {int(mask.sum())} cells of the mask, "
            f"got none in {int(missing.sum())}. Take those cells out of the mask."
        )
    return np.where(mask, full, 0.0)


def gaussian_response(
    fwhm: float, ell: Int[np.ndarray, " any"]
) -> tuple[Float[np.ndarray, " any"], Float[np.ndarray, " any"]]:
    """Transfer function of a Gaussian of a FWHM [arcmin] for spin 0 and 2."""
    variance = math.radians(fwhm / 60.0) ** 2 / (8.0 * math.log(2.0))
    scalar = np.exp(-0.5 * ell * (ell + 1.0) * variance)
    return scalar, np.where(ell < 2, 0.0, scalar * math.exp(2.0 * variance))


def _known(maps: Maps) -> Bool[np.ndarray, " cell"]:
    values = unseen_to_nan(np.asarray(maps.values))
    return np.asarray(~np.isnan(values).any(axis=tuple(range(values.ndim - 1))))


def _away_from_edge(mask: Bool[np.ndarray, " npix"], margin: float) -> Bool[np.ndarray, " npix"]:
    """The cells of a mask that are further from its edge than a margin [degrees]."""
    if margin == 0 or mask.all():
        return mask
    inner = mask.copy()
    inner[mask] = distance_to_edge(mask) > math.radians(margin)
    if not inner.any():
        raise ValueError(
            f"mask: expected cells further than {margin:.2g} degrees from its edge, which "
            "purification needs, got none. Take a larger mask, or purify=False."
        )
    return inner
