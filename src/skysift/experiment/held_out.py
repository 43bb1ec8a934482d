"""How well samples that are left out are predicted from the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.experiment.config import Estimate
from skysift.experiment.parts import Parts
from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import Samples
from skysift.report.resample_view import HeldOut, Prediction
from skysift.resample import Sampling

_STREAM = 1  # of the seed; the probes of fits have their own


def hold_out(
    recipe: Recipe, samples: Samples, progress: Callable[[str], None] | None = None
) -> HeldOut:
    """Every so-manyth sample, predicted from the others by a recipe and by simpler ones.

    Which ones is drawn at random: every tenth in the order of the file would be the same few
    columns of a swath.

    Args:
        recipe: says how many.
        samples: all of them.
        progress: called with the name of each recipe before it is tried.

    Raises:
        ValueError: if there are too few.
    """
    recipes = {one.name: one for one in (recipe, *_simpler(recipe))}
    left = left_out(recipe, samples.size)
    train, test = samples.taken(~left), samples.taken(left)
    predicted = []
    for name, one in recipes.items():
        if progress is not None:
            progress(name)
        predicted.append(predict(one, train, test))
    truth = test.values
    common = np.isfinite(truth) & np.all(np.isfinite(predicted), axis=0)
    predictions = tuple(
        Prediction(
            name,
            int(np.sum(np.isfinite(one) & np.isfinite(truth))),
            tuple(
                float(np.sqrt(np.mean((a - b)[c] ** 2))) if c.any() else np.nan
                for a, b, c in zip(one, truth, common, strict=True)
            ),
        )
        for name, one in zip(recipes, predicted, strict=True)
    )
    return HeldOut(int(np.isfinite(truth).sum()), int(common.sum()), predictions)


def left_out(recipe: Recipe, size: int) -> Bool[np.ndarray, " sample"]:
    """Which samples are left out.

    Raises:
        ValueError: if there are too few.
    """
    made = recipe.experiment
    if size < made.hold_out:
        raise ValueError(
            f"hold_out: expected at least {made.hold_out} samples, got {size}. Leave it out, or "
            "choose a smaller number."
        )
    rng = np.random.default_rng(np.random.SeedSequence(made.seed, spawn_key=(_STREAM,)))
    left = np.zeros(size, dtype=bool)
    left[rng.permutation(size)[made.hold_out - 1 :: made.hold_out]] = True
    return left


def _simpler(recipe: Recipe) -> list[Recipe]:
    """Methods to compare with: nearest and bilinear, with nothing to choose."""
    made = recipe.experiment
    plain: dict[str, Any] = dict.fromkeys(
        (
            "npt",
            "sigma_m",
            "threshold",
            "area",
            "corners",
            "damping",
            "least_part",
            "bounds",
            "estimate",
        )
    )
    common = dataclasses.replace(made, **plain, smoothness=0.0, errors=False, hold_out=0)
    others = [("nearest", Estimate.AVERAGE), ("bilinear", Estimate.AVERAGE)]
    if recipe.estimate is Estimate.FIT:
        others.append(("bilinear", Estimate.FIT))
    return [
        Recipe.of(dataclasses.replace(common, method=method, estimate=estimate))
        for method, estimate in others
    ]


def predict(recipe: Recipe, train: Samples, test: Samples) -> Float[np.ndarray, "row held"]:
    """Values at samples from cells of others, NaN where these say nothing.

    Args:
        recipe: how cells are made.
        train: samples that they are made of.
        test: samples that are predicted; their values are not looked at.
    """
    out = np.full((len(train.values), test.size), np.nan)
    for relation, some, options, there in _pieces(recipe, train, test):
        if there.size:
            cells, _ = recipe.cells(relation, some, **options)
            out[:, there] = _at(recipe, relation, cells, test.taken(there))
    return out


def _pieces(
    recipe: Recipe, train: Samples, test: Samples
) -> Iterator[tuple[Sampling, Samples, dict[str, Any], Int[np.ndarray, " held"]]]:
    """Relations with their samples, options of fits, and which samples they are to predict."""
    if not recipe.in_parts:
        yield recipe.relation(train), train, {}, np.arange(test.size)
        return
    parts = Parts.of(recipe, train)
    homes, options = parts.homes(test), parts.shared()
    for region in parts.regions:
        there = np.flatnonzero(homes == region.parent)
        yield region.sampling, train.taken(region.samples), options, there


def _at(
    recipe: Recipe, relation: Sampling, cells: Float[np.ndarray, "row cell"], test: Samples
) -> Float[np.ndarray, "row held"]:
    """Cells at other samples; rows with the same known cells share a relation."""
    out = np.full((len(cells), test.size), np.nan)
    masks, mask_of = np.unique(np.isfinite(cells), axis=0, return_inverse=True)
    for number, known in enumerate(masks):
        if known.any():
            rows = np.flatnonzero(mask_of.ravel() == number)
            there = recipe.relation(test, cells=relation.cell_ids[known])
            kept = np.isin(relation.cell_ids, there.cell_ids)
            out[rows] = there.resample(cells[rows][:, kept])
    return out
