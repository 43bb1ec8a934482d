"""Wavelet scattering transforms and phase harmonics from their definitions, slow and right."""

from __future__ import annotations

import itertools
import math

import numpy as np

from .scattering import (
    Found,
    Legendre,
    Profile,
    grid_of,
    half_space,
    modes,
    numbers_of,
    sphere_window,
    values,
)


def turned(z: np.ndarray, power: int) -> np.ndarray:
    """The phase harmonic `|z| exp(i p arg z)`."""
    return np.abs(z) * np.exp(1j * power * np.angle(z))


class Waves:
    """Wavelet coefficients of flat fields on any grid.

    Args:
        profile: wavelet.
        orientations: number of directions.
        shape: of the fields.
        full: whether every scale is evaluated in the cells of the field.
    """

    def __init__(
        self, profile: Profile, orientations: int, shape: tuple[int, ...], full: bool = False
    ) -> None:
        self.profile, self.orientations, self.shape = profile, orientations, shape
        self.full = full
        self.axes = half_space(len(shape), orientations)

    def grid(self, scale: int) -> tuple[int, ...]:
        return self.shape if self.full else grid_of(self.shape, scale)

    def at(self, field: np.ndarray, scale: int, turn: int, grid: tuple[int, ...]) -> np.ndarray:
        numbers = numbers_of(self.grid(scale))
        mesh = np.meshgrid(*numbers, indexing="ij")
        k = np.stack([2 * np.pi * n / size for n, size in zip(mesh, self.shape, strict=True)], -1)
        wavelet = self.profile(k, scale, self.axes[turn], self.orientations)
        return values(modes(field, numbers) * wavelet, numbers, grid)


def flat_transform(fields: np.ndarray, waves: Waves, scales: int) -> Found:
    """`S1` and `S2 / S1` of fields `(channel, *shape)`."""
    found: Found = {"S1": {}, "S2": {}, "power": {}}
    turns = range(waves.orientations)
    for channel, fine, l1 in itertools.product(range(len(fields)), range(scales), turns):
        modulus = np.abs(waves.at(fields[channel], fine, l1, waves.grid(fine)))
        found["S1"][channel, fine, l1] = modulus.mean()
        found["power"][channel, fine, l1] = (modulus**2).mean()
        for coarse, l2 in itertools.product(range(fine + 1, scales), turns):
            second = np.abs(waves.at(modulus, coarse, l2, waves.grid(coarse)))
            found["S2"][channel, fine, coarse, l1, l2] = second.mean() / modulus.mean()
    return found


