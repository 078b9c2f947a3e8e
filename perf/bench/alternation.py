"""Several ways to do the same, by turns: A B B A.

In:  the names of the ways, a function that measures one of them, the rule by which a round is left
     out. Out: rounds, each with one measurement of every way, and how many were left out. Never: a
     round that is left out for its figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Run = TypeVar("Run")

CONFIDENCE = 0.95
"""Wanted of an interval; with few rounds it is less, and says so."""


@dataclass(frozen=True)
class Spread:
    """Where the true median is, with some confidence."""

    low: float
    high: float
    runs: int
    confidence: float


@dataclass(frozen=True)
class Plan:
    """How many rounds."""

    rounds: int
    tries: int = 1
    """Rounds that are tried for each that is wanted, at most."""


@dataclass
class Alternation(Generic[Run]):
    """What was measured."""

    rounds: list[dict[str, Run]] = field(default_factory=list)
    discarded: int = 0

    def runs(self, name: str) -> list[Run]:
        """All measurements of one way."""
        return [each[name] for each in self.rounds]

    def values(self, name: str, figure: Callable[[Run], float]) -> list[float]:
        """A figure of one way, round by round."""
        return [figure(run) for run in self.runs(name)]

    def pairs(self, name: str, other: str, figure: Callable[[Run, Run], float]) -> list[float]:
        """A figure of two ways, round by round."""
        return [figure(each[name], each[other]) for each in self.rounds]


def order(names: Sequence[str], number: int) -> list[str]:
    """In which order a round has them: to and fro, so that what drifts does no one good."""
    return list(names) if number % 2 == 0 else list(reversed(names))


def alternate(names: Sequence[str], measure: Callable[[str], Run], plan: Plan,
              keep: Callable[[Run], bool] = lambda _: True,
              told: Callable[[Run, bool], None] = lambda _run, _kept: None) -> Alternation[Run]:
    """Rounds until there are enough of those whose runs may all be kept."""
    found: Alternation[Run] = Alternation()
    for number in range(plan.rounds * plan.tries):
        if len(found.rounds) == plan.rounds:
            break
        runs = {name: measure(name) for name in order(names, number)}
        kept = all(keep(run) for run in runs.values())
        for run in runs.values():
            told(run, kept)
        if kept:
            found.rounds.append(runs)
        else:
            found.discarded += 1
    return found


def spread(values: Sequence[float]) -> Spread | None:
    """An interval for the median that assumes nothing about how values are distributed.

    Between the k-th value from below and the k-th from above the median lies, unless fewer than k
    of all values are on one side of it: that has the probability of a series of coin tosses.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    chosen, confidence = 0, _confidence(count, 0)
    while chosen + 1 < (count + 1) // 2 and _confidence(count, chosen + 1) >= CONFIDENCE:
        chosen += 1
        confidence = _confidence(count, chosen)
    return Spread(ordered[chosen], ordered[-1 - chosen], count, round(confidence, 4))


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def _confidence(count: int, outside: int) -> float:
    """That the median is between the values which have `outside` others beyond them."""
    tail = sum(math.comb(count, each) for each in range(outside + 1)) / 2 ** count
    return 1 - 2 * tail
