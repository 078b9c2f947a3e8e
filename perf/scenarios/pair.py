"""What a pair of appliances makes of a long, lossy link: the promises of the first release.

Everything goes through two `tpo` and the emulator, from host A to host B, with `fixed` at the
link's rate; where a direct path is the baseline, bridges stand in the appliances' places.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.alternation import Plan, alternate
from bench.job import Job
from bench.plot import percentiles
from bench.programs import build_programs
from bench.report import Report
from tpolab.errors import LabError
from tpolab.lab import Lab, LabOptions

from . import measure_flows, measure_latency
from .measure_flows import Goodput
from .measure_processes import Usage, resident_bytes_max

RATE = "200mbit"
RATE_BPS = 200e6
DELAY = "40ms"
RTT_S = 0.080
WAN = ["--rate", RATE, "--delay", DELAY, "--seed", "7"]
PAYLOAD_SHARE = 1438 / 1500
"""Of a full datagram's IP bytes, those that are not headers: the least that is promised."""

LOSSES = (0.0, 0.005, 0.02)
DEMO_LOSS = 0.005
FLOWS = 10
FAST_FLOWS = 9
SLOW_READER_BPS = 400e3
SLOW_READER_LEAD_S = 2.0
FIRST_PORT = 9004
FIRST_RULE = {"name": "interactive", "protocol": "tcp", "destination_ports": [FIRST_PORT],
              "action": "optimize", "class": 0}
"""All else has the default class, 1."""
EXCHANGE_CONNECTIONS = 5
EXCHANGE_PERCENTILE = 99
IDLE_AFTER_S = 3.0
SETTLE_S = 1.0
"""Between two transfers: what a reset left on the way is gone."""

MIB = 1 << 20
BUFFER_MEMORY_MIB = 256
FRAMES = 16384
LIMITS = {"buffer_memory": f"{BUFFER_MEMORY_MIB}MiB", "frames": FRAMES}

RANDOM_BYTES = 64 * MIB
COMPRESSIBLE_BYTES = 128 * MIB
COMPRESSIBLE_FROM = (Path("/usr/lib"), Path("/usr/share"))

ALLOCATION_TESTS = ("mover_alloc", "edge_tcp_alloc")
"""Tests of dataplane that count allocations."""


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    runs: int
    skip_s: float
    seconds: float
    samples: int
    idle_s: float


def run(job: Job) -> Report:
    """Builds the programs, measures everything, reports."""
    built = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    report = job.report(
        link=f"{RATE}, {DELAY} each way, loss after the queue, `fixed` at the same rate",
        driver="net_af_xdp over veth", limits=", ".join(f"{k} {v}" for k, v in LIMITS.items()))
    with tempfile.TemporaryDirectory(prefix="tpo-pair-") as scratch:
        Measurement(report, built, Path(scratch), job.effort(Effort)).run()
    _count_allocations(report, job.repository)
    return report


