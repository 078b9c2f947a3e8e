"""TCP through two real tpo over virtual devices, beside what devices and generator do alone.

Each row says what is carried and how the devices are; it is measured through both appliances and, where
it has a baseline, through testpmd in their place, which moves frames from one device to the other and
looks at none. Both in turn (A B B A). What arrives is compared byte by byte, or there is no figure.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.alternation import Alternation, Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report
from tpolab.errors import LabError

from . import measure_load
from .measure_load import ALONE, BETWEEN, Case, Devices, Run

PERCENTILES = (50.0, 99.0, 99.9)
FAULTS = ("resets", "left", "missing_bytes", "wrong", "damaged", "frames_lost")
"""What the generator counts of what should not happen."""


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    seconds: float
    rows: list[str] | None = None
    """Fewer than the scenario's."""


@dataclass(frozen=True)
class Row:
    """One row of the scenario's file."""

    name: str
    kind: str
    connections: int
    buffer: int
    """KiB of each buffer of a host's connection."""
    rate: int = 0
    encrypted: bool = True
    compression: str = "none"
    text: bool = False
    large: int = 0
    """Bytes of packets that hosts hand over; 0 for those of the MTU."""
    packed: bool = False
    mergeable: bool = True
    tso: bool = False
    """Whether devices offer segmentation, and checksums are left to them."""
    baseline: bool = False
    """Whether it is measured without appliances too."""
    alone_buffer: int = 0
    """KiB of a buffer there, where nothing but a ring stands for a window."""

    def case(self) -> Case:
        """As it is run."""
        load = ["--kind", self.kind, "--connections", str(self.connections),
                "--buffer", str(self.buffer), "--rate", str(self.rate)]
        load += ["--text"] if self.text else []
        load += ["--large", str(self.large)] if self.large else []
        load += ["--checksums"] if self.tso else []
        alone = ["--buffer", str(self.alone_buffer)] if self.alone_buffer else []
        return Case(self.name, load, self.encrypted, self.compression,
                    Devices(self.packed, self.mergeable, self.tso), alone)


def rows(parameters: dict[str, Any], chosen: list[str] | None) -> list[Row]:
    """The rows of a mode."""
    found = {}
    for table in parameters["row"]:
        try:
            row = Row(**table)
        except TypeError as error:
            raise LabError(f"perf/scenarios/load.toml: row {table.get('name')!r}: {error}") from error
        found[row.name] = row
    unknown = [name for name in chosen or [] if name not in found]
    if unknown:
        raise LabError(f"perf/scenarios/load.toml has no row {', '.join(unknown)}")
    return [found[name] for name in chosen] if chosen else list(found.values())


def run(job: Job) -> Report:
    """Builds the programs, measures every row, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort, parameters = job.effort(Effort), job.scenario.parameters
    report = job.report(
        devices="net_virtio_user on net_vhost, rings of "
                f"{measure_load.DESCRIPTORS}, no hugepages; generator on core 0, both tpo on core 1",
        effort=f"{effort.rounds} rounds (A B B A) of {effort.seconds:g} s",
        rate=parameters["rate"])
    plan = Plan(effort.rounds, parameters["tries"])
    with tempfile.TemporaryDirectory(prefix="tpo-load-") as scratch:
        for row in rows(parameters, effort.rows):
            case = row.case()
            found = alternate(
                (BETWEEN, ALONE) if row.baseline else (BETWEEN,),
                lambda between, case=case: measure_load.run(
                    between, case, effort.seconds, programs, Path(scratch), parameters["rate"]),
                plan, keep=lambda done: done.disturbed <= job.disturbed_max,
                told=lambda done, kept, row=row: _say(row, done, kept))
            _add(report, row, found)
    return report


def _add(report: Report, row: Row, found: Alternation[Run]) -> None:
    report.discards.append(Discard(row.name, len(found.rounds), found.discarded,
                                   report.declared.discards if report.declared else ""))
    report.details += [
        {"row": row.name, "round": number, "between": done.between, "busy": done.busy,
         "disturbed": done.disturbed, **done.report}
        for number, runs in enumerate(found.rounds) for done in runs.values()]
    if not found.rounds:
        report.add(f"{row.name}: rounds that nobody disturbed", 0, "", bar="undisturbed")
        return

    def values(figure: Any) -> dict[str, list[float]]:
        return {side: found.values(side, figure) for side in found.rounds[0]}

    def add(name: str, unit: str, figure: Any, note: str | None = None) -> None:
        at = values(figure)
        alone = at.get(ALONE)
        words = [f"alone {statistics.median(alone):.4g}"] if alone else []
        report.add(f"{row.name}: {name}", at[BETWEEN], unit, baseline=alone,
                   note="; ".join(words + ([note] if note else [])) or None)

    report.add(f"{row.name}: faults",
               sum(faults(run.report) for runs in found.rounds for run in runs.values()), "",
               bar="faults")
    if row.kind == "bulk":
        add("goodput", "Gb/s", lambda done: done.gbps, _busy(found))
    elif row.kind == "connect":
        add("opened, asked on and closed", "per s", lambda done: done.report["answers_per_second"],
            _busy(found))
    if row.kind == "request":
        for percentile in PERCENTILES:
            add(f"delay, p{percentile:g}", "us",
                lambda done, at=percentile: done.delay_us(at),
                _busy(found) if percentile == PERCENTILES[0] else None)
        add("answered, of those due", "%",
            lambda done: 100 * done.report["answered"] / max(1, done.report["due"]))


def faults(report: dict[str, Any]) -> int:
    """How much there was that should not be."""
    return sum(report["connections"][key] for key in FAULTS)


def _busy(found: Alternation[Run]) -> str:
    """How busy each process was, of a core."""
    runs = found.runs(BETWEEN)
    shares = {name: statistics.median(run.busy[name] for run in runs) for name in runs[0].busy}
    words = {"load": "generator", "a": "site A", "b": "site B"}
    told = ", ".join(f"{words[name]} {100 * share:.0f} %" for name, share in shares.items()
                     if name != "load")
    generator = statistics.median(run.report["busy_share"] for run in runs)
    return f"busy: generator {100 * generator:.0f} %, {told}"


def _say(row: Row, done: Run, kept: bool) -> None:
    report = done.report
    delay = f"p50 {done.delay_us(50.0):.0f} us, p99.9 {done.delay_us(99.9):.0f} us, " \
        if report["delay_us"] else ""
    print(f"load: {row.name}, {done.between}: {done.gbps:.2f} Gb/s, "
          f"{report['answers_per_second']:.0f} answers/s, {delay}"
          f"generator {100 * report['busy_share']:.0f} % busy, others {100 * done.disturbed:.1f} %"
          f"{'' if kept else ': discarded'}", file=sys.stderr, flush=True)
