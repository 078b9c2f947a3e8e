"""What a scenario found: figures with their bars, where and with what they were measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import alternation
from .alternation import Spread
from .catalogue import Scenario

HIGHER = {"Mb/s", "Gb/s", "Mframes/s", "packets/s", "frames/s"}
LOWER = {"cycles", "instructions", "instructions/byte", "ms", "us", "ns", "% of a core", "MiB"}
"""Units that tell which way is better, for figures without a bar."""


@dataclass(frozen=True)
class Result:
    """One figure."""

    name: str
    value: float
    unit: str
    bar: str | None = None
    """What the value has to be, in words; None for a figure that is only reported."""
    passed: bool = True
    """Whether it reaches its bar, or misses it for a stated reason."""
    baseline: float | None = None
    """What it is compared with, measured in the same run."""
    spread: Spread | None = None
    baseline_spread: Spread | None = None
    better: str | None = None
    reason: str | None = None
    """Why the bar is missed, with the measurement behind it."""
    limit: float | None = None
    """The number in the bar."""
    note: str | None = None
    """What else there is to say."""

    @property
    def verdict(self) -> str:
        """What came of it."""
        if not self.passed:
            return "missed"
        if self.bar is None:
            return "reported"
        return "stated" if self.reason else "ok"


@dataclass(frozen=True)
class Discard:
    """What was left out of a figure."""

    figure: str
    kept: int
    discarded: int
    rule: str


@dataclass
class Report:
    """All figures of a scenario."""

    scenario: str
    commit: str
    environment: dict[str, str]
    results: list[Result] = field(default_factory=list)
    details: list[dict] = field(default_factory=list)
    """What the figures were made of, run by run."""
    discards: list[Discard] = field(default_factory=list)
    plots: list[dict] = field(default_factory=list)
    """What is better seen than read; `plot` knows their kinds."""
    noise: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    declared: Scenario | None = None
    """Where its bars are."""

    @staticmethod
    def begin(scenario: Scenario, repository: Path) -> Report:
        """An empty report that knows where it is made."""
        found = Report(scenario.name, commit(repository), environment(), says=scenario.says,
                       declared=scenario)
        if scenario.baseline:
            found.environment["baseline"] = scenario.baseline
        if scenario.discards:
            found.environment["left out"] = scenario.discards
        return found

    @property
    def passed(self) -> bool:
        """Whether every bar was reached, or missed for a stated reason."""
        return all(result.passed for result in self.results)

    def count(self, verdict: str) -> int:
        """Figures of which this came."""
        return sum(result.verdict == verdict for result in self.results)

    def add(self, name: str, value: float | Sequence[float], unit: str, *, bar: str | None = None,
            baseline: float | Sequence[float] | None = None, expected: float = 0.0,
            note: str | None = None, exact: bool = False) -> None:
        """Adds a figure, or the median of several values of it; `bar` is a key of the scenario's.

        With `exact`, measuring it again would give the same.
        """
        middle, width = _middle(value)
        if exact:
            width = Spread(middle, middle, 1, 1.0)
        other, other_width = _middle(baseline) if baseline is not None else (None, None)
        held = self.declared.bar(bar) if bar and self.declared else None
        better = held.better if held else None
        better = better or ("higher" if unit in HIGHER else "lower" if unit in LOWER else None)
        result = Result(name, middle, unit, baseline=other, spread=width,
                        baseline_spread=other_width, better=better, note=note)
        if held is None or self.declared is None:
            self.results.append(result)
            return
        reached = held.reached(middle, expected)
        reason = None if reached else self.declared.reason(name, middle, held)
        self.results.append(Result(**vars(result) | {
            "bar": held.words(expected), "passed": reached or reason is not None,
            "limit": next((each for each in (held.at_least, held.at_most) if each is not None),
                          expected),
            "reason": f"{reason.why} ({reason.measured})" if reason else None}))

    def failed(self, what: str) -> None:
        """Adds that something could not be measured."""
        self.results.append(Result(what, 1.0, "", "<= 0", False, better="lower", limit=0.0))

    def document(self) -> dict[str, Any]:
        """It all, as it is written."""
        document: dict[str, Any] = {
            "scenario": self.scenario, "says": self.says, "commit": self.commit,
            "environment": self.environment, "results": [_row(each) for each in self.results]}
        for name, value in (("discards", [asdict(each) for each in self.discards]),
                            ("plots", self.plots), ("noise", self.noise), ("runs", self.details)):
            if value:
                document[name] = value
        return document

    def table(self) -> str:
        """It all as a table for a terminal."""
        rows = [("figure", "value", "spread", "bar", "")]
        for result in self.results:
            verdict = {"reported": result.note or "", "missed": "MISSED"}.get(result.verdict,
                                                                              result.verdict)
            value = f"{result.value:.3f} {result.unit}"
            rows.append((result.name, value, _range(result.spread), result.bar or "-", verdict))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join((row[0].ljust(widths[0]), row[1].rjust(widths[1]),
                            row[2].ljust(widths[2]), row[3].ljust(widths[3]), row[4])).rstrip()
                 for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *self._stated()])

    def _stated(self) -> list[str]:
        return [f"stated: {result.name}: {result.reason}"
                for result in self.results if result.verdict == "stated"]


def write(path: Path, document: dict[str, Any]) -> None:
    """Writes a document as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def commit(repository: Path) -> str:
    """What is measured, as git describes it."""
    return _said("git", "-C", str(repository), "describe", "--always", "--dirty",
                 "--abbrev=12") or "unknown"


def rustc() -> str:
    """The version of the compiler."""
    return " ".join(_said("rustc", "--version").split()[1:2])


def environment() -> dict[str, str]:
    """The machine and what is on it."""
    dpdk = _said("pkg-config", "--modversion", "libdpdk")
    return {"cpu": _cpu(), "cores": str(os.cpu_count()), "kernel": platform.release(),
            "dpdk": dpdk, "rustc": rustc(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", "")}


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _middle(value: float | Sequence[float]) -> tuple[float, Spread | None]:
    if isinstance(value, (int, float)):
        return value, None
    return statistics.median(value), alternation.spread(value)


def _range(spread: Spread | None) -> str:
    return f"{spread.low:.3f} - {spread.high:.3f} ({spread.runs})" if spread else ""


def _row(result: Result) -> dict[str, Any]:
    """A figure as it is written: what is not there is left out, but for what always was."""
    kept = ("name", "value", "unit", "bar", "passed", "baseline")
    return {("pass" if key == "passed" else key): value for key, value in asdict(result).items()
            if value is not None or key in kept}
