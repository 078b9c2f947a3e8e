"""How exact the WAN emulator is: its rate, its delay, and that it loses nothing by itself."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.job import Job
from bench.programs import build_programs
from bench.report import Report
from tpolab.errors import LabError
from tpolab.lab import Lab, LabOptions

from . import udp

RATE_BPS = 200e6
DELAY_MS = 40.0
OFFERED_BPS = 1.2 * RATE_BPS
FLOOD_SKIP_S = 1.0
FULL_PACKET_BYTES = 1500
PROBES = 400
# Not a multiple of anything in the emulator, so that probes meet it at any point of its sleep.
PROBE_INTERVAL_S = 0.00731
NS_PER_MS = 1e6
DIRECTIONS = (("a to b", "a_to_b", "hosta", "hostb"), ("b to a", "b_to_a", "hostb", "hosta"))


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    flood_s: float


def run(job: Job) -> Report:
    """Builds the emulator, measures it between bridges, reports."""
    built = build_programs(job.repository, "--package", "perf", "--bin", "wanem")
    effort, report = job.effort(Effort), job.report()
    with Lab(LabOptions(appliances="bridge", wan="bridge")) as direct:
        baselines = {name: _delay_ms(direct, source, destination)
                     for name, _, source, destination in DIRECTIONS}
    # A long queue: it is the emulator that is measured, not how evenly the sender sends.
    arguments = ["--rate", f"{RATE_BPS:.0f}bit", "--delay", f"{DELAY_MS:g}ms", "--queue", "4bdp"]
    with Lab(LabOptions(appliances="bridge", wan_arguments=arguments,
                        programs=built)) as lab:
        for name, _, source, destination in DIRECTIONS:
            # What the hosts and their links take is no part of it.
            whole_ms = _delay_ms(lab, source, destination)
            report.add(f"one-way delay {name}, median", whole_ms, "ms", baseline=baselines[name])
            report.add(f"one-way delay {name} beyond that over a bridge, median",
                       whole_ms - baselines[name], "ms", bar="delay", expected=DELAY_MS)
        for name, key, source, destination in DIRECTIONS:
            _measure_rate(report, lab, name, key, source, destination,
                          effort.flood_s)
        _measure_own_loss(report, lab)
    return report


def _delay_ms(lab: Lab, source: str, destination: str) -> float:
    delays = udp.one_way_delays_ns(lab, source, destination, count=PROBES,
                                   interval_s=PROBE_INTERVAL_S)
    if len(delays) != PROBES:
        raise LabError(f"of {PROBES} probes only {len(delays)} arrived")
    return statistics.median(delays) / NS_PER_MS


def _measure_rate(report: Report, lab: Lab, name: str, key: str, source: str,
                  destination: str, seconds: float) -> None:
    before = lab.wanem("stats")[key]["counters"]
    busy, began = _cpu_s(lab), time.monotonic()
    rate_bps, received = udp.flood_rate_bps(
        lab, source, destination, offered_bps=OFFERED_BPS, seconds=seconds,
        ip_bytes=FULL_PACKET_BYTES, skip_s=FLOOD_SKIP_S)
    share = (_cpu_s(lab) - busy) / (time.monotonic() - began)
    after = lab.wanem("stats")[key]["counters"]
    if after["drop_queue_packets"] == before["drop_queue_packets"]:
        raise LabError("the sender was too slow to fill the link: the rate says nothing")
    report.add(f"rate {name}", rate_bps / 1e6, "Mb/s", bar="rate", expected=RATE_BPS / 1e6)
    sent = after["packets_out"] - before["packets_out"]
    # The ping in front of the flood, and perhaps a question for a neighbour, came through as well.
    report.add(f"packets lost behind the emulator, {name}", sent - received, "packets",
               bar="behind")
    report.add(f"cpu of the emulator, {name} at full rate", 100 * share, "% of a core")


def _measure_own_loss(report: Report, lab: Lab) -> None:
    stats = lab.wanem("stats")
    lost = sum(port[counter] for port in stats["ports"].values()
               for counter in ("rx_missed", "rx_no_mbuf", "copies_failed"))
    report.add("packets lost at the emulator's ports", lost, "packets", bar="lost")
    report.add("counters that do not add up", float(not stats["adds_up"]), "", bar="lost")


def _cpu_s(lab: Lab) -> float:
    """CPU time that the emulator has used."""
    fields = Path(f"/proc/{lab.programs['wanem'].pid}/stat").read_text(encoding="utf-8")
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
