"""Trained models: maps in, posteriors out, and their files."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from skysift.grid import Ordering
from skysift.inference import coarse_scores, codec, most_likely, near_scores, scores
from skysift.inference.coarse_scores import CoarseScores
from skysift.inference.heads import (
    AbstractHead,
    AbstractHeadKind,
    Refinement,
    Regression,
    Scoring,
)
from skysift.inference.mixture import Mixture
from skysift.inference.most_likely import MostLikely
from skysift.inference.near_scores import NearScores
from skysift.inference.posterior import Posterior
from skysift.inference.prior import Prior
from skysift.inference.regions import AbstractRegion, FullSky, RandomCaps, Shared
from skysift.inference.scores import Scores
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed
from skysift.inference.summaries import Filtered
from skysift.inference.summary import AbstractEstimate, AbstractSummary
from skysift.maps import Maps, Stokes, unseen_to_nan
from skysift.units import Unit

_KIND = "model"
_SUFFIX = ".skysift"
_BATCH = 128


@dataclass(frozen=True)
class Family:
    """What maps a model is for: those that it was trained on.

    Args:
        prior: of the parameters.
        nside: resolution.
        stokes: what the maps hold.
        unit: of the maps.
        region: which cells are seen.
    """

    prior: Prior
    nside: int
    stokes: Stokes
    unit: Unit
    region: AbstractRegion

    @staticmethod
    def of(simulator: AbstractSimulator) -> Family:
        """The maps of a simulator."""
        return Family(
            simulator.prior, simulator.nside, simulator.stokes, simulator.unit, simulator.region
        )


class Network(eqx.Module):
    """What is to be trained: a summary of maps, and the kind of head on it.

    Args:
        summary: of the maps.
        kind: of the head; `Refinement` for estimates, `Scoring` for other fixed summaries, which
            are powers, else `Regression`.
    """

    summary: AbstractSummary
    kind: AbstractHeadKind = eqx.field(static=True)

    def __init__(self, summary: AbstractSummary, kind: AbstractHeadKind | None = None) -> None:
        self.summary = summary
        self.kind = kind or _suited(summary)

    @staticmethod
    def of(simulator: AbstractSimulator) -> Network:
        """The best there is without learning a summary.

        `Scores` of Gaussian skies with a cut, or of small ones with noise, `CoarseScores` where
        cuts have too many values for them, and `NearScores` where E and B are as published;
        `MostLikely` of other full skies; else `Filtered`.

        Args:
            simulator: of the maps.

        Raises:
            ValueError: for I, Q and U at once.
        """
        if isinstance(simulator, GaussianSky):
            if scores.suits(simulator):
                return Network(Scores.of(simulator))
            if coarse_scores.suits(simulator):
                return Network(CoarseScores(simulator))
            if near_scores.suits(simulator):
                return Network(NearScores(simulator))
            if most_likely.suits(simulator):
                return Network(MostLikely(simulator))
        return Network(Filtered.of(simulator))


def _suited(summary: AbstractSummary) -> AbstractHeadKind:
    if isinstance(summary, AbstractEstimate):
        return Refinement()
    return Regression() if summary.learns else Scoring()


class Member(eqx.Module):
    """One network: what is learnt of it.

    Args:
        summary: where it learns; `None` where it is fixed, and shared.
        head: on its numbers.
    """

    summary: AbstractSummary | None
    head: AbstractHead

    def __call__(self, numbers: Array | Observed) -> Mixture:
        """Densities of maps, or of the numbers of a fixed summary."""
        if self.summary is None:
            assert not isinstance(numbers, Observed)
            return self.head(numbers)
        assert isinstance(numbers, Observed)
        return self.head(self.summary(numbers))


def start(network: Network, parameters: int, key: PRNGKeyArray, members: int) -> Member:
    """Members with random numbers of their own, stacked; the first has the summary as it is."""
    heads = eqx.filter_vmap(lambda one: network.kind.head(network.summary.size, parameters, one))(
        jax.random.split(jax.random.fold_in(key, 0), members)
    )
    if not network.summary.learns:
        return Member(None, heads)
    bodies = [network.summary]
    for number in range(1, members):
        told = codec.encode(network.summary)
        bodies.append(codec.decode(told, jax.random.fold_in(key, number)))
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *bodies
    )
    return Member(stacked, heads)


def each(members: Member, numbers: Array | Observed) -> Mixture:
    """Densities that each member tells, along a first axis."""
    return eqx.filter_vmap(lambda one: one(numbers), in_axes=(eqx.if_array(0),))(members)


@dataclass(frozen=True, eq=False)
class Model:
    """Posteriors of maps.

    Args:
        network: summary and kind of head.
        members: trained, stacked; their densities are averaged.
        family: the maps it is for.
        figures: what training found, as JSON can hold it.
    """

    network: Network
    members: Member
    family: Family
    figures: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        maps: Maps | Float[np.ndarray | Array, "..."],
        mask: Bool[np.ndarray, " npix"] | None = None,
        *,
        ordering: Ordering = Ordering.RING,
        unit: Unit | None = None,
    ) -> Posterior:
        """Posteriors of maps.

        Cells that are NaN or UNSEEN count as not seen, where the model was trained with masks.

        Args:
            maps: with their grid and unit, or full-sky values `(npix,)`, `(stokes, npix)` or
                `(map, stokes, npix)` in the unit of the training.
            mask: true where a cell is seen, of all maps, in their ordering; `None` for the cells
                that have values, and of these the cells of the training where it had one mask.
            ordering: of bare values and of the mask.
            unit: of bare values, that of the training by default.

        Raises:
            ValueError: for maps of another nside, unit or Stokes parameters, missing values where
                the model was trained on the full sky, or maps in which nothing is seen.

        Warns:
            UserWarning: for masks that the model was not trained with.
        """
        values = self._values(maps, ordering, unit)
        if isinstance(maps, Maps):
            ordering = maps.grid.ordering
        seen = self._seen(values, mask, ordering)
        filled = np.where(seen[:, None], values, 0.0)
        return self.posterior(Observed(jnp.asarray(filled, jnp.float32), jnp.asarray(seen)))

    def posterior(self, observed: Observed) -> Posterior:
        """Posteriors of maps of a simulator, which are not looked at.

        Args:
            observed: maps and masks.
        """
        count = len(observed.values)
        parts = []
        for first in range(0, count, _BATCH):
            some = jax.tree.map(lambda leaf, at=first: leaf[at : at + _BATCH], observed)
            number = len(some.values)
            # Few shapes are compiled: powers of two.
            padding = (1 << (number - 1).bit_length()) - number
            padded = jax.tree.map(
                lambda leaf, add=padding: jnp.concatenate([leaf, leaf[:1].repeat(add, axis=0)]),
                some,
            )
            mixture = _mixture(self.network.summary, self.members, padded)
            parts.append(jax.tree.map(lambda leaf, n=number: np.asarray(leaf[:n]), mixture))
        whole = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves), float), *parts)
        return Posterior(self.family.prior, whole)

    def save(self, path: str | Path) -> Path:
        """One file of the model.

        Args:
            path: of the file; what is there is replaced.

        Raises:
            ValueError: for a summary or region that a file cannot hold.
        """
        header = {
            "network": codec.encode(self.network),
            "family": codec.encode(self.family),
            "members": len(jax.tree.leaves(eqx.filter(self.members.head, eqx.is_array))[0]),
            "figures": self.figures,
        }
        codec.write(Path(path), _KIND, header, self.members)
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The model of a file.

        Args:
            path: of the file.

        Raises:
            ValueError: for a file that is damaged, of another version, or something else.
        """
        header, payload = codec.read(Path(path), _KIND)
        network, family = codec.decode(header["network"]), codec.decode(header["family"])
        like = start(network, family.prior.size, jax.random.key(0), header["members"])
        return cls(network, codec.filled(like, payload), family, header["figures"])

    def _values(
        self, maps: Maps | Float[np.ndarray | Array, "..."], ordering: Ordering, unit: Unit | None
    ) -> Float[np.ndarray, "map stokes npix"]:
        """Full-sky maps, RING, NaN where nothing is known."""
        stokes, nside = self.family.stokes, self.family.nside
        if isinstance(maps, Maps):
            unit, ordering = maps.unit, maps.grid.ordering
            places = [maps.stokes.value.find(letter) for letter in stokes.value]
            if -1 in places:
                raise ValueError(
                    f"maps: expected Stokes {stokes.value}, as the model was trained on, got "
                    f"{maps.stokes.value}. Use another model."
                )
            values = unseen_to_nan(maps.full())[..., places, :]
        else:
            values = unseen_to_nan(np.ma.asarray(maps))
        if unit is not None and unit is not self.family.unit:
            raise ValueError(
                f"maps: expected the unit {self.family.unit.value or 'none'!r} of the training, "
                f"got {unit.value or 'none'!r}. Convert the maps (units.conversion) first."
            )
        npix = 12 * nside**2
        if values.ndim == 0 or values.shape[-1] != npix:
            size = values.shape[-1] if values.ndim else 0
            other = f"nside {hp.npix2nside(size)}" if hp.isnpixok(size) and size else "no full sky"
            raise ValueError(
                f"maps: expected nside {nside} ({npix} cells), got {other} (shape {values.shape}). "
                f"Use a model for these, or maps of nside {nside}."
            )
        if stokes is Stokes.I and (values.ndim == 1 or values.shape[-2] != 1 or values.ndim > 3):
            values = values[..., None, :]
        if values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or values.shape[1] != len(stokes) or not len(values):
            raise ValueError(
                f"maps: expected shape (map, {len(stokes)}, {npix}) or ({len(stokes)}, {npix}) of "
                f"Stokes {stokes.value}, got {values.shape}. Stack maps along the first axis."
            )
        return _in_ring(values, nside) if ordering is Ordering.NESTED else values

    def _seen(
        self,
        values: Float[np.ndarray, "map stokes npix"],
        mask: Bool[np.ndarray, " npix"] | None,
        ordering: Ordering,
    ) -> Bool[np.ndarray, "map npix"]:
        """Which cells count."""
        region = self.family.region
        known = np.asarray(np.isfinite(values).all(axis=1))
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != known.shape[1:] or mask.dtype != np.bool_:
                raise ValueError(
                    f"mask: expected booleans of shape {known.shape[1:]}, got {mask.dtype} of "
                    f"shape {mask.shape}. Threshold it, for instance mask > 0.5."
                )
            ring = _in_ring(mask, self.family.nside) if ordering is Ordering.NESTED else mask
            known = known & ring
        elif isinstance(region, FullSky) and not known.all():
            raise ValueError(
                f"maps: expected values in all cells, as the model was trained on the full sky, "
                f"got {np.count_nonzero(~known)} missing (UNSEEN or NaN). Use a model for a cut "
                "sky, or give a mask to have them as zero with a warning."
            )
        if isinstance(region, Shared):
            cells = np.zeros(12 * self.family.nside**2, dtype=bool)
            cells[region.grid.ring] = True
            known = known & cells
        if not known.any(axis=1).all():
            raise ValueError(
                "maps: expected at least one cell seen in each map, got none. Look at the mask, "
                "and at NaN and UNSEEN."
            )
        _warn_mask(region, known, self.family.nside)
        return known


