"""Scattering covariances from their definitions: explicit sums and loops, slow and right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import scipy.fft

Profile = Callable[[np.ndarray, int, np.ndarray, int], np.ndarray]
"""Fourier transform of a wavelet of wave vectors, scale, direction and number of orientations."""

Found = dict[str, dict[tuple[int, ...], complex]]
"""For each order the value of each row of its table."""


def bump(k: np.ndarray, scale: int, direction: np.ndarray, orientations: int) -> np.ndarray:
    """Bump-steerable wavelet (Mallat, Zhang & Rochette 2020, eq. of section 3)."""
    xi = 0.85 * np.pi / 2**scale
    out = np.zeros(k.shape[:-1])
    count = orientations
    constant = 2.0 ** (count - 1) * math.factorial(count - 1) / 1.29
    constant /= math.sqrt(count * math.factorial(2 * count - 2))
    for where in np.ndindex(out.shape):
        length = math.sqrt(sum(x * x for x in k[where]))
        if not 0.0 < length < 2.0 * xi:
            continue
        cosine = sum(x * y for x, y in zip(k[where], direction, strict=True)) / length
        radial = math.exp(-((length - xi) ** 2) / (xi**2 - (length - xi) ** 2))
        if cosine > 0.0:
            out[where] = constant * radial * cosine ** (count - 1)
        elif cosine == 0.0 and count == 1:
            # Both a wave vector and its opposite: half of the power each.
            out[where] = constant * radial / math.sqrt(2.0)
    return out


def morlet(k: np.ndarray, scale: int, direction: np.ndarray, orientations: int) -> np.ndarray:
    """Morlet wavelet of width 0.8 2^j around 3 pi / 4 / 2^j, flattened by 4 / orientations."""
    xi, sigma, slant = 0.75 * np.pi / 2**scale, 0.8 * 2**scale, 4.0 / orientations
    along = np.tensordot(k, direction, 1)
    across = k - along[..., None] * direction
    flat = np.sum(across**2, axis=-1) / slant**2
    wave = np.exp(-(sigma**2) / 2.0 * ((along - xi) ** 2 + flat))
    still = np.exp(-(sigma**2) / 2.0 * (along**2 + flat))
    return wave - math.exp(-(sigma**2) * xi**2 / 2.0) * still


def half_space(dimensions: int, orientations: int) -> list[np.ndarray]:
    """Directions of the wavelets on a line, the plane, and along the axes of space."""
    if dimensions == 1:
        return [np.array([1.0])]
    if dimensions == 2:
        angles = [np.pi * turn / orientations for turn in range(orientations)]
        return [np.array([math.sin(angle), math.cos(angle)]) for angle in angles]
    return list(np.eye(3)[:orientations])


def grid_of(shape: tuple[int, ...], scale: int) -> tuple[int, ...]:
    """Cells of the grid of a scale: twice its band, 16 at least, those of the field at most."""
    return tuple(min(n, max(16, 2 * math.ceil(n / 2**scale))) for n in shape)


def numbers_of(grid: tuple[int, ...]) -> list[np.ndarray]:
    """Mode numbers that are below the Nyquist number of a grid, along each axis."""
    return [np.arange(-((n - 1) // 2), (n - 1) // 2 + 1) for n in grid]


def modes(field: np.ndarray, numbers: list[np.ndarray]) -> np.ndarray:
    """Mean of a field times `exp(-2 pi i n x)` for each mode number, x from 0 to 1."""
    for axis, wanted in enumerate(numbers):
        cells = field.shape[axis]
        wave = np.exp(-2j * np.pi * np.outer(wanted, np.arange(cells) / cells)) / cells
        field = np.moveaxis(np.tensordot(wave, field, (1, axis)), 0, axis)
    return field


def values(spectrum: np.ndarray, numbers: list[np.ndarray], grid: tuple[int, ...]) -> np.ndarray:
    """Sum of the modes at each place of a grid."""
    for axis, (have, cells) in enumerate(zip(numbers, grid, strict=True)):
        wave = np.exp(2j * np.pi * np.outer(np.arange(cells) / cells, have))
        spectrum = np.moveaxis(np.tensordot(wave, spectrum, (1, axis)), 0, axis)
    return spectrum


def flat_covariance(
    fields: np.ndarray,
    profile: Profile,
    scales: int,
    orientations: int,
    weights: list[np.ndarray] | None = None,
    moduli: list[np.ndarray] | None = None,
) -> Found:
    """Scattering covariance of fields `(channel, *shape)` on a periodic grid, not normalised.

    Args:
        fields: one map for each channel.
        profile: wavelet.
        scales: number of scales.
        orientations: number of directions.
        weights: of the cells at each scale, adding to 1; all alike for `None`.
        moduli: the same for what the wavelets of a scale see of moduli.
    """
    shape = fields.shape[1:]
    axes = half_space(len(shape), orientations)
    channels = range(len(fields))
    if weights is None:
        sizes = [grid_of(shape, scale) for scale in range(scales)]
        weights = [np.full(size, 1.0 / np.prod(size)) for size in sizes]
    moduli = moduli or weights

    def wavelet(scale: int, turn: int) -> np.ndarray:
        numbers = numbers_of(grid_of(shape, scale))
        mesh = np.meshgrid(*numbers, indexing="ij")
        k = np.stack([2 * np.pi * n / cells for n, cells in zip(mesh, shape, strict=True)], -1)
        return profile(k, scale, axes[turn], orientations)

    def convolved(field: np.ndarray, scale: int, turn: int) -> np.ndarray:
        grid = grid_of(shape, scale)
        numbers = numbers_of(grid)
        return values(modes(field, numbers) * wavelet(scale, turn), numbers, grid)

    linear, modulus = {}, {}
    found: Found = {name: {} for name in ("S1", "S2", "S3", "S4")}
    for scale, channel, turn in itertools.product(range(scales), channels, range(len(axes))):
        seen = convolved(fields[channel], scale, turn)
        linear[channel, scale, turn] = seen
        average = np.sum(weights[scale] * np.abs(seen))
        found["S1"][channel, scale, turn] = average
        # Wavelets are blind to the mean, and so to what is filled with it.
        modulus[channel, scale, turn] = np.where(weights[scale] > 0.0, np.abs(seen) - average, 0.0)
    for scale, turn in itertools.product(range(scales), range(len(axes))):
        weight = weights[scale]
        second = {
            (channel, fine, l2): convolved(modulus[channel, fine, l2], scale, turn)
            for channel in channels
            for fine in range(scale + 1)
            for l2 in range(len(axes))
        }
        for a in channels:
            one = linear[a, scale, turn]
            for b in channels:
                found["S2"][a, b, scale, turn] = np.sum(
                    weight * one * np.conj(linear[b, scale, turn])
                )
            for (b, fine, l2), other in second.items():
                product = one * np.conj(other)
                found["S3"][a, b, scale, fine, turn, l2] = np.sum(moduli[scale] * product)
        for (a, j2, l2), (b, j3, l3) in itertools.product(second, second):
            product = second[a, j2, l2] * np.conj(second[b, j3, l3])
            found["S4"][a, b, scale, j2, j3, turn, l2, l3] = np.sum(moduli[scale] * product)
    return found


def flat_normalised(found: Found) -> Found:
    """Moments over the powers: of the scales of the two factors, at their own orientations."""
    root = {(a, j, t): math.sqrt(v.real) for (a, b, j, t), v in found["S2"].items() if a == b}
    return {
        "S1": {key: value / root[key] for key, value in found["S1"].items()},
        "S2": found["S2"],
        "S3": {
            (a, b, j1, j2, l1, l2): value / (root[a, j1, l1] * root[b, j2, l2])
            for (a, b, j1, j2, l1, l2), value in found["S3"].items()
        },
        "S4": {
            (a, b, j1, j2, j3, l1, l2, l3): value / (root[a, j2, l2] * root[b, j3, l3])
            for (a, b, j1, j2, j3, l1, l2, l3), value in found["S4"].items()
        },
    }


def spin_harmonic(spin: int, ell: int, m: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Spin-weighted spherical harmonic by the finite sum of Goldberg et al. (1967, eq. 3.1)."""
    if ell < max(abs(spin), abs(m)):
        return np.zeros(np.broadcast(theta, phi).shape, complex)
    factorial = math.factorial
    norm = factorial(ell + m) * factorial(ell - m) * (2 * ell + 1)
    norm /= 4 * np.pi * factorial(ell + spin) * factorial(ell - spin)
    sine, cosine = np.sin(theta / 2), np.cos(theta / 2)
    total = np.zeros(np.shape(theta))
    for r in range(ell - spin + 1):
        if 0 <= r + spin - m <= ell + spin:
            power = 2 * r + spin - m
            sign = (-1.0) ** (ell - r - spin + m)
            count = math.comb(ell - spin, r) * math.comb(ell + spin, r + spin - m)
            total = total + sign * count * cosine**power * sine ** (2 * ell - power)
    return math.sqrt(norm) * total * np.exp(1j * m * phi)


