"""Pass-through forwarding beside dpdk-testpmd on the same virtual devices and the same core.

tpo parses each frame, finds its flow and forwards it; testpmd (mac) writes two station addresses.
Both in turn (A B B A), for three sizes and three numbers of flows, in both directions at once.
Either the device and the generator are the bound, and the rates are compared, or our core is, and
the cycles per frame are: whichever of the two is busier. Both shares are told.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tpolab.errors import LabError

from . import measure_forward
from .measure_forward import Load, Run
from .programs import build_programs
from .report import Report, Result, at_least, at_most

RATIO_MIN = {"64": 0.95, "imix": 0.95, "1518": 0.98}
"""Of testpmd's rate, by the bytes of a frame (check sequence included)."""
ADDED_CYCLES_MAX = {1: 40.0, 10_000: 60.0, 1_000_000: 120.0}
"""Beyond testpmd's cycles per frame, by the number of flows."""
OURS, BASELINE, BOUND = "tpo", "mac", "io"
DISTURBED_MAX = 0.02
"""Part of a core's time that others may take before a pair of runs is discarded."""
DISTURBED_VARIABLE = "TPO_PERF_DISTURBED_MAX"
"""Environment variable with another limit, for figures that are not to be published."""
TRIES = 3
"""Pairs that are tried for each that is wanted, at most."""
MILLION = 1e6


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    pairs: int
    seconds: float


FULL = Effort(pairs=6, seconds=2.0)
QUICK = Effort(pairs=2, seconds=1.2)


@dataclass
class Row:
    """The pairs of one size and number of flows."""

    size: str
    flows: int
    pairs: list[tuple[Run, Run]] = field(default_factory=list)
    """Ours, and the baseline."""
    discarded: int = 0

    @property
    def name(self) -> str:
        """How it is called in the report."""
        return f"{_size(self.size)}, {_flows(self.flows)}"

    def ours(self, figure: str) -> float:
        """The median of a figure of ours."""
        return statistics.median(getattr(ours, figure) for ours, _ in self.pairs)

    def baseline(self, figure: str) -> float:
        """The median of a figure of the baseline."""
        return statistics.median(getattr(baseline, figure) for _, baseline in self.pairs)

    @property
    def ratios(self) -> list[float]:
        """Our rate by the baseline's, pair by pair, ascending."""
        return sorted(ours.frames_per_second / baseline.frames_per_second
                      for ours, baseline in self.pairs)

    @property
    def added_cycles(self) -> float:
        """Our cycles per frame beyond the baseline's, the median of the pairs."""
        return statistics.median(ours.cycles_per_frame - baseline.cycles_per_frame
                                 for ours, baseline in self.pairs)

    @property
    def core_bounds(self) -> bool:
        """Whether our core is busier than the generator's."""
        return self.ours("busy_share") > self.ours("generator_busy_share")


def run(repository: Path, *, quick: bool = False) -> Report:
    """Builds the programs, measures every row, reports."""
    if shutil.which("dpdk-testpmd") is None:
        raise LabError("dpdk-testpmd is not there: apt-get install dpdk")
    if len(os.sched_getaffinity(0)) < 2:
        raise LabError("two cores are needed, one for the generator, one for what is measured")
    programs = build_programs(repository, "--package", "control", "--package", "perf", "--bins")
    effort = QUICK if quick else FULL
    disturbed_max = float(os.environ.get(DISTURBED_VARIABLE, DISTURBED_MAX))
    report = Report.begin("forward", repository)
    report.environment |= {
        "devices": "net_virtio_user (core 1) on net_vhost (core 0), split rings of "
                   f"{measure_forward.DESCRIPTORS}, no hugepages, bursts of "
                   f"{measure_forward.BURST}, both directions at once",
        "baseline": "dpdk-testpmd --forward-mode=mac",
        "effort": f"{effort.pairs} pairs (A B B A) of {effort.seconds:g} s",
        "discarded": f"pairs in which others had more than {100 * disturbed_max:g} % of a core",
    }
    with tempfile.TemporaryDirectory(prefix="tpo-forward-") as scratch:
        for size in RATIO_MIN:
            _bound(report, size, programs, Path(scratch), effort)
            for flows in ADDED_CYCLES_MAX:
                row = _measure(Row(size, flows), programs, Path(scratch), effort, disturbed_max)
                _add(report, row)
    return report


