"""The highest rate at which a device loses no more than a goal allows, as MLRsearch looks for it.

In:  a function that tells the loss ratio of one trial at a rate, goals, a precision. Out: for each
     goal two rates, no further apart than the precision: one that reaches it, one that does not.
Never: a verdict by a single trial: a rate is good when most of its trials are.

What is measured for one goal serves the others; the interval is halved on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

STEP_DOWN = 0.7
"""How much lower the next rate is, while none is known to be good."""
LOWEST_SHARE = 1e-3
"""Of the highest rate: below it nothing is looked for."""


@dataclass(frozen=True)
class Goal:
    """What may be lost."""

    name: str
    loss_max: float


@dataclass(frozen=True)
class Bounds:
    """Where a goal's rate lies."""

    lower: float
    """Reaches the goal; 0 when no rate does."""
    upper: float
    """Does not; the highest rate when that one does."""


@dataclass
class Search:
    """What is known of a device."""

    trial: Callable[[float], float]
    """The loss ratio of one trial at a rate."""
    highest: float
    precision: float
    trials: int
    """Of each rate, at most; odd."""
    losses: dict[float, list[float]] = field(default_factory=dict)

    def run(self, goals: tuple[Goal, ...], hint: float = 0.0) -> Mapping[str, Bounds]:
        """The bounds of all goals; `hint` is where to look first below the highest rate."""
        return {goal.name: self._bounds(goal, hint) for goal in goals}

    def _bounds(self, goal: Goal, hint: float) -> Bounds:
        if self._good(self.highest, goal):
            return Bounds(self.highest, self.highest)
        lower, upper = self._known(goal)
        rate = min(hint or math.inf, upper * STEP_DOWN)
        while not lower:
            if rate < self.highest * LOWEST_SHARE:
                return Bounds(0.0, upper)
            self._good(rate, goal)
            lower, upper = self._known(goal)
            rate = min(rate, upper) * STEP_DOWN
        while upper > lower * (1 + self.precision):
            self._good(math.sqrt(lower * upper), goal)
            lower, upper = self._known(goal)
        return Bounds(lower, upper)

    def _known(self, goal: Goal) -> tuple[float, float]:
        """The highest good rate below every bad one, and the lowest bad one."""
        verdicts = {rate: self._verdict(rate, goal) for rate in self.losses}
        upper = min(rate for rate, good in verdicts.items() if good is False)
        good = [rate for rate, verdict in verdicts.items() if verdict and rate < upper]
        return max(good, default=0.0), upper

    def _good(self, rate: float, goal: Goal) -> bool:
        """Whether most trials at a rate reach a goal: as few as tell."""
        while (verdict := self._verdict(rate, goal)) is None:
            self.losses.setdefault(rate, []).append(self.trial(rate))
        return verdict

    def _verdict(self, rate: float, goal: Goal) -> bool | None:
        """The same from what is measured already; None when that does not tell."""
        losses = self.losses.get(rate, [])
        reached = sum(loss <= goal.loss_max for loss in losses)
        most = self.trials // 2 + 1
        if reached >= most:
            return True
        return False if len(losses) - reached >= most else None