def load(name: str | Path) -> Model:
    """A trained model.

    Args:
        name: of a packaged model, for instance `t2-fsky1.0`, or a file.

    Raises:
        ValueError: for no such model, or a file that is damaged or of another version.

    Examples:
        >>> from skysift.inference.simulators import Split, t1
        >>> parameters, observed = t1().batch(Split.TEST.key(0), 1)
        >>> post = load("t1-noise0")(observed.values)
        >>> bool(abs(post.mean - parameters) < 5.0 * post.std)
        True
    """
    for path in (packaged().get(str(name)), Path(name)):
        if path is not None and path.is_file():
            return Model.read(path)
    known = ", ".join(sorted(packaged())) or "none"
    raise ValueError(
        f"name: expected a file, or a packaged model ({known}), got {str(name)!r}. Check the path, "
        "or train one (`train`)."
    )


def packaged() -> dict[str, Path]:
    """Files of the models that come with the package, by name."""
    folder = Path(str(resources.files("skysift"))) / "data" / "models"
    return {path.name.removesuffix(_SUFFIX): path for path in folder.glob(f"*{_SUFFIX}")}


@eqx.filter_jit
def _mixture(summary: AbstractSummary, members: Member, observed: Observed) -> Mixture:
    """The average over the members: components of all."""
    mixtures = each(members, observed if summary.learns else summary(observed))
    return jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(leaf.shape[1], -1, *leaf.shape[3:]),
        eqx.tree_at(lambda one: one.logits, mixtures, jax.nn.log_softmax(mixtures.logits)),
    )


