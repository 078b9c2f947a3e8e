"""Results of programs of this package that compare by themselves, as a report.

In:  the JSON that such a program writes: rows with a ratio to a baseline, its middle half, a bar and
     a verdict (`micro`), perhaps with the cycles of each stage; or rows with a value and a bar. Out:
     the same as a report of figures.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .alternation import Spread
from .catalogue import Bar
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
        report.results += _compared(row) if "ratio" in row else [_figure(row)]
        if row.get("discarded"):
            report.discards.append(Discard(
                row["name"], row["rounds"] or 0, sum(row["discarded"].values()),
                ", ".join(f"{count} {why}" for why, count in row["discarded"].items())))
    profiled = [row for row in document["results"] if row.get("ticks_per_byte")]
    if profiled:
        report.plots += [_cycles("byte", profiled, lambda row: 1.0),
                         _cycles("frame of the near host", profiled,
                                 lambda row: row.get("frame_bytes") or 0.0)]
    return report


def _cycles(item: str, rows: list[dict[str, Any]],
            bytes_of: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """Where cycles go, by stage: a bar for each end of each row."""
    bars = []
    for row in rows:
        for end, stages in row["ticks_per_byte"].items():
            if isinstance(stages, dict):
                bars.append({"label": f"{row['name']}, {end}", "parts": [
                    [stage, ticks * bytes_of(row)] for stage, ticks in stages.items()]})
    return {"kind": "steps", "title": f"Cycles per {item}, by stage", "rows": bars}


def _figure(row: dict[str, Any]) -> Result:
    bar = None
    if row["bar"] is not None:
        (key, limit), = row["bar"].items()
        bar = Bar(**{key: limit})
    reached = bar is None or bar.reached(row["value"])
    return Result(row["name"], row["value"], row["unit"], bar.words() if bar else None,
                  reached or row.get("reason") is not None, better=bar.better if bar else None,
                  reason=None if reached else row.get("reason"),
                  limit=limit if bar else None)


def _compared(row: dict[str, Any]) -> list[Result]:
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
    if row.get("gbps") is not None:
        least = row.get("gbps_bar")
        found.append(Result(f"{row['name']}: payload", row["gbps"], "Gb/s",
                            f">= {least:g}" if least is not None else None,
                            least is None or row["gbps"] >= least, better="higher", limit=least))
    if row.get("gain") is not None:
        found.append(Result(f"{row['name']}: times as fast as one core", row["gain"], "",
                            baseline=row["gain_predicted"], better="higher",
                            note="baseline: predicted"))
    return found