class Measurement:
    """One pass over everything that is promised."""

    def __init__(self, report: Report, programs: Path, scratch: Path, effort: Effort) -> None:
        self.report = report
        self.programs = programs
        self.effort = effort
        self.random = _random_file(scratch / "random")
        self.compressible = _compressible_file(scratch / "compressible")

    def run(self) -> None:
        """Measures what no load may disturb first."""
        with self._lab("tpo") as lab:
            for step in (self._latency, self._eta, self._compressible, self._ten_flows,
                         self._exchanges, self._slow_reader, self._memory, self._idle):
                try:
                    step(lab)
                except (LabError, subprocess.SubprocessError) as error:
                    # The other figures are worth having all the same.
                    _say(f"failed: {error}")
                    name = step.__name__.strip("_").replace("_", " ")
                    self.report.failed(f"failures to measure: {name}")

    def _lab(self, appliances: str) -> Lab:
        return Lab(LabOptions(appliances=appliances, wan_arguments=WAN, rate=RATE,
                              first_rules=[FIRST_RULE], extra={"limits": LIMITS},
                              programs=self.programs))

    def _latency(self, lab: Lab) -> None:
        """Through tpo and through bridges in turn, A B B A."""
        _say("connection set-up and ping, through tpo and through bridges")
        connects: dict[str, list[float]] = {"tpo": [], "bridge": []}
        pings: dict[str, list[float]] = {"tpo": [], "bridge": []}
        with self._lab("bridge") as direct:
            for each in (lab, direct):
                measure_latency.pings(each, 3)  # the neighbours know each other now
            labs = {"tpo": lab, "bridge": direct}

            def one(name: str) -> None:
                pings[name] += measure_latency.pings(labs[name], self.effort.samples)
                connects[name] += measure_latency.connects(labs[name], self.effort.samples // 4)

            alternate(("tpo", "bridge"), one, Plan(2))
        for name, times in pings.items():
            if len(times) < 2 * self.effort.samples:
                raise LabError(f"pings were lost without loss on the WAN ({name})")
        rtt_ms = 1e3 * statistics.median(pings["bridge"])
        beyond = {name: [1e3 * seconds - rtt_ms for seconds in times]
                  for name, times in connects.items()}
        self.report.add("connection set-up beyond one WAN round trip, median", beyond["tpo"], "ms",
                        bar="set-up", baseline=beyond["bridge"])
        self.report.add("ping, added by tpo, median",
                        [1e3 * seconds - rtt_ms for seconds in pings["tpo"]], "ms", bar="ping",
                        baseline=rtt_ms)
        self.report.plots.append(percentiles("ping through tpo and through bridges", "ms", {
            name: [1e3 * seconds for seconds in times] for name, times in pings.items()}))

    def _eta(self, lab: Lab) -> None:
        for loss in LOSSES:
            runs = [self._goodput(lab, self.random, loss) for _ in range(self.effort.runs)]
            possible_bps = RATE_BPS * (1 - loss) * PAYLOAD_SHARE
            self.report.add(f"eta of one flow of random bytes, {loss:.1%} loss",
                            [run.total_bps / possible_bps for run in runs], "", bar="eta")
            self.report.add(f"its goodput, {loss:.1%} loss",
                            [run.total_bps / 1e6 for run in runs], "Mb/s",
                            baseline=possible_bps / 1e6)
            self._report_load(f"one flow, {loss:.1%} loss", runs)

    def _compressible(self, lab: Lab) -> None:
        random = self._goodput(lab, self.random, DEMO_LOSS)
        packed = self._goodput(lab, self.compressible, DEMO_LOSS)
        # Headers weigh on both alike: LAN by WAN bytes of one, compared with that of the other.
        ratio = packed.lan_bytes / packed.wan_bytes * random.wan_bytes / random.lan_bytes
        speedup = packed.total_bps / random.total_bps
        self.report.add("compression ratio of files of this machine", ratio, "")
        self.report.add("their speed-up over random bytes, by that ratio", speedup / ratio, "",
                        bar="speed-up", baseline=ratio)
        self.report.add("their goodput before compression", packed.total_bps / 1e6, "Mb/s",
                        baseline=random.total_bps / 1e6)
        self._report_load("compressible flow", [packed])

    def _ten_flows(self, lab: Lab) -> None:
        goodput = self._goodput(lab, self.random, DEMO_LOSS, flows=FLOWS)
        self.report.add(f"{FLOWS} flows at once, Jain's index", goodput.jain, "", bar="fairness")
        self.report.add(f"{FLOWS} flows at once, goodput of all", goodput.total_bps / 1e6, "Mb/s")

    def _exchanges(self, lab: Lab) -> None:
        _say("exchanges of 200 bytes beside a bulk flow")
        # Without loss: at 0.5 % one exchange of a hundred loses a packet, and takes two round
        # trips whoever carries it.
        self._lose(lab, 0.0)
        count = self.effort.samples
        with measure_flows.bulk(lab, self.random, lead_s=self.effort.skip_s):
            same = measure_latency.exchanges(lab, EXCHANGE_CONNECTIONS, count)
            other = measure_latency.exchanges(lab, EXCHANGE_CONNECTIONS, count, port=FIRST_PORT)
        beyond = {}
        for name, times, bar in (
                ("exchange beside a bulk flow", same, "exchange"),
                ("exchange beside bulk of another class", other, "first exchange")):
            beyond[name] = [1e3 * (seconds - RTT_S) for seconds in times]
            p99_ms = statistics.quantiles(beyond[name], n=100)[EXCHANGE_PERCENTILE - 1]
            self.report.add(f"{name} beyond one RTT, p99", p99_ms, "ms", bar=bar,
                            baseline=1e3 * RTT_S)
            self.report.add(f"{name} beyond one RTT, median", beyond[name], "ms")
        self.report.plots.append(percentiles("exchanges beyond one RTT", "ms", beyond))

    def _slow_reader(self, lab: Lab) -> None:
        """Nine flows alone and beside it, A B B A."""
        alone = [self._goodput(lab, self.random, DEMO_LOSS, flows=FAST_FLOWS)]
        beside = []
        with measure_flows.slow_reader(lab, self.random, bytes_per_s=round(SLOW_READER_BPS / 8),
                                       lead_s=SLOW_READER_LEAD_S):
            for _ in range(2):
                beside.append(self._goodput(lab, self.random, DEMO_LOSS, flows=FAST_FLOWS))
        alone.append(self._goodput(lab, self.random, DEMO_LOSS, flows=FAST_FLOWS))
        ours, theirs = (statistics.mean(run.total_bps for run in runs) for runs in (beside, alone))
        self.report.add(f"{FAST_FLOWS} flows beside a slow reader, by what they get alone",
                        ours / theirs, "", bar="beside a slow reader", baseline=theirs / 1e6)

    def _memory(self, lab: Lab) -> None:
        for name in ("tpoa", "tpob"):
            self.report.add(f"memory of {name} at its peak",
                            resident_bytes_max(lab.programs[name].pid) / MIB, "MiB", bar="memory")

    def _idle(self, lab: Lab) -> None:
        _say("idle")
        time.sleep(IDLE_AFTER_S)
        usage = Usage(lab)
        usage.start()
        time.sleep(self.effort.idle_s)
        shares = usage.stop()
        for name in ("tpoa", "tpob"):
            self.report.add(f"{name} with nothing to do", 100 * shares[name], "% of a core",
                            bar="idle")

    def _goodput(self, lab: Lab, content: Path, loss: float, *, flows: int = 1) -> Goodput:
        self._lose(lab, loss)
        time.sleep(SETTLE_S)
        goodput = measure_flows.measure(lab, content, Usage(lab), flows=flows,
                                        skip_s=self.effort.skip_s, seconds=self.effort.seconds)
        cpu = ", ".join(f"{name} {share:.0%}" for name, share in goodput.cpu.items())
        wan_bps = 8 * goodput.wan_bytes / goodput.seconds
        _say(f"{flows} x {content.name}, {loss:.1%} loss: {goodput.total_bps / 1e6:.1f} Mb/s, "
             f"{wan_bps / 1e6:.1f} Mb/s of IP on the WAN, {goodput.wan_dropped} dropped there; {cpu}")
        return goodput

    @staticmethod
    def _lose(lab: Lab, loss: float) -> None:
        lab.wanem(f"set both loss {100 * loss:g}%")

    def _report_load(self, name: str, runs: list[Goodput]) -> None:
        for program in ("tpoa", "tpob"):
            share = statistics.median(run.cpu[program] for run in runs)
            self.report.add(f"{name}, cpu of {program}", 100 * share, "% of a core")


def _count_allocations(report: Report, repository: Path) -> None:
    _say("allocations and copies, counted in tests")
    for test in ALLOCATION_TESTS:
        done = subprocess.run(["cargo", "test", "--quiet", "--package", "dataplane", "--test", test],
                              cwd=repository, check=False, stdout=subprocess.DEVNULL)
        report.add(f"failures of `cargo test -p dataplane --test {test}`",
                   float(done.returncode != 0), "", bar="failures")


def _random_file(path: Path) -> Path:
    path.write_bytes(os.urandom(RANDOM_BYTES))
    return path


def _compressible_file(path: Path) -> Path:
    """Programs and texts of this machine, one after the other, in the order of their names."""
    with open(path, "wb") as out:
        for directory in COMPRESSIBLE_FROM:
            for source in sorted(directory.rglob("*")):
                if out.tell() < COMPRESSIBLE_BYTES and source.is_file() and not source.is_symlink():
                    out.write(source.read_bytes())
        if out.tell() < COMPRESSIBLE_BYTES:
            raise LabError(f"fewer than {COMPRESSIBLE_BYTES >> 20} MiB of files to send")
        out.truncate(COMPRESSIBLE_BYTES)
    return path


def _say(what: str) -> None:
    print(f"pair: {what}", file=sys.stderr, flush=True)