def _in_ring(values: np.ndarray, nside: int) -> np.ndarray:
    """Values in NESTED order, in RING order."""
    return values[..., hp.ring2nest(nside, np.arange(12 * nside**2))]


def _warn_mask(region: AbstractRegion, seen: Bool[np.ndarray, "map npix"], nside: int) -> None:
    """Say so where masks are not those of the training."""
    share = seen.mean(axis=1)
    if isinstance(region, FullSky):
        expected, wrong = "the full sky", share < 1.0
    elif isinstance(region, Shared):
        expected, wrong = "one mask, which has more cells", share < region.grid.fsky - 1e-9
    elif isinstance(region, RandomCaps):
        # Caps of one size have not quite as many cells.
        slack = 2.0 * np.sqrt(region.fsky / (12 * nside**2)) + 1e-9
        expected = f"caps of {region.fsky:g} of the sky"
        wrong = np.abs(share - region.fsky) > slack
    else:
        return
    if wrong.any():
        warnings.warn(
            f"mask: the model was trained on {expected}; {np.count_nonzero(wrong)} of {len(seen)} "
            f"maps show {share[wrong].min():.3g} of the sky or more. Their posteriors are not to "
            "be trusted: neither means nor widths. Train a model with these masks.",
            stacklevel=3,
        )