def flat_phases(
    fields: np.ndarray, waves: Waves, scales: int, lags: dict[tuple[int, int, int], tuple[int, ...]]
) -> Found:
    """Phase harmonics of fields `(channel, *shape)` over the deviations of their factors.

    Args:
        fields: one map for each channel.
        waves: wavelets, of full grids when there are shifts.
        scales: number of scales.
        lags: cells of each orientation, number of the distance and of the angle; `(turn, 0, 0)` for
            no shift.
    """
    names = ("S1", "S11", "S00", "S01", "C01", "C00", "Cphase")
    found: Found = {name: {} for name in names}
    turns, channels = range(waves.orientations), range(len(fields))

    def covariance(a: np.ndarray, b: np.ndarray, lag: tuple[int, ...] = ()) -> complex:
        moved = np.roll(a, [-step for step in lag], tuple(range(len(lag)))) if lag else a
        return np.mean((moved - moved.mean()) * np.conj(b - b.mean()))

    def moved_to(field: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
        if field.shape == grid:
            return field
        return values(modes(field, numbers_of(grid)), numbers_of(grid), grid).real

    wave = {
        (a, j, turn): waves.at(fields[a], j, turn, waves.grid(j))
        for a in channels
        for j in range(scales)
        for turn in turns
    }
    sigma = {key: np.sqrt(np.mean(np.abs(z) ** 2)) for key, z in wave.items()}
    spread = {key: np.abs(z).std() for key, z in wave.items()}
    for a, j, turn in wave:
        found["S1"][a, j, turn] = np.abs(wave[a, j, turn]).mean()
        for b in channels:
            one, two = wave[a, j, turn], wave[b, j, turn]
            norm = spread[a, j, turn] * sigma[b, j, turn]
            found["S01"][a, b, j, turn] = covariance(np.abs(one), two) / norm
            for (other, step, angle), lag in lags.items():
                if other != turn:
                    continue
                key = (a, b, j, turn, step, angle)
                norm = 1.0 if a == b and not step else sigma[a, j, turn] * sigma[b, j, turn]
                found["S11"][key] = covariance(one, two, lag) / norm
                norm = spread[a, j, turn] * spread[b, j, turn]
                found["S00"][key] = covariance(np.abs(one), np.abs(two), lag).real / norm
    for a, b, coarse in itertools.product(channels, channels, range(scales)):
        for fine, l1, l2 in itertools.product(range(coarse), turns, turns):
            one, two = wave[a, fine, l1], wave[b, coarse, l2]
            first = moved_to(np.abs(one), waves.grid(coarse))
            for (other, step, angle), lag in lags.items():
                if other != l2 or (step and l1 != l2):
                    continue
                norm = spread[a, fine, l1] * sigma[b, coarse, l2]
                key = (a, b, fine, coarse, l1, l2, step, angle)
                found["C01"][key] = covariance(first, two, lag) / norm
                if l1 != l2:
                    continue
                near = waves.at(fields[b], coarse, l2, waves.grid(fine))
                second = turned(near, 2 ** (coarse - fine))
                norm = sigma[a, fine, l1] * sigma[b, coarse, l2]
                key = (a, b, fine, coarse, l1, step, angle)
                found["Cphase"][key] = covariance(one, second, lag) / norm
            norm = spread[a, fine, l1] * spread[b, coarse, l2]
            found["C00"][a, b, fine, coarse, l1, l2] = covariance(first, np.abs(two)).real / norm
    return found


class Sky:
    """Wavelet coefficients of fields on the sphere, and the parts of their moduli.

    Args:
        lmax: centre of the finest scale.
        grids: on which each scale is evaluated.
        order: of the directional profile.
        directions: over half a turn.
        harmonics: largest angular harmonic of a modulus.
    """

    def __init__(
        self, lmax: int, grids: list[Legendre], order: int, directions: int, harmonics: int
    ) -> None:
        self.lmax, self.grids, self.order = lmax, grids, order
        self.turns = [np.pi * turn / directions for turn in range(directions)]
        self.even = range(0, harmonics + 1, 2)

    def waves(self, alm: dict, scale: int, grid: Legendre) -> list[np.ndarray]:
        """Coefficients in each direction; the real part is in phase with the field."""
        seen = {lm: a * sphere_window(lm[0], self.lmax / 2**scale) for lm, a in alm.items()}
        profile = {n: math.comb(2 * self.order, self.order + n) for n in self._spins}
        norm = math.sqrt(sum(c**2 for c in profile.values()))
        spins = {n: grid.synthesis(seen, n) for n in profile}
        return [
            sum(c / norm * np.exp(1j * n * chi) * spins[n] for n, c in profile.items())
            for chi in self.turns
        ]

    @property
    def _spins(self) -> range:
        return range(-self.order, self.order + 1)

    def parts(self, moduli: list[np.ndarray], scale: int) -> dict[tuple[int, int], dict]:
        """Gradient and curl coefficients of each angular harmonic."""
        grid, found = self.grids[scale], {}
        for q in self.even:
            angular = sum(
                np.exp(-1j * q * chi) * one for chi, one in zip(self.turns, moduli, strict=True)
            ) / len(self.turns)
            plus, minus = grid.analysis(angular, q), grid.analysis(np.conj(angular), -q)
            if q == 0:
                found[0, 0] = plus
                continue
            found[q, 0] = {x: -(plus[x] + minus[x]) / 2 for x in plus}
            found[q, 1] = {x: 1j * (plus[x] - minus[x]) / 2 for x in plus}
        return found

    def mean(self, many: list[np.ndarray], scale: int) -> complex:
        """Average over places and directions."""
        area = self.grids[scale].area
        return sum(np.sum(area * one) for one in many) / (4 * np.pi * len(many))


def sphere_transform(alm: dict, sky: Sky, scales: int) -> Found:
    """`S1` and `S2 / S1` of a field, of all relative angles."""
    found: Found = {"S1": {}, "S2": {}}
    for fine in range(scales):
        moduli = [np.abs(one) for one in sky.waves(alm, fine, sky.grids[fine])]
        found["S1"][0, fine] = sky.mean(moduli, fine)
        parts = sky.parts(moduli, fine)
        for turn, angle in enumerate(sky.turns):
            field = {lm: -value for lm, value in parts[0, 0].items()}
            for q in sky.even[1:]:
                for lm in field:
                    field[lm] += 2 * math.cos(q * angle) * parts[q, 0][lm]
                    field[lm] -= 2 * math.sin(q * angle) * parts[q, 1][lm]
            for coarse in range(fine + 1, scales):
                second = [np.abs(x) for x in sky.waves(field, coarse, sky.grids[coarse])]
                value = sky.mean(second, coarse) / found["S1"][0, fine]
                found["S2"][0, fine, coarse, turn] = value
    return found


def sphere_phases(alms: list[dict], sky: Sky, scales: int, bands: list[int]) -> Found:
    """Phase harmonics of fields over the deviations of their factors, of all parts."""
    names = ("S1", "S11", "S00", "S01", "C01", "C00", "Cphase")
    found: Found = {name: {} for name in names}
    waves, parts, sigma, spread = {}, {}, {}, {}
    for a, j in itertools.product(range(len(alms)), range(scales)):
        waves[a, j] = sky.waves(alms[a], j, sky.grids[j])
        moduli = [np.abs(one) for one in waves[a, j]]
        parts[a, j] = sky.parts(moduli, j)
        found["S1"][a, j] = sky.mean(moduli, j).real
        sigma[a, j] = math.sqrt(sky.mean([one**2 for one in moduli], j).real)
        spread[a, j] = math.sqrt(sigma[a, j] ** 2 - found["S1"][a, j] ** 2)

    def product(one: dict, two: dict, scale: int, window: bool) -> float:
        total = 0.0
        for ell in range(1, bands[scale] + 1):
            weight = sphere_window(ell, sky.lmax / 2**scale) if window else 1.0
            for m in range(-ell, ell + 1):
                term = one.get((ell, m), 0.0) * np.conj(two.get((ell, m), 0.0))
                total += weight * complex(term).real / (4 * np.pi)
        return total

    for (a, fine), (b, j) in itertools.product(waves, waves):
        if fine > j:
            continue
        at = (j,) if fine == j else (fine, j)
        for q, part in parts[a, fine]:
            value = product(parts[a, fine][q, part], alms[b], j, window=True)
            name = "S01" if fine == j else "C01"
            found[name][a, b, *at, q, part] = value / (spread[a, fine] * sigma[b, j])
            if part:
                continue
            value = sum(
                product(parts[a, fine][q, p], parts[b, j][q, p], j, window=False)
                for p in (0, 1)
                if (q, p) in parts[b, j]
            )
            name = "S00" if fine == j else "C00"
            found[name][a, b, *at, q] = value / (spread[a, fine] * spread[b, j])
        if fine == j:
            pairs = zip(waves[a, j], waves[b, j], strict=True)
            value = sky.mean([x * np.conj(y) for x, y in pairs], j).real
            found["S11"][a, b, j] = value if a == b else value / (sigma[a, j] * sigma[b, j])
            continue
        near = sky.waves(alms[b], j, sky.grids[fine])
        pairs = zip(waves[a, fine], near, strict=True)
        values_ = [x * np.conj(turned(y, 2 ** (j - fine))) for x, y in pairs]
        value = sky.mean(values_, fine).real
        found["Cphase"][a, b, fine, j] = value / (sigma[a, fine] * sigma[b, j])
    return found
