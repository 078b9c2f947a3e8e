"""perf/compare: what changed between two results beyond their spreads.

In:  two files that perf/run has written. Out: what is better, what is worse, and what cannot be
     told. Never: a change that both spreads have room for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpolab.errors import LabError

from . import foreign
from .page import verdict_of

CHANGE_MIN = 0.01
"""A smaller change is none, however narrow the spreads are: they are those of one run each, and
runs differ in where the memory of a process lies."""
MACHINE = ("cpu", "cores", "kernel", "dpdk", "rustc", "system")


@dataclass(frozen=True)
class Change:
    """A figure in both files."""

    name: str
    before: float
    after: float
    unit: str
    kind: str
    """better, worse, changed, same, unknown."""
    why: str = ""

    @property
    def share(self) -> float:
        """The change by what it was."""
        return (self.after - self.before) / abs(self.before) if self.before else 0.0

    def line(self) -> str:
        """It in words."""
        moved = f"{100 * self.share:+.1f} %" if self.before else ""
        return (f"{self.kind:<8} {self.name}: {self.before:.4g} to {self.after:.4g} {self.unit} "
                f"{moved} {self.why}").rstrip()


def load(path: Path) -> dict[str, dict[str, Any]]:
    """The scenarios in a file, by name."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scenarios = document.get("scenarios", [document])
        return {each["scenario"]: _even(each) for each in scenarios}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is none of the results of perf/run: {error!r}") from error


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What became of each figure that both have."""
    known = {result["name"]: result for result in before["results"]}
    return [_change(known[result["name"]], result) for result in after["results"]
            if result["name"] in known]


def _even(document: dict[str, Any]) -> dict[str, Any]:
    """A document of a program of ours, written as perf/run writes all others."""
    results = document["results"]
    return foreign.read(document).document() if results and "pass" not in results[0] else document


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    name, unit = after["name"], after["unit"]
    one, other = before["value"], after["value"]
    verdicts = verdict_of(before), verdict_of(after)
    if verdicts[1] == "missed" and verdicts[0] in ("ok", "stated"):
        return Change(name, one, other, unit, "worse", f"misses {after['bar']}, reached before")
    spreads = before.get("spread"), after.get("spread")
    if not all(spreads):
        kind = "same" if one == other else "unknown"
        return Change(name, one, other, unit, kind, "" if one == other else "measured only once")
    apart = spreads[1]["low"] > spreads[0]["high"] or spreads[1]["high"] < spreads[0]["low"]
    if not apart or abs(other - one) <= CHANGE_MIN * abs(one):
        return Change(name, one, other, unit, "same")
    better = after.get("better")
    if better is None:
        return Change(name, one, other, unit, "changed")
    return Change(name, one, other, unit,
                  "better" if (other > one) == (better == "higher") else "worse")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What makes the two hard to compare."""
    one, other = before["environment"], after["environment"]
    return [f"{key} was {one[key]}, is {other[key]}" for key in MACHINE
            if key in one and key in other and one[key] != other[key]]


def main(arguments: Sequence[str]) -> int:
    """Compares; 1 when something has become worse."""
    parser = argparse.ArgumentParser(
        prog="perf/compare", description="Says what changed between two results of perf/run beyond "
        "their spreads. Exits 1 when something has become worse.")
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--all", action="store_true", help="what did not change as well")
    options = parser.parse_args(list(arguments))
    before, after = load(options.before), load(options.after)
    shared = [name for name in after if name in before]
    if not shared:
        raise LabError(f"they have no scenario in common: {', '.join(before)} and "
                       f"{', '.join(after)}")
    counts: dict[str, int] = {}
    for name in shared:
        one, other = before[name], after[name]
        print(f"{name}: {one['commit']} to {other['commit']}")
        for difference in _differences(one, other):
            print(f"  mind: {difference}")
        for change in changes(one, other):
            counts[change.kind] = counts.get(change.kind, 0) + 1
            if options.all or change.kind not in ("same", "unknown"):
                print(f"  {change.line()}")
        gone = ({each["name"] for each in one["results"]}
                - {each["name"] for each in other["results"]})
        for each in sorted(gone):
            print(f"  gone     {each}")
    print(", ".join(f"{counts.get(kind, 0)} {kind}"
                    for kind in ("better", "worse", "changed", "same", "unknown")))
    return 1 if counts.get("worse") else 0
