"""A fixed rate for a while, second by second."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report

from .measure_forward import Load, Place
from .measure_processes import resident_bytes_max
from .measure_trials import Rig

MIB = 1 << 20
TURN_S = 1.0


@dataclass(frozen=True)
class Effort:
    """How long."""

    seconds: int


def run(job: Job) -> Report:
    """Builds the programs, holds the rate, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    seconds, parameters = job.effort(Effort).seconds, job.scenario.parameters
    report = job.report(devices=job.bed.says, effort=f"{seconds} s")
    load = Load(parameters["size"], parameters["flows"], TURN_S)
    with tempfile.TemporaryDirectory(prefix="tpo-soak-") as scratch, \
            Rig("tpo", load, Place(programs, Path(scratch), job.bed)) as rig:
        first = rig.trial(parameters["rate"], TURN_S)
        memory = resident_bytes_max(rig.forwarder.pid)
        trials = [first] + [rig.trial(parameters["rate"], TURN_S) for _ in range(seconds - 1)]
        grown = resident_bytes_max(rig.forwarder.pid) - memory
    kept = [trial for trial in trials if trial.disturbed <= job.disturbed_max]
    report.discards.append(Discard("lost", len(kept), len(trials) - len(kept),
                                   job.scenario.discards))
    due, received = (sum(getattr(trial, key) for trial in kept) for key in ("due", "received"))
    report.add("seconds that count", len(kept), "s", bar="undisturbed")
    if kept:
        report.add("rate", [trial.rate / 1e6 for trial in kept], "Mframes/s")
        report.add("lost, of all frames", 100 * (1 - received / due), "%", bar="lost")
        report.add("delay, p99", [trial.delay_us[99.0] for trial in kept], "us")
    lost = sum(trial.due - trial.received for trial in trials)
    report.add("lost, disturbed seconds included", lost, "frames",
               baseline=sum(trial.due for trial in trials))
    report.add("memory gained", grown / MIB, "MiB", bar="memory")
    print(f"soak: {lost} frames lost, {grown} bytes gained", file=sys.stderr, flush=True)
    return report
