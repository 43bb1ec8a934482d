"""Tasks one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skysift.execute.tasks import AbstractExecutor, OnOutcome, Outcome, attempt


@dataclass(frozen=True)
class Serial(AbstractExecutor):
    """Runs tasks one after the other in this process, each with all cores.

    Examples:
        >>> [outcome.value for outcome in Serial().run(abs, [-1, 2, -3])]
        [1, 2, 3]
    """

    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Call a function once for each item; see `AbstractExecutor.run`."""
        outcomes = []
        for index, item in enumerate(items):
            outcomes.append(Outcome.reported(index, attempt(function, item), attempts=1))
            if on_outcome is not None:
                on_outcome(outcomes[-1])
        return outcomes
