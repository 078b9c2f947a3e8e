"""A fixed rate for a while, second by second: tpo, then dpdk-testpmd in its place.

A frame is lost here because a ring was full, and a ring is full when nobody has emptied it for as
long as it holds frames: about one tick of the kernel's clock at this rate. So each frame that found
no room is told apart by whether the thread that polls had its core then, or the kernel had given it
to somebody else. The first is the forwarder's own fault, whatever it did with its core: it worked
too long, or it slept. The other one is not, and how much of it there is on this machine testpmd
says; but the time that other threads of tpo itself may take of that core has a bar, too.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import noise
from bench.bed import Bed
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report

from .measure_forward import DESCRIPTORS, Load, Place, busiest
from .measure_processes import resident_bytes_max
from .measure_trials import Rig, Trial

OURS, BASELINE = "tpo", "mac"
MIB = 1 << 20
NS_PER_MS = 1e6
TURN_S = 1.0


@dataclass(frozen=True)
class Effort:
    """How long."""

    seconds: int
    baseline_seconds: int


@dataclass(frozen=True)
class Second:
    """One of either forwarder."""

    trial: Trial
    stolen: bool
    """Whether the hypervisor took any of the forwarder's core: nobody says when."""
    others_ms: float
    """What the forwarder's other threads ran, wherever."""

    @property
    def lost(self) -> int:
        """Frames that did not come back."""
        return self.trial.due - self.trial.received

    @property
    def lost_present(self) -> int:
        """Of these, those that the generator sent, and not refused while the forwarder waited for its core."""
        return self.lost - self.trial.unsent - self.trial.refused_waiting


@dataclass(frozen=True)
class Seconds:
    """All of one forwarder."""

    all: list[Second]
    disturbed_max: float
    grown_bytes: int

    @property
    def kept(self) -> list[Second]:
        """Those in which others had little of either core."""
        return [each for each in self.all if each.trial.disturbed <= self.disturbed_max]

    @property
    def told_apart(self) -> list[Second]:
        """Of these, those of which is known who had the forwarder's core."""
        return [each for each in self.kept if not each.stolen]


def run(job: Job) -> Report:
    """Builds the programs, holds the rate with either forwarder, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort = job.effort(Effort)
    report = job.report(devices=job.bed.says, effort=f"{effort.seconds} s, and "
                        f"{effort.baseline_seconds} s of dpdk-testpmd")
    with tempfile.TemporaryDirectory(prefix="tpo-soak-") as scratch:
        place = Place(programs, Path(scratch), job.bed)
        ours = _hold(OURS, effort.seconds, place, job)
        baseline = _hold(BASELINE, effort.baseline_seconds, place, job)
    add(report, ours, baseline, job.scenario.parameters["rate"])
    report.discards += [
        Discard(what, len(counted), len(ours.all) - len(counted), rule)
        for what, counted, rule in (
            ("lost", ours.kept, job.scenario.discards),
            ("lost while tpo had its core", ours.told_apart, f"{job.scenario.discards}; and those "
             "in which the hypervisor took any of tpo's core"))]
    return report


def _hold(kind: str, seconds: int, place: Place, job: Job) -> Seconds:
    parameters = job.scenario.parameters
    found = []
    with Rig(kind, Load(parameters["size"], parameters["flows"], TURN_S), place) as rig:
        memory = 0
        for _ in range(seconds):
            found.append(_second(rig, parameters["rate"]))
            memory = memory or resident_bytes_max(rig.forwarder.pid)
        grown = resident_bytes_max(rig.forwarder.pid) - memory
    held = Seconds(found, job.disturbed_max, grown)
    print(f"soak: {kind}: {sum(each.lost for each in found)} frames lost, of them "
          f"{sum(each.lost_present for each in found)} while it had its core; it waited for it up "
          f"to {max(each.trial.wait_us_max for each in found) / 1e3:.1f} ms at once; {grown} bytes "
          "gained", file=sys.stderr, flush=True)
    return held


def _second(rig: Rig, rate: float) -> Second:
    stolen, others_ns = _stolen(rig.place.bed), _others_ns(rig.forwarder.pid)
    trial = rig.trial(rate, TURN_S, watched=True)
    return Second(trial, _stolen(rig.place.bed) > stolen,
                  (_others_ns(rig.forwarder.pid) - others_ns) / NS_PER_MS)


def _stolen(bed: Bed) -> int:
    """What the hypervisor has taken of the forwarder's core, in ticks."""
    stat = Path("/proc/stat").read_text(encoding="ascii")
    return noise.ticks(stat)[f"cpu{bed.device.core}"]["steal"]


def _others_ns(pid: int) -> int:
    """What all threads of a process have run but the one that polls."""
    polls = busiest(pid)
    others = (each for each in polls.parent.iterdir() if each != polls)
    return sum(int((each / "schedstat").read_text(encoding="ascii").split()[0]) for each in others)


def add(report: Report, ours: Seconds, baseline: Seconds, rate: float) -> None:
    """All figures."""
    report.add("seconds that count", len(ours.told_apart), "s", bar="undisturbed")
    if ours.kept:
        trials = [each.trial for each in ours.kept]
        report.add("rate", [trial.rate / 1e6 for trial in trials], "Mframes/s")
        report.add("lost, of all frames", _percent(ours.kept, "lost"), "%", bar="lost",
                   baseline=_percent(baseline.kept, "lost"))
        report.add("delay, p99", [trial.delay_us[99.0] for trial in trials], "us",
                   baseline=[each.trial.delay_us[99.0] for each in baseline.kept] or None)
    if ours.told_apart:
        report.add("lost while tpo had its core", _percent(ours.told_apart, "lost_present"), "%",
                   bar="lost", baseline=_percent(baseline.told_apart, "lost_present"))
    holds_ms = DESCRIPTORS / (rate / 2) * 1e3
    report.add("others had its core at once, at most", _longest_ms(ours), "ms",
               baseline=_longest_ms(baseline), note=f"rings hold {holds_ms:.1f} ms")
    report.add("other threads of tpo, in a second, at most",
               max(each.others_ms for each in ours.all), "ms", bar="other threads")
    report.add("lost, disturbed seconds included", sum(each.lost for each in ours.all), "frames",
               baseline=sum(each.trial.due for each in ours.all))
    report.add("memory gained", ours.grown_bytes / MIB, "MiB", bar="memory")


def _percent(seconds: list[Second], which: str) -> float | None:
    due = sum(each.trial.due for each in seconds)
    return 100 * sum(getattr(each, which) for each in seconds) / due if due else None


def _longest_ms(seconds: Seconds) -> float:
    return max(each.trial.wait_us_max for each in seconds.all) / 1e3