def _bound(report: Report, size: str, programs: Path, scratch: Path, effort: Effort) -> None:
    """What the devices and the generator do with a forwarder that looks at nothing."""
    done = measure_forward.run(BOUND, Load(size, 1, effort.seconds), programs, scratch)
    _say(done, size, 1)
    report.details.append({"size": size, "flows": 1, **measure_forward.as_row(done)})
    report.add(Result(f"{_size(size)}, frames untouched (testpmd io): rate",
                      done.frames_per_second / MILLION, "Mframes/s"))


def _measure(row: Row, programs: Path, scratch: Path, effort: Effort, disturbed_max: float) -> Row:
    """Pairs in the order A B B A, until there are enough that nobody has disturbed."""
    load = Load(row.size, row.flows, effort.seconds)
    for number in range(TRIES * effort.pairs):
        if len(row.pairs) == effort.pairs:
            break
        order = [OURS, BASELINE] if number % 2 == 0 else [BASELINE, OURS]
        runs = {kind: measure_forward.run(kind, load, programs, scratch) for kind in order}
        kept = all(done.disturbed <= disturbed_max for done in runs.values())
        for done in runs.values():
            _say(done, row.size, row.flows, kept)
        if kept:
            row.pairs.append((runs[OURS], runs[BASELINE]))
        else:
            row.discarded += 1
    return row


def _add(report: Report, row: Row) -> None:
    """The figures of a row, with the bar that holds for what bounds it."""
    report.details += [
        {"size": row.size, "flows": row.flows, "pair": number, **measure_forward.as_row(done)}
        for number, pair in enumerate(row.pairs) for done in pair]
    report.add(Result(f"{row.name}: pairs discarded", row.discarded, ""))
    if not row.pairs:
        report.add(Result(f"{row.name}: pairs that nobody disturbed", 0, "", ">= 1", False))
        return
    core = row.core_bounds
    ratio = statistics.median(row.ratios)
    report.add(Result(f"{row.name}: rate", row.ours("frames_per_second") / MILLION, "Mframes/s",
                      baseline=row.baseline("frames_per_second") / MILLION))
    name = f"{row.name}: of testpmd's rate, {row.ratios[0]:.3f} to {row.ratios[-1]:.3f}"
    report.add(Result(name, ratio, "") if core else at_least(name, ratio, RATIO_MIN[row.size], ""))
    cycles = row.baseline("cycles_per_frame")
    name = f"{row.name}: cycles added per frame"
    report.add(at_most(name, row.added_cycles, ADDED_CYCLES_MAX[row.flows], "cycles",
                       baseline=cycles) if core
               else Result(name, row.added_cycles, "cycles", baseline=cycles))
    who = "our core" if core else "device, generator"
    name = f"{row.name}: bound by {who}: busy, ours (baseline: generator)"
    report.add(Result(name, 100 * row.ours("busy_share"), "%",
                      baseline=100 * row.ours("generator_busy_share")))


def _size(size: str) -> str:
    return f"{size} B" if size.isdigit() else size.upper()


def _flows(flows: int) -> str:
    return f"{flows:,} flow{'s' if flows != 1 else ''}"


def _say(done: Run, size: str, flows: int, kept: bool = True) -> None:
    print(f"{_size(size)}, {_flows(flows)}, {done.forwarder}: "
          f"{done.frames_per_second / MILLION:.2f} Mframes/s, "
          f"{done.cycles_per_frame:.0f} cycles, busy {100 * done.busy_share:.0f} %, "
          f"generator {100 * done.generator_busy_share:.0f} %, others "
          f"{100 * done.disturbed:.1f} %{'' if kept else ': discarded'}", file=sys.stderr)
