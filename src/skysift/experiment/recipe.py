"""How cells are made of samples, as an experiment says it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from skysift import resample
from skysift.experiment.config import Estimate, ResampleExperiment
from skysift.experiment.samples import Samples
from skysift.experiment.text import unknown
from skysift.resample import CellFit, FitOptions, Grouping, Method, Reduce, Sampling
from skysift.resample.inverse import Given, fit_given
from skysift.resample.krylov import Progress
from skysift.resample.options import check_bounds

_GROUP = "group_by"
_INTERPOLATING = (Method.BILINEAR, Method.BICUBIC, Method.INVERSE_DISTANCE, Method.PSF)
_PREDICTING = (Reduce.MEAN, Reduce.MEDIAN)
_IN_PARTS = (*(one.value for one in _INTERPOLATING), Method.NEAREST.value, _GROUP)
_OPTIONS = {
    "npt": ("psf", "inverse_distance"),
    "sigma_m": ("psf",),
    "threshold": ("psf",),
    "area": ("conservative",),
    "corners": ("conservative",),
    "parent_level": _IN_PARTS,
    "memory_mb": _IN_PARTS,
    "sigma": tuple(one.value for one in Method),
}
_FITTED = ("damping", "least_part", "smoothness", "bounds", "errors")


@dataclass(frozen=True)
class Recipe:
    """How cells are made of samples.

    Args:
        experiment: that says so.
        method: name of the relation between samples and cells.
        reduce: what is made of the samples of a cell, for `group_by`.
        estimate: fit or average.
    """

    experiment: ResampleExperiment
    method: str
    reduce: Reduce | None
    estimate: Estimate

    @staticmethod
    def of(experiment: ResampleExperiment) -> Recipe:
        """Recipe of an experiment.

        Raises:
            ValueError: for an unknown method, or settings that the method does not have.
        """
        method, _, rest = experiment.method.partition(":")
        known = [*(one.value for one in Method), *(f"{_GROUP}:{one.value}" for one in Reduce)]
        if experiment.method not in (*known, _GROUP):
            raise ValueError(f"method: {unknown('method', experiment.method, known)}")
        fits = method in [one.value for one in _INTERPOLATING]
        estimate = experiment.estimate or (Estimate.FIT if fits else Estimate.AVERAGE)
        if estimate is Estimate.FIT and method in (_GROUP, Method.CONSERVATIVE.value):
            raise ValueError(
                f"estimate: expected average with {method}, got fit. Leave it out, or choose psf."
            )
        reduce = Reduce(rest or "mean") if method == _GROUP else None
        made = Recipe(experiment, method, reduce, estimate)
        made._check()
        return made

    @property
    def name(self) -> str:
        """Method and estimate, for tables."""
        if self.reduce is not None:
            return f"{self.reduce.value} of the samples in each cell"
        return f"{self.method}, {self.estimate.value}"

    @property
    def predicts(self) -> bool:
        """Whether cells are in the unit of the samples and stand for values at places."""
        return self.reduce is None or self.reduce in _PREDICTING

    @property
    def in_parts(self) -> bool:
        """Whether parent cells are worked through one after the other."""
        made = self.experiment
        return made.parent_level is not None or made.memory_mb is not None

    def relation(self, samples: Samples, cells: Int[np.ndarray, " cell"] | None = None) -> Sampling:
        """Relation between samples and cells.

        Args:
            samples: with areas or footprints, if the method is to use them.
            cells: numbers of the only cells wanted; all of them count, however few samples they
                have.
        """
        made = self.experiment
        common: dict[str, Any] = {
            "cells": cells,
            "ellipsoid": made.ellipsoid,
            "nest": not made.ring,
        }
        if self.method == Method.CONSERVATIVE.value:
            seen = samples.footprints
            if seen is not None:
                return resample.footprints(
                    seen.lon, seen.lat, made.level, edges=seen.edges, **common
                )
            areas = 1.0 if samples.area is None else samples.area
            return resample.conservative(samples.lon, samples.lat, made.level, areas, **common)
        if cells is not None and self.method == Method.PSF.value:
            common["threshold"] = 0.0
        return self.interpolation(samples.lon, samples.lat, made.level, **common)

    @property
    def interpolation(self) -> Callable[..., Sampling]:
        """The method with its options, without those that the engine calls cells and figure."""
        made = self.experiment
        given = {name: getattr(made, name) for name in ("npt", "sigma_m", "threshold")}
        method = Method.NEAREST if self.reduce is not None else Method(self.method)
        build: Callable[..., Sampling] = {
            Method.NEAREST: resample.nearest,
            Method.BILINEAR: resample.bilinear,
            Method.BICUBIC: resample.bicubic,
            Method.INVERSE_DISTANCE: resample.inverse_distance,
            Method.PSF: resample.psf,
        }[method]
        options = {name: value for name, value in given.items() if value is not None}
        return functools.partial(build, **options)

    def given(
        self,
        samples: Samples,
        *,
        progress: Progress | None = None,
        reference_variance: Float[np.ndarray, " row"] | None = None,
        **options: Any,
    ) -> Given:
        """What a fit is told besides the values.

        Args:
            samples: with standard deviations, if they are to be weighed.
            progress: called after each iteration.
            reference_variance: of the sample that the smoothness is compared with.
            **options: fields of `FitOptions`, before those of the experiment.

        Raises:
            ValueError: for options out of range.
        """
        made = self.experiment
        own: dict[str, Any] = {
            "damping": made.damping,
            "least_part": made.least_part,
            "smoothness": made.smoothness,
            "max_iter": made.max_iterations,
            "tol": made.tolerance,
            "seed": made.seed,
        }
        return Given(
            options=FitOptions(**(own | options)),
            noise_variance=self._variance(samples),
            bounds=check_bounds(made.bounds),
            progress=progress,
            reference_variance=reference_variance,
        )

    def cells(
        self, relation: Sampling, samples: Samples, **given: Any
    ) -> tuple[Float[np.ndarray, "row cell"], CellFit | None]:
        """Cells of samples, and the fit if it is one.

        Args:
            relation: of the samples.
            samples: that they are made of.
            **given: what `given` takes.
        """
        values = samples.values
        if self.reduce is not None:
            return Grouping(relation, self.reduce).average(values), None
        if self.estimate is Estimate.AVERAGE:
            return relation.average(values, self._variance(samples)), None
        fit = fit_given(relation, values, self.given(samples, **given))  # the status is told
        return np.asarray(fit.values), fit

    def _variance(self, samples: Samples) -> Float[np.ndarray, " sample"] | None:
        """Noise variances; a sample whose noise is not known says nothing."""
        if samples.sigma is None:
            return None
        return np.where(np.isfinite(samples.sigma), samples.sigma, np.inf) ** 2

    def _check(self) -> None:
        made = self.experiment
        for name, methods in _OPTIONS.items():
            if getattr(made, name) is not None and self.method not in methods:
                raise ValueError(
                    f"{name}: expected none with {self.method}, got {getattr(made, name)}. Leave "
                    f"it out, or choose {' or '.join(methods)}."
                )
        for name in _FITTED:
            given = getattr(made, name) != getattr(ResampleExperiment, name)
            if self.estimate is not Estimate.FIT and given:
                raise ValueError(
                    f"{name}: expected none with an average, got {getattr(made, name)}. Leave it "
                    "out, or choose --estimate fit with psf or bilinear."
                )
        if made.hold_out < 0 or made.hold_out == 1:
            raise ValueError(
                f"hold_out: expected 0 for none or at least 2, got {made.hold_out}. Try 10."
            )
        self._check_parts()
        if made.hold_out and not self.predicts:
            raise ValueError(
                f"hold_out: expected a method that predicts samples, got {made.method}. Leave it "
                "out, or choose psf."
            )

    def _check_parts(self) -> None:
        """Refuse what needs all samples at once where parent cells are worked through."""
        made = self.experiment
        if not self.in_parts:
            return
        if made.parent_level is not None and made.memory_mb is not None:
            raise ValueError(
                f"parent_level: expected none with memory_mb, got {made.parent_level}. Give one of "
                "them; parent cells are chosen to fit the memory."
            )
        if made.memory_mb is not None and not made.memory_mb > 0.0:
            raise ValueError(
                f"memory_mb: expected a number of MiB above 0, got {made.memory_mb}. Try 500."
            )
        if made.errors and made.sigma is None:
            raise ValueError(
                "errors: expected --sigma where parent cells are worked through one by one, got "
                "none; each would find another noise. Name standard deviations with --sigma."
            )
