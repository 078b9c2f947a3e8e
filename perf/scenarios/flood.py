"""What a flood of forged datagrams costs two appliances that are in the middle of a transfer.

One encrypted flow of random bytes from host A to host B, with `auto`, alone and beside the flood in
turn (A B B A). The flood goes to the WAN address of tpo B, which receives the data, from many
addresses and ports of the WAN segment; it does not pass the link between the sites, so what it
costs is what it costs the appliance and the machine that all of them share, the sender included.
"""

from __future__ import annotations

import base64
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.alternation import Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Report
from tpolab import keys, namespaces, topology
from tpolab.lab import Lab, LabOptions

from . import measure_flood, measure_flows
from .measure_flood import Answers, Sent, Target
from .measure_flows import Goodput
from .measure_processes import Usage

RATE = "200mbit"
DELAY = "50ms"
WAN = ["--rate", RATE, "--delay", DELAY, "--seed", "7", "--queue", "1bdp"]
PACKETS_PER_S = 10_000
MIB = 1 << 20
RANDOM_BYTES = 64 * MIB
SETTLE_S = 1.0
"""Between two transfers, and before counters are read: what was on its way is there."""
STAGES = ("wan_device", "port", "transmit", "demux", "data_mover", "key_exchange")
"""Where a datagram of a stranger can end."""
ATTACKED_DEVICE = topology.WAN_DEVICES["b"]
LISTENED_DEVICE = topology.WAN_DEVICES["a"]
NO_SESSION = (b"", 0)

Session = tuple[bytes, int]
"""Header and number of a datagram of the session."""


@dataclass(frozen=True)
class Kind:
    """One kind of flood."""

    name: str
    make: Callable[[bytes, Session], bytes]
    """A datagram, from the public key of the receiver and its session."""
    sniffed: bool = False
    """Whether the attacker has to have seen the session on the WAN."""
    answered: bool = False
    """Whether a cookie may be the answer."""


KINDS = (
    Kind("initiations", lambda _key, _session: measure_flood.initiation()),
    Kind("initiations with the right MAC",
         lambda key, _session: measure_flood.known_initiation(key), answered=True),
    Kind("data of no session", lambda _key, _session: measure_flood.session_datagram()),
    Kind("data of the session, wrong tags",
         lambda _key, session: measure_flood.session_datagram(*session), sniffed=True),
)


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    skip_s: float
    seconds: float


@dataclass
class Run:
    """One transfer, and the flood beside it if there was one."""

    goodput: Goodput
    sent: Sent
    answers: Answers
    cable_lost: int
    """Frames that never reached tpo B: the machine was too busy to take them off the cable."""
    drops: dict[str, int]
    """What tpo B dropped meanwhile where strangers' datagrams end, by stage and reason."""


def run(job: Job) -> Report:
    """Builds the programs, measures every kind of flood, reports."""
    built = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort = job.effort(Effort)
    report = job.report(
        link=f"{RATE} of IP bytes, {DELAY} each way, a queue of 1 BDP",
        driver="net_af_xdp over veth", rate="auto, encrypted",
        flood=f"{PACKETS_PER_S} packets a second to tpo B, beside the link and not through it",
        effort=f"A B B A, {effort.seconds:g} s after {effort.skip_s:g} s")
    options = LabOptions(wan_arguments=WAN, rate="auto", programs=built)
    with tempfile.TemporaryDirectory(prefix="tpo-flood-") as scratch, Lab(options) as lab:
        content = Path(scratch) / "random"
        content.write_bytes(os.urandom(RANDOM_BYTES))
        measurement = Measurement(report, lab, content, effort)
        for kind in KINDS:
            measurement.measure(kind)
    return report