class Legendre:
    """A Gauss-Legendre grid with all spin-weighted harmonics up to a multipole in its cells."""

    def __init__(self, lmax: int) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(lmax + 1)
        cells = scipy.fft.next_fast_len(2 * lmax + 2, real=True)
        self.lmax = lmax
        self.theta = np.repeat(np.arccos(nodes[::-1]), cells)
        self.phi = np.tile(2 * np.pi * np.arange(cells) / cells, lmax + 1)
        self.area = np.repeat(weights[::-1], cells) * 2 * np.pi / cells
        self.lm = [(ell, m) for ell in range(lmax + 1) for m in range(-ell, ell + 1)]
        self._harmonics: dict[int, np.ndarray] = {}

    def harmonics(self, spin: int) -> np.ndarray:
        """Harmonics `(lm, cell)`."""
        if spin not in self._harmonics:
            self._harmonics[spin] = np.stack(
                [spin_harmonic(spin, ell, m, self.theta, self.phi) for ell, m in self.lm]
            )
        return self._harmonics[spin]

    def synthesis(self, alm: dict[tuple[int, int], complex], spin: int) -> np.ndarray:
        """Field of spin-weighted coefficients; multipoles that are not given are zero."""
        row = np.array([alm.get(lm, 0.0) for lm in self.lm])
        return row @ self.harmonics(spin)

    def analysis(self, field: np.ndarray, spin: int) -> dict[tuple[int, int], complex]:
        """Spin-weighted coefficients of a field by the quadrature of the grid."""
        row = np.conj(self.harmonics(spin)) @ (self.area * field)
        return dict(zip(self.lm, row, strict=True))


