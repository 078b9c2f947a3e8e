"""Results of programs of this package that compare by themselves, as a report.

In:  the JSON that such a program writes (`micro`): rows with a ratio, its middle half, a bar, a
     verdict. Out: the same as a report of figures.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .alternation import Spread
from .job import Job
from .programs import build_programs
from .report import Discard, Report, Result, commit

MIDDLE_HALF = 0.5
"""The share of rounds between the quartiles."""


def run(job: Job, scratch: Path) -> Report:
    """Builds and runs the program of a scenario."""
    scenario = job.scenario
    built = build_programs(job.repository, "--package", "perf", "--bin", scenario.name)
    command = [str(built / scenario.name), *scenario.effort(quick=job.quick).arguments]
    output = scratch / f"{scenario.name}.json"
    if not scenario.parameters.get("json", False):
        report = job.report(command=" ".join(command[1:]))
        code = subprocess.run(command, check=False).returncode
        if code:
            report.failed(f"exit code of {scenario.name}")
        return report
    command += ["--commit", commit(job.repository), "--output", str(output)]
    code = subprocess.run(command, check=False).returncode
    if not output.exists():
        report = job.report()
        report.failed(f"{scenario.name} ended with exit code {code} and no results")
        return report
    document = json.loads(output.read_text(encoding="utf-8"))
    report = read(document)
    report.says = scenario.says
    if code and report.passed:
        report.failed(f"exit code of {scenario.name}")
    return report


def read(document: dict[str, Any]) -> Report:
    """A report from what such a program has written."""
    environment = {key: str(value) for key, value in document["environment"].items()}
    report = Report(document["scenario"], document["commit"], environment)
    for row in document["results"]:
        report.results += _results(row)
        if row.get("discarded"):
            report.discards.append(Discard(
                row["name"], row["rounds"] or 0, sum(row["discarded"].values()),
                ", ".join(f"{count} {why}" for why, count in row["discarded"].items())))
    report.plots += document.get("plots", [])
    return report


def _results(row: dict[str, Any]) -> list[Result]:
    name, ratio = f"{row['name']} by {row['baseline']}", row["ratio"]
    bar = f">= {row['bar']:g}" if row["bar"] is not None else None
    if ratio is None:
        return [Result(f"{name}, too few rounds undisturbed", 0.0, "", "measured", False)]
    low, high = row["quartiles"]
    spread = Spread(low, high, row["rounds"], MIDDLE_HALF)
    found = [Result(name, ratio, "", bar, row["verdict"] in ("ok", "stated", "reported"),
                    spread=spread, better="higher", reason=row.get("reason"), limit=row["bar"])]
    if row.get("ours_ns") is not None:
        found.append(Result(f"{row['name']}: time per {row['item']}", row["ours_ns"], "ns",
                            baseline=row.get("baseline_ns"), better="lower"))
    return found
