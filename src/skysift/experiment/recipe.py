"""How cells are made of samples, as an experiment says it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from skysift import resample
from skysift.experiment.config import Estimate, ResampleExperiment
from skysift.experiment.text import unknown
from skysift.resample import CellFit, Grouping, Method, Reduce, Sampling

_GROUP = "group_by"
_INTERPOLATING = (Method.BILINEAR, Method.BICUBIC, Method.INVERSE_DISTANCE, Method.PSF)
_PREDICTING = (Reduce.MEAN, Reduce.MEDIAN)
_OPTIONS = {
    "npt": ("psf", "inverse_distance"),
    "sigma_m": ("psf",),
    "threshold": ("psf",),
    "area": ("conservative",),
    "memory_mb": ("nearest", "bilinear", "bicubic", "inverse_distance", "psf"),
    "sigma": tuple(one.value for one in Method),
}
_FITTED = ("damping", "smoothness", "bounds", "errors")


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

    def relation(
        self,
        lon: Float[np.ndarray, " sample"],
        lat: Float[np.ndarray, " sample"],
        area: Float[np.ndarray, " sample"] | None = None,
        cells: Int[np.ndarray, " cell"] | None = None,
    ) -> Sampling:
        """Relation between samples and cells.

        Args:
            lon: [degrees].
            lat: [degrees].
            area: of the samples [m2], for `conservative`; 1 if not given.
            cells: numbers of the only cells wanted.
        """
        made = self.experiment
        options: dict[str, Any] = {
            "cells": cells,
            "ellipsoid": made.ellipsoid,
            "nest": not made.ring,
        }
        if self.method == Method.CONSERVATIVE.value:
            areas = 1.0 if area is None else area
            return resample.conservative(lon, lat, made.level, areas, **options)
        for name in ("npt", "sigma_m", "threshold", "memory_mb"):
            value = getattr(made, name)
            if value is not None:
                options[name] = value
        method = Method.NEAREST.value if self.reduce is not None else self.method
        build = {
            Method.NEAREST.value: resample.nearest,
            Method.BILINEAR.value: resample.bilinear,
            Method.BICUBIC.value: resample.bicubic,
            Method.INVERSE_DISTANCE.value: resample.inverse_distance,
            Method.PSF.value: resample.psf,
        }[method]
        return build(lon, lat, made.level, **options)

    def cells(
        self,
        relation: Sampling,
        values: Float[np.ndarray, "row sample"],
        sigma: Float[np.ndarray, " sample"] | None,
    ) -> tuple[Float[np.ndarray, "row cell"], CellFit | None]:
        """Cells of samples, and the fit if it is one."""
        variance = None
        if sigma is not None:  # a sample whose noise is not known says nothing
            variance = np.where(np.isfinite(sigma), sigma, np.inf) ** 2
        if self.reduce is not None:
            return Grouping(relation, self.reduce).average(values), None
        if self.estimate is Estimate.AVERAGE:
            return relation.average(values, variance), None
        made = self.experiment
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", resample.NotConverged)  # the status is told
            fit = resample.fit(
                relation,
                values,
                noise_variance=variance,
                bounds=made.bounds,
                damping=made.damping,
                smoothness=made.smoothness,
                max_iter=made.max_iterations,
                tol=made.tolerance,
                seed=made.seed,
            )
        return np.asarray(fit.values), fit

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
        if made.hold_out and not self.predicts:
            raise ValueError(
                f"hold_out: expected a method that predicts samples, got {made.method}. Leave it "
                "out, or choose psf."
            )