class Measurement:
    """All kinds of flood in one lab."""

    def __init__(self, report: Report, lab: Lab, content: Path, effort: Effort) -> None:
        self.report = report
        self.lab = lab
        self.content = content
        self.effort = effort
        site = lab.site("b")
        station = namespaces.hardware_address(lab.namespace(site.appliance), topology.APPLIANCE_WAN)
        self.target = Target(site.wan_interfaces[0].address,
                             bytes.fromhex(station.replace(":", "")))
        self.key = base64.b64decode(keys.public_key(keys.private_key(lab.key_path("b"))))

    def measure(self, kind: Kind) -> None:
        """A B B A."""
        found = alternate(("alone", "beside"),
                          lambda way: self._run(kind, flooded=way == "beside"),
                          Plan(self.effort.rounds))
        self._report(kind, found.runs("alone"), found.runs("beside"))

    def _run(self, kind: Kind, *, flooded: bool) -> Run:
        session = self._sniff() if kind.sniffed else NO_SESSION
        time.sleep(SETTLE_S)
        before, cable_before, sent = self._drops(), self._cable_lost(), Sent()
        with Answers.collected(self.lab, "hosta", topology.HOST_DEVICE) as answers:
            with contextlib.ExitStack() as stack:
                if flooded:
                    sent = stack.enter_context(measure_flood.flood(
                        self.lab, ATTACKED_DEVICE, self.target,
                        lambda: kind.make(self.key, session), packets_per_s=PACKETS_PER_S))
                goodput = measure_flows.measure(
                    self.lab, self.content, Usage(self.lab), flows=1, skip_s=self.effort.skip_s,
                    seconds=self.effort.seconds)
            time.sleep(SETTLE_S)
        after = self._drops()
        drops = {name: after[name] - before[name] for name in after if after[name] > before[name]}
        what = f"{sent.packets} packets, {sent.rate:.0f}/s" if flooded else "alone"
        _say(f"{kind.name}: {what}: {goodput.total_bps / 1e6:.1f} Mb/s, tpo B "
             f"{goodput.cpu['tpob']:.0%} of a core; {answers}; dropped {drops}")
        return Run(goodput, sent, answers, self._cable_lost() - cable_before, drops)

    def _report(self, kind: Kind, alone: list[Run], beside: list[Run]) -> None:
        ours, theirs = (statistics.mean(run.goodput.total_bps for run in runs)
                        for runs in (beside, alone))
        add, sent = self.report.add, sum(run.sent.packets for run in beside)
        add(f"{kind.name}: goodput by that without", ours / theirs, "", bar="goodput")
        add(f"{kind.name}: goodput", [run.goodput.total_bps / 1e6 for run in beside], "Mb/s",
            baseline=[run.goodput.total_bps / 1e6 for run in alone])
        rate = statistics.mean(run.sent.rate for run in beside)
        add(f"{kind.name}: rate", rate, "packets/s", bar="rate")
        ip_bytes = beside[0].sent.ip_bytes
        add(f"{kind.name}: rate in bits", rate * ip_bytes * 8 / 1e6, "Mb/s")
        dropped = sum(sum(run.drops.values()) for run in beside)
        lost = sum(run.cable_lost for run in beside)
        add(f"{kind.name}: packets that came, without a named reason",
            max(0, sent - dropped - lost), "packets", bar="unnamed", baseline=sent)
        add(f"{kind.name}: packets that the cable lost", lost, "packets")
        cookies = sum(run.answers.cookies for run in beside)
        others = sum(run.answers.others for run in beside)
        unasked = others if kind.answered else others + cookies
        add(f"{kind.name}: answers to strangers but cookies", unasked, "packets", bar="unasked",
            baseline=cookies)
        if kind.answered:
            longest = max(run.answers.payload_bytes_max for run in beside)
            add(f"{kind.name}: cookies", cookies, "packets", bar="cookies", baseline=sent)
            add(f"{kind.name}: longest answer", longest, "bytes", bar="longest")
        for name, runs in (("with", beside), ("without", alone)):
            share = statistics.mean(run.goodput.cpu["tpob"] for run in runs)
            add(f"{kind.name}: cpu of tpo B {name}", 100 * share, "% of a core")

    def _sniff(self) -> Session:
        """What is seen of the session on the WAN, for which the emulator has to step aside."""
        self.lab.programs["wanem"].stop()
        try:
            return measure_flood.sniff(self.lab, LISTENED_DEVICE)
        finally:
            self.lab.start_wan()

    def _cable_lost(self) -> int:
        """Frames of both senders, the emulator and the flood, that the kernel dropped."""
        return (self.lab.counters("wan", ATTACKED_DEVICE).tx_dropped
                + self.lab.counters("tpob", topology.APPLIANCE_WAN).rx_dropped)

    def _drops(self) -> dict[str, int]:
        drops = self.lab.tpoctl("b", "show", "drops")["drops"]
        return {f"{drop['stage']}.{drop['name']}": drop["count"] for drop in drops
                if drop["stage"] in STAGES}


def _say(what: str) -> None:
    print(f"flood: {what}", file=sys.stderr, flush=True)
