"""Descents of several fields, each by itself, whose objectives are evaluated at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.objective import AbstractObjective

End = TypeVar("End")
Evaluate = Callable[[AbstractObjective, Array], tuple[Array, Array]]
"""Value and gradient of an objective of one field `(1, channel, unknown)`."""
Asked = np.ndarray | BaseException | None
"""Where to evaluate, why a descent failed, or that it ended."""


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
        # Queues, and no locks: an interrupt in the middle of a lock leaves it held.
        self._asked: SimpleQueue[tuple[int, Asked]] = SimpleQueue()
        self._answers: list[SimpleQueue[tuple[Array, Array] | None]] = [
            SimpleQueue() for _ in self._at
        ]

    def run(self, descend: Callable[[int, Evaluate], End]) -> list[End]:
        """What each descent returns.

        Args:
            descend: from the start of the field of a number, with what evaluates its objective.

        Raises:
            BaseException: that of the first descent that failed; the others are abandoned.
        """

        def follow(number: int) -> End:
            def evaluate(_: AbstractObjective, unknowns: Array) -> tuple[Array, Array]:
                self._asked.put((number, np.asarray(unknowns[0])))
                answer = self._answers[number].get()
                if answer is None:
                    raise _Abandoned
                return answer

            try:
                end = descend(number, evaluate)
            except BaseException as error:
                self._asked.put((number, error))
                raise
            self._asked.put((number, None))
            return end

        ends: list[Future[End]] = []
        with ThreadPoolExecutor(len(self._at)) as pool:
            try:
                for number in range(len(self._at)):
                    ends.append(pool.submit(follow, number))
                self._answer()
            finally:
                for answers in self._answers:
                    answers.put(None)
        return [end.result() for end in ends]

    def _answer(self) -> None:
        """Evaluate whenever all that go on have asked, until none does."""
        going = set(range(len(self._at)))
        asking: set[int] = set()
        while going:
            number, asked = self._asked.get()
            if isinstance(asked, BaseException):
                raise asked
            if asked is None:
                going.discard(number)
            else:
                self._at[number] = asked
                asking.add(number)
            if asking and asking == going:
                values, slopes = self._evaluate(jnp.asarray(self._at))
                for one in asking:
                    self._answers[one].put((values[one], slopes[one]))
                asking.clear()
