"""The same link in real time: tpo beside kernel CUBIC, kernel BBR and kcptun.

One flow of random bytes from host A to host B over 200 Mb/s and 100 ms with every kind of loss. Those
that a bar is about are measured by turns, A B B A, the emulator's chances new in each round and the
same for both; the others once.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.alternation import Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Report
from tpolab.lab import Lab, LabOptions

from . import measure_flows
from .measure_processes import Usage

RATE = "200mbit"
DELAY = "50ms"
WAN = ["--rate", RATE, "--delay", DELAY, "--queue", "1bdp"]
SEED = 7
"""Of the emulator in the first round; one more in each that follows."""
MIB = 1 << 20
RANDOM_BYTES = 64 * MIB
SETTLE_S = 1.0
"""Between two transfers: what a reset left on the way is gone."""
TCP_BUFFERS = "4096 1048576 67108864"
"""Least, first and most bytes: enough for four bandwidth-delay products of the link."""
CLEAN_LOSS_MAX = 0.001
"""Up to here kernel BBR loses nothing to losses."""


@dataclass(frozen=True)
class Link:
    """One kind of link: settings of both directions, and what the result is held against."""

    name: str
    settings: dict[str, str]
    best: bool = False
    """Whether tpo has to be better than every other, not only than BBR."""

    @property
    def rivals(self) -> tuple[str, ...]:
        """Those that tpo is held against."""
        return WAYS[1:] if self.best else ("bbr",)

    @property
    def bar(self) -> str:
        """Of the other's goodput, what tpo has to reach."""
        clean = float(self.settings["loss"].rstrip("%")) / 100 <= CLEAN_LOSS_MAX
        return "clean" if clean and not self.best else "lossy"


PLAIN = {"loss": "0", "loss-burst": "0", "jitter": "0ms", "reorder": "0", "reorder-delay": "0ms"}
LINKS = (
    Link("no loss", PLAIN),
    Link("0.1 % loss", PLAIN | {"loss": "0.1%"}),
    Link("1 % loss", PLAIN | {"loss": "1%"}),
    Link("5 % loss", PLAIN | {"loss": "5%"}),
    Link("10 % loss", PLAIN | {"loss": "10%"}),
    Link("1 % loss in bursts of 8", PLAIN | {"loss": "1%", "loss-burst": "8"}),
    Link("0.5 % loss, 30 ms jitter, 2 % reordered", PLAIN | {
        "loss": "0.5%", "jitter": "30ms", "reorder": "2%", "reorder-delay": "10ms"}, best=True),
)

WAYS = ("tpo", "bbr", "cubic", "kcptun")

KCPTUN_PORT = 4000
KCPTUN_LOCAL = ("127.0.0.1", 9000)
KCPTUN_OPTIONS = ["--mode", "fast3", "--datashard", "10", "--parityshard", "1", "--mtu", "1350",
                  "--sndwnd", "8192", "--rcvwnd", "8192", "--sockbuf", str(16 * MIB), "--nocomp",
                  "--smuxver", "2", "--smuxbuf", str(32 * MIB), "--streambuf", str(16 * MIB),
                  "--key", "lab", "--quiet"]
"""What its users recommend for such a link: windows above the bandwidth-delay product."""


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    runs: int
    skip_s: float
    seconds: float


def run(job: Job) -> Report:
    """Builds the programs, measures every link, reports."""
    built = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort = job.effort(Effort)
    report = job.report(
        link=f"{RATE} of IP bytes, {DELAY} each way, a queue of 1 BDP, loss after the queue",
        driver="net_af_xdp over veth", kcptun=" ".join(KCPTUN_OPTIONS[:6]),
        effort=f"{effort.runs} x {effort.seconds:g} s after {effort.skip_s:g} s")
    with tempfile.TemporaryDirectory(prefix="tpo-wan-") as scratch:
        content = Path(scratch) / "random"
        content.write_bytes(os.urandom(RANDOM_BYTES))
        for link in LINKS:
            _measure(report, link, content, built, effort)
    return report


def _measure(report: Report, link: Link, content: Path, programs: Path, effort: Effort) -> None:
    """All four on one link."""
    goodputs: dict[str, list[float]] = {name: [] for name in WAYS}

    def one(name: str) -> float:
        seed = SEED + len(goodputs[name])
        mbps = _goodput_mbps(name, link, content, programs, effort, seed)
        print(f"wan: {link.name}: {name} {mbps:.1f} Mb/s", file=sys.stderr, flush=True)
        goodputs[name].append(mbps)
        return mbps

    alternate(("tpo", *link.rivals), one, Plan(effort.runs))
    for name in WAYS:
        if not goodputs[name]:
            one(name)
    medians = {name: statistics.median(values) for name, values in goodputs.items()}
    for name in link.rivals:
        report.add(f"{link.name}: tpo by {name}", medians["tpo"] / medians[name], "",
                   bar=link.bar, baseline=medians[name])
    for name in WAYS:
        report.add(f"{link.name}: {name}", goodputs[name], "Mb/s")
    report.plots.append({"kind": "bars", "title": link.name, "unit": "Mb/s", "rows": [
        {"label": name, "value": medians[name], "low": min(values), "high": max(values)}
        for name, values in goodputs.items()]})


def _goodput_mbps(name: str, link: Link, content: Path, programs: Path, effort: Effort,
                  seed: int) -> float:
    """What one of the four brings; 0 for one that brings nothing at all."""
    options = LabOptions(appliances="tpo" if name == "tpo" else "bridge",
                         wan_arguments=[*WAN, "--seed", str(seed)], rate="auto",
                         programs=programs)
    with Lab(options) as lab, contextlib.ExitStack() as stack:
        for node in ("hosta", "hostb"):
            for key in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
                lab.sysctl(node, key, TCP_BUFFERS)
            lab.congestion_control(node, name if name in ("bbr", "cubic") else "cubic")
        lab.run("hosta", "ping", "-c", "3", "-i", "0.2", lab.site("b").address_ipv4)
        for key, value in link.settings.items():
            lab.wanem(f"set both {key} {value}")
        relay = stack.enter_context(_kcptun(lab)) if name == "kcptun" else None
        time.sleep(SETTLE_S)
        try:
            goodput = measure_flows.measure(lab, content, Usage(lab), flows=1, relay=relay,
                                            skip_s=effort.skip_s, seconds=effort.seconds)
        except subprocess.CalledProcessError:
            return 0.0
        return goodput.total_bps / 1e6


@contextlib.contextmanager
def _kcptun(lab: Lab) -> Iterator[tuple[str, int]]:
    """A tunnel from host A to host B; where host A's programs connect to it."""
    address = lab.site("b").address_ipv4
    server = lab.popen("hostb", "kcptun-server", "--listen", f":{KCPTUN_PORT}",
                       "--target", f"{address}:{measure_flows.PORT}", *KCPTUN_OPTIONS,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = lab.popen("hosta", "kcptun-client", "--remoteaddr", f"{address}:{KCPTUN_PORT}",
                       "--localaddr", ":".join(map(str, KCPTUN_LOCAL)), *KCPTUN_OPTIONS,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield KCPTUN_LOCAL
    finally:
        for process in (client, server):
            process.terminate()
            process.wait()