def unpacked(alm: np.ndarray, lmax: int) -> dict[tuple[int, int], complex]:
    """Coefficients of all m of a real field, from those that healpy packs."""
    out = {}
    for ell in range(lmax + 1):
        for m in range(ell + 1):
            value = complex(alm[m * (2 * lmax + 1 - m) // 2 + ell])
            out[ell, m] = value
            out[ell, -m] = (-1) ** m * value.conjugate()
    return out


def sphere_window(ell: int, centre: float) -> float:
    """`cos(pi/2 log2(l / centre))` within an octave of the centre."""
    octaves = math.log2(ell / centre) if ell else -math.inf
    return math.cos(math.pi / 2 * octaves) if abs(octaves) < 1 else 0.0


def sphere_covariance(
    alms: list[dict[tuple[int, int], complex]],
    lmax: int,
    scales: int,
    grids: list[Legendre],
    order: int = 4,
    directions: int = 6,
    harmonics: int = 4,
) -> Found:
    """Scattering covariance of fields on the sphere, not normalised, of all pairs of parts.

    Args:
        alms: coefficients of each channel.
        lmax: centre of the finest scale.
        scales: number of scales.
        grids: on which the moduli are evaluated at each scale.
        order: of the directional profile `cos^(2 order)(chi / 2)`.
        directions: in which the modulus is taken.
        harmonics: largest angular harmonic of a modulus.
    """
    profile = {n: math.comb(2 * order, order + n) for n in range(-order, order + 1)}
    norm = math.sqrt(sum(c**2 for c in profile.values()))
    turns = [np.pi * turn / directions for turn in range(directions)]
    found: Found = {name: {} for name in ("S1", "S2", "S3", "S4")}
    parts: dict[tuple[int, int, int, int], dict[tuple[int, int], complex]] = {}
    for scale, grid in enumerate(grids[:scales]):
        for channel, alm in enumerate(alms):
            seen = {lm: a * sphere_window(lm[0], lmax / 2**scale) for lm, a in alm.items()}
            spins = {n: grid.synthesis(seen, n) for n in profile}
            moduli = [
                np.abs(sum(c / norm * np.exp(1j * n * chi) * spins[n] for n, c in profile.items()))
                for chi in turns
            ]
            average = sum(moduli) / directions
            found["S1"][channel, scale] = np.sum(grid.area * average) / (4 * np.pi)
            for q in range(0, harmonics + 1, 2):
                angular = sum(
                    np.exp(-1j * q * chi) * one for chi, one in zip(turns, moduli, strict=True)
                )
                plus = grid.analysis(angular / directions, q)
                minus = grid.analysis(np.conj(angular) / directions, -q)
                if q == 0:
                    parts[channel, scale, 0, 0] = plus
                    continue
                # Gradient and curl as of the Stokes parameters, Zaldarriaga & Seljak (1997, eq. 6).
                parts[channel, scale, q, 0] = {x: -(plus[x] + minus[x]) / 2 for x in plus}
                parts[channel, scale, q, 1] = {x: 1j * (plus[x] - minus[x]) / 2 for x in plus}

    def product(a: dict, b: dict, scale: int) -> float:
        total = 0.0
        for ell in range(1, lmax + 1):
            window = sphere_window(ell, lmax / 2**scale) ** 2 / (4 * np.pi)
            for m in range(-ell, ell + 1):
                total += window * (a.get((ell, m), 0) * np.conj(b.get((ell, m), 0)))
        return complex(total).real

    channels = range(len(alms))
    for scale in range(scales):
        moduli = {key: part for key, part in parts.items() if key[1] <= scale}
        for a in channels:
            for b in channels:
                found["S2"][a, b, scale] = product(alms[a], alms[b], scale)
            for (b, fine, q, part), other in moduli.items():
                found["S3"][a, b, scale, fine, q, part] = product(alms[a], other, scale)
        for (a, j2, q2, p2), (b, j3, q3, p3) in itertools.product(moduli, moduli):
            key = (a, b, scale, j2, j3, q2, p2, q3, p3)
            found["S4"][key] = product(parts[a, j2, q2, p2], parts[b, j3, q3, p3], scale)
    return found


def sphere_normalised(found: Found) -> Found:
    """Moments over the powers of the scales of the two factors."""
    root = {(a, j): math.sqrt(v.real) for (a, b, j), v in found["S2"].items() if a == b}
    return {
        "S1": {key: value / root[key] for key, value in found["S1"].items()},
        "S2": found["S2"],
        "S3": {k: v / (root[k[0], k[2]] * root[k[1], k[3]]) for k, v in found["S3"].items()},
        "S4": {k: v / (root[k[0], k[3]] * root[k[1], k[4]]) for k, v in found["S4"].items()},
    }
