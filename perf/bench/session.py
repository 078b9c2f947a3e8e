"""Scenarios one after the other, with the noise around each of them.

In:  their names. Out: one document with all reports. Never: an end of all because of one: what goes
     wrong in a scenario is a figure of it that fails.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tpolab import signals
from tpolab.errors import LabError

from . import foreign, noise
from .bed import Bed
from .catalogue import Scenario
from .job import Job
from .programs import build_programs
from .report import Report, commit, environment


def run(repository: Path, scenarios: Sequence[Scenario], bed: Bed, *, quick: bool,
        update: bool = False) -> list[Report]:
    """Measures all of them; progress goes to stderr."""
    programs = None
    if any(each.timed for each in scenarios):
        programs = build_programs(repository, "--package", "perf", "--bin", "hiccups")
    reports = []
    for number, scenario in enumerate(scenarios):
        left_s = sum(each.effort(quick=quick).takes_s for each in scenarios[number:])
        _say(f"[{number + 1}/{len(scenarios)}] {scenario.name}: {scenario.says} "
             f"(about {_minutes(scenario.effort(quick=quick).takes_s)} of {_minutes(left_s)})")
        job = Job(repository, scenario, quick, bed, update)
        looker = programs if scenario.timed else None
        before, began = noise.look(looker), time.monotonic()
        try:
            report = one(job)
        except (LabError, OSError, subprocess.SubprocessError) as error:
            signals.check()
            if len(scenarios) == 1:
                raise
            _say(f"{scenario.name}: {error}")
            report = job.report()
            report.failed(f"it could not be measured: {error}")
        report.noise = noise.between(before, noise.look(looker))
        report.noise["took_s"] = round(time.monotonic() - began, 1)
        reports.append(report)
    return reports


def one(job: Job) -> Report:
    """Measures one scenario."""
    check(job.scenario)
    if job.scenario.kind == "program":
        with tempfile.TemporaryDirectory(prefix="tpo-perf-") as scratch:
            return foreign.run(job, Path(scratch))
    return importlib.import_module(f"scenarios.{job.scenario.name}").run(job)


def check(scenario: Scenario) -> None:
    """Whether the machine has what a scenario needs."""
    for program, package in scenario.needs.items():
        if shutil.which(program) is None:
            raise LabError(f"{program} is not there: apt-get install {package}")
    if len(os.sched_getaffinity(0)) < scenario.cores:
        raise LabError(f"{scenario.name} needs {scenario.cores} cores")


def document(repository: Path, reports: Sequence[Report], *, quick: bool,
             begun: float) -> dict[str, Any]:
    """All reports in one: what is written as JSON, and what the page is made of."""
    scenarios = []
    for report in reports:
        each = report.document()
        each["took_s"] = each.get("noise", {}).pop("took_s", 0)
        scenarios.append(each)
    return {"commit": commit(repository), "environment": environment(),
            "options": "--quick" if quick else "", "scenarios": scenarios,
            "begun": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun)),
            "took_s": round(time.time() - begun, 1)}


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _say(what: str) -> None:
    print(f"perf/run: {what}", file=sys.stderr, flush=True)
