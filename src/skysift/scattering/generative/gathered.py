"""Descents of several fields, each by itself, whose objectives are evaluated at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.objective import AbstractObjective

End = TypeVar("End")
Evaluate = Callable[[AbstractObjective, Array], tuple[Array, Array]]
"""Value and gradient of an objective of one field `(1, channel, unknown)`."""


class _Abandoned(Exception):
    """Another descent failed."""


class Gathered:
    """Several descents that wait for each other before each evaluation.

    A descent of SciPy asks for one point at a time. Each runs in a thread of its own, and when all
    that still go on have asked, all points are evaluated in one call, which takes a GPU hardly
    longer than one of them. What each descent finds does not depend on the others.

    Args:
        evaluate: objectives and gradients of all fields.
        start: where the fields are at first.
    """

    def __init__(
        self,
        evaluate: Callable[[Array], tuple[Array, Array]],
        start: Float[Array, "field channel unknown"],
    ) -> None:
        self._evaluate = evaluate
        self._at = np.array(start)
        self._going = set(range(len(self._at)))
        self._asking: set[int] = set()
        self._found: tuple[Array, Array] | None = None
        self._abandoned = False
        self._turn = threading.Condition()

    def run(self, descend: Callable[[int, Evaluate], End]) -> list[End]:
        """What each descent returns.

        Args:
            descend: from the start of the field of a number, with what evaluates its objective.

        Raises:
            BaseException: that of the first descent that failed; the others are abandoned.
        """

        def follow(number: int) -> End:
            try:
                return descend(number, lambda _, unknowns: self._ask(number, unknowns))
            except BaseException:
                self._abandon()
                raise
            finally:
                with self._turn:
                    self._going.discard(number)
                    self._turn.notify_all()

        with ThreadPoolExecutor(len(self._at)) as pool:
            ends = [pool.submit(follow, number) for number in range(len(self._at))]
            try:
                while self._answer():
                    pass
            except BaseException:
                self._abandon()
                raise
        failed = [error for end in ends if (error := end.exception())]
        for error in sorted(failed, key=lambda one: isinstance(one, _Abandoned)):
            raise error
        return [end.result() for end in ends]

    def _answer(self) -> bool:
        """Evaluate once all that go on have asked; whether there is more to do."""
        with self._turn:
            self._turn.wait_for(lambda: self._asking == self._going or self._abandoned)
            if self._abandoned or not self._going:
                return False
            self._found = self._evaluate(jnp.asarray(self._at))
            self._asking.clear()
            self._turn.notify_all()
        return True

    def _ask(self, number: int, unknowns: Array) -> tuple[Array, Array]:
        """Value and gradient of one field, once all others have asked as well."""
        with self._turn:
            self._at[number] = np.asarray(unknowns[0])
            self._asking.add(number)
            self._turn.notify_all()
            self._turn.wait_for(lambda: number not in self._asking or self._abandoned)
            if self._abandoned or self._found is None:
                raise _Abandoned
            values, slopes = self._found
        return values[number], slopes[number]

    def _abandon(self) -> None:
        """Let all descents end."""
        with self._turn:
            self._abandoned = True
            self._turn.notify_all()
