"""Latency of frames that only pass, at half load, beside dpdk-testpmd.

Half load is half of the smaller of both sides' rates without loss, searched for first. Frames are
sent at the times that were meant, whatever became of those before (open loop), and their delays are
taken from these times on, so that a device that stands still is seen by every frame of that time.
The generator's own absences are told as a delay of their own: no figure can be better.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.alternation import Alternation, Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report

from . import throughput
from .measure_forward import Load
from .measure_trials import Rig, Trial
from .throughput import BASELINE, GOALS, MILLION, OURS

PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True)
class Effort:
    """How long is looked for half load, and how long it is held."""

    rounds: int
    seconds: float
    trials: int
    trial_s: float
    precision: float
    sizes: list[str]


def run(job: Job) -> Report:
    """Builds the programs, finds half load, measures, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort, parameters = job.effort(Effort), job.scenario.parameters
    report = job.report(
        devices="those of perf/run forward",
        effort=f"{effort.rounds} rounds (A B B A) of {effort.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="tpo-latency-") as name:
        scratch = Path(name)
        for size in effort.sizes:
            load = Load(size, parameters["flows"], effort.seconds)
            rate = _half_load(load, programs, scratch, job, effort)

            def one(kind: str, load: Load = load, rate: float = rate) -> Trial:
                with Rig(kind, load, programs, scratch) as rig:
                    return rig.trial(rate, effort.seconds)

            def told(trial: Trial, kept: bool, size: str = size) -> None:
                print(f"latency: {size} B: p50 {trial.delay_us[50.0]:.1f} us, p99.9 "
                      f"{trial.delay_us[99.9]:.1f} us, lost {100 * trial.loss:.4f} %, others "
                      f"{100 * trial.disturbed:.1f} %{'' if kept else ': discarded'}",
                      file=sys.stderr, flush=True)

            found = alternate((OURS, BASELINE), one, Plan(effort.rounds, parameters["tries"]),
                              keep=lambda trial: trial.disturbed <= job.disturbed_max, told=told)
            report.discards.append(Discard(f"{size} B", len(found.rounds), found.discarded,
                                           job.scenario.discards))
            _add(report, size, rate, found)
    return report


def _half_load(load: Load, programs: Path, scratch: Path, job: Job, effort: Effort) -> float:
    """Half of what both do without loss."""
    looked = throughput.Effort(1, effort.trials, effort.trial_s, effort.precision, [load.size])
    rates = [throughput.search(kind, load, programs, scratch, job, looked,
                               GOALS[:1]).bounds["NDR"].lower for kind in (OURS, BASELINE)]
    return min(rates) / 2


def _add(report: Report, size: str, rate: float, found: Alternation[Trial]) -> None:
    report.add(f"{size} B: half load, both ways together", rate / MILLION, "Mframes/s")
    if not found.rounds:
        report.add(f"{size} B: rounds that nobody disturbed", 0, "", bar="undisturbed")
        return
    for percentile in PERCENTILES:
        at = {side: found.values(side, lambda trial, p=percentile: trial.delay_us[p])
              for side in (OURS, BASELINE)}
        report.add(f"{size} B: delay, p{percentile:g}", at[OURS], "us", baseline=at[BASELINE])
        away = found.values(OURS, lambda trial, p=percentile: trial.away_us[p])
        report.add(f"{size} B: of the generator alone, p{percentile:g}", away, "us")
    for side in (OURS, BASELINE):
        report.add(f"{size} B: lost, {side}",
                   [100 * trial.loss for trial in found.runs(side)], "%")
    series = {OURS: ("delay_us", OURS), "testpmd": ("delay_us", BASELINE),
              "the generator alone": ("away_us", OURS)}
    report.plots.append({
        "kind": "percentiles", "title": f"{size} B, {rate / MILLION:.2f} Mframes/s: delay since "
        "frames were meant to be sent", "unit": "us",
        "series": {name: _curve(found.runs(side), key) for name, (key, side) in series.items()}})


def _curve(trials: list[Trial], key: str) -> list[list[float]]:
    """The median over the rounds at each percentile that many frames are behind."""
    known = [each for each in getattr(trials[0], key) if 0 < each < 100]
    return [[each, statistics.median(getattr(trial, key)[each] for trial in trials)]
            for each in known]
