"""Latency of frames that only pass, at half load, beside dpdk-testpmd.

Half load is half of the smaller of both sides' rates without loss, searched for first. Frames are
sent at the times that were meant, whatever became of those before (open loop), and their delays are
taken from these times on, so that a device that stands still is seen by every frame of that time.
The generator's own absences are told as a delay of their own: no figure can be better. In the same
round single frames are sent with long pauses between them: tpo sleeps then, testpmd never does.
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
from .measure_forward import Load, Place
from .measure_trials import Rig, Trial
from .throughput import BASELINE, GOALS, MILLION, OURS

PERCENTILES = (50.0, 99.0, 99.9)
SELDOM_PERCENTILES = (50.0, 99.0)


@dataclass(frozen=True)
class Effort:
    """How long is looked for half load, and how long it is held."""

    rounds: int
    seconds: float
    trials: int
    trial_s: float
    precision: float
    sizes: list[str]


@dataclass(frozen=True)
class Pace:
    """One forwarder at both rates."""

    half: Trial
    seldom: Trial

    @property
    def disturbed(self) -> float:
        """Of the worse."""
        return max(self.half.disturbed, self.seldom.disturbed)


def run(job: Job) -> Report:
    """Builds the programs, finds half load, measures, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort, parameters = job.effort(Effort), job.scenario.parameters
    report = job.report(
        devices=job.bed.says,
        effort=f"{effort.rounds} rounds (A B B A) of {effort.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="tpo-latency-") as name:
        place = Place(programs, Path(name), job.bed)
        for size in effort.sizes:
            load = Load(size, parameters["flows"], effort.seconds)
            rate = _half_load(load, place, job, effort)

            def one(kind: str, load: Load = load, rate: float = rate) -> Pace:
                with Rig(kind, load, place) as rig:
                    return Pace(rig.trial(rate, effort.seconds),
                                rig.trial(parameters["seldom"], effort.seconds))

            def told(pace: Pace, kept: bool, size: str = size) -> None:
                trial, seldom = pace.half, pace.seldom.delay_us
                print(f"latency: {size} B: p50 {trial.delay_us[50.0]:.1f} us, p99.9 "
                      f"{trial.delay_us[99.9]:.1f} us, lost {100 * trial.loss:.4f} %; seldom: p50 "
                      f"{seldom[50.0]:.1f} us, p99 {seldom[99.0]:.1f} us; others "
                      f"{100 * pace.disturbed:.1f} %{'' if kept else ': discarded'}",
                      file=sys.stderr, flush=True)

            found = alternate((OURS, BASELINE), one, Plan(effort.rounds, parameters["tries"]),
                              keep=lambda pace: pace.disturbed <= job.disturbed_max, told=told)
            report.discards.append(Discard(f"{size} B", len(found.rounds), found.discarded,
                                           job.scenario.discards))
            if not found.rounds:
                report.add(f"{size} B: rounds that nobody disturbed", 0, "", bar="undisturbed")
                continue
            _add(report, size, rate, found)
            _add_seldom(report, size, parameters["seldom"], found)
    return report


def _half_load(load: Load, place: Place, job: Job, effort: Effort) -> float:
    """Half of what both do without loss."""
    looked = throughput.Effort(1, effort.trials, effort.trial_s, effort.precision, [load.size])
    rates = [throughput.search(kind, load, place, job, looked, GOALS[:1]).bounds["NDR"].lower for kind in (OURS, BASELINE)]
    return min(rates) / 2


def _add(report: Report, size: str, rate: float, found: Alternation[Pace]) -> None:
    report.add(f"{size} B: half load, both ways together", rate / MILLION, "Mframes/s")
    for percentile in PERCENTILES:
        at = {side: found.values(side, lambda pace, p=percentile: pace.half.delay_us[p])
              for side in (OURS, BASELINE)}
        report.add(f"{size} B: delay, p{percentile:g}", at[OURS], "us", baseline=at[BASELINE])
        away = found.values(OURS, lambda pace, p=percentile: pace.half.away_us[p])
        report.add(f"{size} B: of the generator alone, p{percentile:g}", away, "us")
    for side in (OURS, BASELINE):
        report.add(f"{size} B: lost, {side}",
                   [100 * pace.half.loss for pace in found.runs(side)], "%")
    series = {OURS: ("delay_us", OURS), "testpmd": ("delay_us", BASELINE),
              "the generator alone": ("away_us", OURS)}
    report.plots.append({
        "kind": "percentiles", "title": f"{size} B, {rate / MILLION:.2f} Mframes/s: delay since "
        "frames were meant to be sent", "unit": "us",
        "series": {name: _curve([pace.half for pace in found.runs(side)], key)
                   for name, (key, side) in series.items()}})


def _add_seldom(report: Report, size: str, rate: float, found: Alternation[Pace]) -> None:
    """What it takes to wake up."""
    for percentile in SELDOM_PERCENTILES:
        at = {side: found.values(side, lambda pace, p=percentile: pace.seldom.delay_us[p])
              for side in (OURS, BASELINE)}
        report.add(f"{size} B: delay of a frame after {2e3 / rate:g} ms without any, "
                   f"p{percentile:g}", at[OURS], "us", baseline=at[BASELINE])


def _curve(trials: list[Trial], key: str) -> list[list[float]]:
    """The median over the rounds at each percentile that many frames are behind."""
    known = [each for each in getattr(trials[0], key) if 0 < each < 100]
    return [[each, statistics.median(getattr(trial, key)[each] for trial in trials)]
            for each in known]
