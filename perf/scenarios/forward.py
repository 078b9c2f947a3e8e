"""Pass-through forwarding beside dpdk-testpmd on the same virtual devices and the same core.

tpo parses each frame, finds its flow and forwards it; testpmd (mac) writes two station addresses.
Both in turn (A B B A), for three sizes and three numbers of flows, in both directions at once.
Either the device and the generator are the bound, and the rates are compared, or our core is, and
the cycles per frame are: whichever of the two is busier. Both shares are told.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.alternation import Alternation, Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report

from . import measure_forward
from .measure_forward import Load, Place, Run

OURS, BASELINE, BOUND = "tpo", "mac", "io"
MILLION = 1e6


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    seconds: float
    sizes: list[str] | None = None
    """Fewer than the scenario's."""


@dataclass
class Row:
    """The rounds of one size and number of flows."""

    size: str
    flows: int
    found: Alternation[Run]

    @property
    def name(self) -> str:
        """How it is called in the report."""
        return f"{_size(self.size)}, {_flows(self.flows)}"

    def of(self, side: str, figure: str) -> list[float]:
        """A figure of a side, round by round."""
        return self.found.values(side, lambda run: getattr(run, figure))

    def median(self, side: str, figure: str) -> float:
        """Its median."""
        return statistics.median(self.of(side, figure))

    @property
    def core_bounds(self) -> bool:
        """Whether our core is busier than the generator's."""
        return self.median(OURS, "busy_share") > self.median(OURS, "generator_busy_share")


def run(job: Job) -> Report:
    """Builds the programs, measures every row, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort, parameters = job.effort(Effort), job.scenario.parameters
    disturbed_max = job.disturbed_max
    report = job.report(
        devices=f"{job.bed.says}; bursts of {measure_forward.BURST}, both directions at once",
        effort=f"{effort.rounds} rounds (A B B A) of {effort.seconds:g} s")
    fair_min = parameters["fair_min"]
    rule = (f"others had more than {100 * disturbed_max:g} % of a core, or for more than "
            f"{100 * (1 - fair_min):g} % of the looks the two were hardware threads of one core, or had "
            "no cache in common")
    plan = Plan(effort.rounds, parameters["tries"])

    def keep(done: Run) -> bool:
        return done.disturbed <= disturbed_max and done.apart["fair"] >= fair_min

    with tempfile.TemporaryDirectory(prefix="tpo-forward-") as scratch:
        place = Place(programs, Path(scratch), job.bed)
        for size in effort.sizes or parameters["sizes"]:
            _bound(report, Load(size, 1, effort.seconds), place, plan, keep)
            for flows in parameters["flows"]:
                load = Load(size, flows, effort.seconds)
                found = alternate(
                    (OURS, BASELINE),
                    lambda kind, load=load: measure_forward.run(kind, load, place),
                    plan, keep=keep,
                    told=lambda done, kept, load=load: _say(done, load, kept))
                _add(report, Row(size, flows, found), rule)
    return report


def _bound(report: Report, load: Load, place: Place, plan: Plan,
           keep: Callable[[Run], bool]) -> None:
    """What the devices and the generator do with a forwarder that looks at nothing."""
    for _ in range(plan.tries):
        done = measure_forward.run(BOUND, load, place)
        kept = keep(done)
        _say(done, load, kept)
        if kept:
            break
    report.details.append({"size": load.size, "flows": 1, **measure_forward.as_row(done)})
    report.add(f"{_size(load.size)}, frames untouched (testpmd io): rate",
               done.frames_per_second / MILLION, "Mframes/s", note="" if kept else "disturbed")


def _add(report: Report, row: Row, rule: str) -> None:
    """The figures of a row, with the bar that holds for what bounds it."""
    found = row.found
    report.details += [
        {"size": row.size, "flows": row.flows, "round": number, **measure_forward.as_row(done)}
        for number, runs in enumerate(found.rounds) for done in runs.values()]
    report.discards.append(Discard(row.name, len(found.rounds), found.discarded, rule))
    if not found.rounds:
        report.add(f"{row.name}: rounds that nobody disturbed", 0, "", bar="undisturbed")
        return
    core = row.core_bounds
    rates = {side: [rate / MILLION for rate in row.of(side, "frames_per_second")]
             for side in (OURS, BASELINE)}
    report.add(f"{row.name}: rate", rates[OURS], "Mframes/s", baseline=rates[BASELINE])
    report.add(f"{row.name}: of testpmd's rate",
               found.pairs(OURS, BASELINE,
                           lambda a, b: a.frames_per_second / b.frames_per_second),
               "", bar=None if core else f"rate {row.size}")
    report.add(f"{row.name}: cycles added per frame",
               found.pairs(OURS, BASELINE, lambda a, b: a.cycles_per_frame - b.cycles_per_frame),
               "cycles", bar=f"cycles {row.flows}" if core else None,
               baseline=row.of(BASELINE, "cycles_per_frame"))
    who = "our core" if core else "device, generator"
    report.add(f"{row.name}: busy, ours (baseline: generator)",
               100 * row.median(OURS, "busy_share"), "%",
               baseline=100 * row.median(OURS, "generator_busy_share"), note=f"bound by {who}")


def _size(size: str) -> str:
    return f"{size} B" if size.isdigit() else size.upper()


def _flows(flows: int) -> str:
    return f"{flows:,} flow{'s' if flows != 1 else ''}"


def _say(done: Run, load: Load, kept: bool = True) -> None:
    print(f"{_size(load.size)}, {_flows(load.flows)}, {done.forwarder}: "
          f"{done.frames_per_second / MILLION:.2f} Mframes/s, "
          f"{done.cycles_per_frame:.0f} cycles, busy {100 * done.busy_share:.0f} %, "
          f"generator {100 * done.generator_busy_share:.0f} %, others "
          f"{100 * done.disturbed:.1f} %, cores {done.apart['median_ns']} ns apart, fair "
          f"{100 * done.apart['fair']:.0f} %{'' if kept else ': discarded'}", file=sys.stderr)
