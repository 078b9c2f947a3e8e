"""What a scenario found: figures with their bars, where and with what they were measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One figure."""

    name: str
    value: float
    unit: str
    bar: str | None = None
    """What the value has to be, in words; None for a figure that is only reported."""
    passed: bool = True
    baseline: float | None = None
    """What it is compared with, measured in the same run."""


def within(name: str, value: float, expected: float, tolerance: float, unit: str, *,
           baseline: float | None = None) -> Result:
    """A figure that may be at most `tolerance` away from `expected`."""
    return Result(name, value, unit, f"{expected:g} +- {tolerance:g}",
                  abs(value - expected) <= tolerance, baseline)


def at_most(name: str, value: float, limit: float, unit: str, *,
            baseline: float | None = None) -> Result:
    """A figure that may be at most `limit`."""
    return Result(name, value, unit, f"<= {limit:g}", value <= limit, baseline)


def at_least(name: str, value: float, limit: float, unit: str, *,
             baseline: float | None = None) -> Result:
    """A figure that has to be at least `limit`."""
    return Result(name, value, unit, f">= {limit:g}", value >= limit, baseline)


@dataclass
class Report:
    """All figures of a scenario."""

    scenario: str
    commit: str
    environment: dict[str, str]
    results: list[Result] = field(default_factory=list)
    details: list[dict] = field(default_factory=list)
    """What the figures were made of, run by run."""

    @staticmethod
    def begin(scenario: str, repository: Path) -> Report:
        """An empty report that knows where it is made."""
        return Report(scenario, commit(repository), _environment())

    @property
    def passed(self) -> bool:
        """Whether every bar was reached."""
        return all(result.passed for result in self.results)

    def add(self, result: Result) -> None:
        """Adds a figure."""
        self.results.append(result)

    def write(self, path: Path) -> None:
        """Writes it all as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{("pass" if key == "passed" else key): value
                 for key, value in asdict(result).items()} for result in self.results]
        document = {"scenario": self.scenario, "commit": self.commit,
                    "environment": self.environment, "results": rows}
        if self.details:
            document["runs"] = self.details
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def table(self) -> str:
        """It all as a table for a terminal."""
        rows = [("figure", "value", "bar", "")]
        for result in self.results:
            verdict = "" if result.bar is None else "ok" if result.passed else "MISSED"
            value = f"{result.value:.3f} {result.unit}"
            rows.append((result.name, value, result.bar or "-", verdict))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join((row[0].ljust(widths[0]), row[1].rjust(widths[1]),
                            row[2].ljust(widths[2]), row[3])).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _environment() -> dict[str, str]:
    dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True,
                          check=False).stdout.strip()
    return {"cpu": _cpu(), "cores": str(os.cpu_count()), "kernel": platform.release(),
            "dpdk": dpdk, "system": platform.freedesktop_os_release().get("PRETTY_NAME", "")}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit(repository: Path) -> str:
    """What is measured, as git describes it."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
