"""How workers share cores: fewer cores than workers must slow things down, not stop them.

Bulk flows go through two `tpo` and the emulator, which sets no limit worth speaking of. Placements
are compared by turns: both appliances on one core, one on each, and each on both with two edges, so
that four workers share two cores with everything else there is.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.alternation import Alternation, Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Report
from tpolab.config import core
from tpolab.lab import Lab, LabOptions

from . import measure_flows, measure_latency
from .measure_flows import Goodput
from .measure_processes import Usage

RATE = "4gbit"
WAN = ["--rate", RATE, "--delay", "2ms", "--seed", "7"]
CONTENT_BYTES = 64 << 20
IDLE_AFTER_S = 2.0
IDLE_S = 2.0
BASELINE = "a core for each"
ONE_CORE = "both on one core"
FOUR = "two edges each"


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    skip_s: float
    seconds: float
    samples: int
    one_core: bool


def placements() -> dict[str, dict[str, Any]]:
    """What `[cores]` says at both sites; nothing where the lab's own does."""
    first, second = core(0), core(1)
    return {
        ONE_CORE: {"port": first},
        BASELINE: {},
        FOUR: {"port": first, "edge": [first, second], "aggregate": second,
               "compress": second, "transmit": first, "decompress": second},
    }


def run(job: Job) -> Report:
    """Builds the programs, measures every placement, reports."""
    built = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    flows = job.scenario.parameters["flows"]
    report = job.report(flows=str(flows), link=f"{RATE}, 2 ms each way",
                        driver="net_af_xdp over veth")
    effort = job.effort(Effort)
    names = [name for name in placements() if effort.one_core or name != ONE_CORE]
    looked_at: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="tpo-workers-") as scratch:
        content = Path(scratch) / "random"
        content.write_bytes(os.urandom(CONTENT_BYTES))

        def one(name: str) -> Goodput:
            with _lab(name, built) as lab:
                goodput = _goodput(lab, content, effort, flows)
                if name == FOUR and name not in looked_at:
                    looked_at.add(name)
                    _delays_and_idle(report, lab, name, content, effort)
            return goodput

        found = alternate(names, one, Plan(effort.rounds))
    _tell(report, found, names, flows)
    return report


def _lab(name: str, programs: Path) -> contextlib.AbstractContextManager[Lab]:
    cores = placements()[name]
    return Lab(LabOptions(wan_arguments=WAN, rate=RATE, programs=programs,
                          extra={"cores": cores} if cores else {}))


def _goodput(lab: Lab, content: Path, effort: Effort, flows: int) -> Goodput:
    goodput = measure_flows.measure(lab, content, Usage(lab), flows=flows, skip_s=effort.skip_s,
                                    seconds=effort.seconds)
    cpu = ", ".join(f"{name} {share:.0%}" for name, share in goodput.cpu.items())
    _say(f"{goodput.total_bps / 1e6:.0f} Mb/s, Jain {goodput.jain:.3f}; {cpu}")
    return goodput


def _delays_and_idle(report: Report, lab: Lab, name: str, content: Path, effort: Effort) -> None:
    """That nobody is kept waiting beside bulk, and that workers without work sleep."""
    with measure_flows.bulk(lab, content, lead_s=effort.skip_s):
        pings = measure_latency.pings(lab, effort.samples)
    report.add(f"{name}: pings beside bulk, median", [1e3 * seconds for seconds in pings], "ms")
    report.add(f"{name}: the slowest of {len(pings)} pings", 1e3 * max(pings), "ms")
    time.sleep(IDLE_AFTER_S)
    usage = Usage(lab)
    usage.start()
    time.sleep(IDLE_S)
    shares = usage.stop()
    worst = max(shares[program] for program in ("tpoa", "tpob"))
    report.add(f"{name}: an appliance with nothing to do", 100 * worst, "% of a core", bar="idle")


def _tell(report: Report, found: Alternation[Goodput], names: list[str], flows: int) -> None:
    def megabits(each: Goodput) -> float:
        return each.total_bps / 1e6

    baseline = found.values(BASELINE, megabits)
    for name in names:
        runs, goodputs = found.runs(name), found.values(name, megabits)
        report.add(f"{name}: goodput", goodputs, "Mb/s", baseline=baseline)
        report.add(f"{name}: Jain's index", [each.jain for each in runs], "")
        slowest = [min(each.flows_bps) * flows / each.total_bps for each in runs]
        report.add(f"{name}: slowest flow by an even share", slowest, "", bar="slowest")
    ratios = found.pairs(FOUR, BASELINE,
                         lambda ours, theirs: ours.total_bps / theirs.total_bps)
    report.add("four workers on two cores by one on each", ratios, "", bar="four workers")


def _say(what: str) -> None:
    print(f"workers: {what}", file=sys.stderr, flush=True)
