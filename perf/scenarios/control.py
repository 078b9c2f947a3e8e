"""Frames that pass at a fixed rate, with and without a control side that never rests.

The control side reads every statistic and all flows over the control socket, and reloads a
configuration that changes rules, networks and the rates of peers, takes one peer out and adds another,
one after the other, at rest for as long as each has taken. All of it runs on the core of the worker that forwards the frames, so that the
generator's is the generator's alone: where an appliance has one core, that is how it is. By turns,
A B B A, on the same appliance.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.alternation import Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report
from tpolab.config import to_toml
from tpolab.errors import LabError

from .measure_forward import Load, Place, Tpo, ask, asked
from .measure_load import Others
from .measure_trials import Rig, Trial

ALONE, CONTROLLED = "alone", "controlled"
PEERS = 8
PAUSE_S_MIN = 0.002
OK = b'{"ok":true'
READ = ("show port info all", "show port stats all", "show port xstats all", "show cores",
        "show pipeline", "show drops", "show rule", "show peer", "show counters", "show config",
        "show flow limit {flows}")


@dataclass(frozen=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """One trial, and what was asked meanwhile."""

    trial: Trial
    asked: int
    reloads: int
    disturbed: float
    """What others took of both cores, as a share of one."""

    @property
    def lost(self) -> int:
        """Frames that went in and did not come back."""
        trial = self.trial
        return trial.due - trial.refused - trial.unsent - trial.received


class Appliance(Tpo):
    """tpo with peers (that nobody is), and rules in front of the one that passes everything."""

    def __init__(self, place: Place, flows: int) -> None:
        self.place = place
        super().__init__(place, flows)

    def _config(self, place: Place, flows: int) -> dict[str, Any]:
        return self.configuration(flows, 0)

    def configuration(self, flows: int, number: int) -> dict[str, Any]:
        """One of many that differ in what a reload may change."""
        peers = [{
            "name": f"peer-{each}", "endpoint": f"10.3.1.{100 + each}:4980", "encryption": "none",
            "rate": f"{100 + number % 7}mbit",
            "networks": [f"10.{100 + each}.{number % 200}.0/24"],
        } for each in range(PEERS)]
        # One that comes with this configuration, and leaves with the next.
        peers.append({
            "name": f"guest-{number}", "endpoint": f"10.3.1.{200 + number % 50}:4980",
            "encryption": "none", "networks": [f"10.200.{number % 200}.0/24"], "rate": "auto",
        })
        rules = [{"name": f"extra-{number}-{each}", "protocol": "tcp", "action": "drop",
                  "destination_ports": [str(1 + (number + each) % 1000)]} for each in range(8)]
        rules.append({"name": f"to-guest-{number}", "action": "optimize", "peer": f"guest-{number}",
                      "destination": peers[-1]["networks"]})
        tree = super()._config(self.place, flows)
        return tree | {"peer": peers, "rule": rules + tree["rule"]}

    def stay(self, core: int) -> None:
        """Keeps all its threads on this core."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


class Control:
    """The control side; a context manager that asks until it is left."""

    def __init__(self, appliance: Appliance, flows: int) -> None:
        self.asked = 0
        self.reloads = 0
        self._appliance = appliance
        self._flows = flows
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None,
                 _trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise LabError(f"the control side failed: {self._error}") from self._error

    def _run(self) -> None:
        os.sched_setaffinity(0, {self._appliance.place.bed.device.core})
        try:
            while not self._stop.is_set():
                self._round()
        except (LabError, OSError, ValueError) as error:
            self._error = error

    def _round(self) -> None:
        self.reloads += 1
        file = self._appliance.place.scratch / "reload.toml"
        tree = self._appliance.configuration(self._flows, self.reloads)
        file.write_text(to_toml(tree), encoding="utf-8")
        for command in (f"reload {file}", *READ):
            if self._stop.is_set():
                return
            began = time.monotonic()
            # Not taken apart: that would be work of ours on the core that is measured.
            answer = asked(self._appliance.control, command.format(flows=self._flows))
            if not answer.startswith(OK):
                raise LabError(f"{command}: {answer[:200].decode(errors='replace')}")
            self.asked += 1
            # Somebody else has this core too.
            self._stop.wait(max(PAUSE_S_MIN, time.monotonic() - began))


def run(job: Job) -> Report:
    """Builds the programs, holds the rate by turns, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort, parameters = job.effort(Effort), job.scenario.parameters
    flows = parameters["flows"]
    report = job.report(
        devices=f"{job.bed.says}; control on the worker's core",
        effort=f"{effort.rounds} rounds (A B B A) of {effort.seconds:g} s")
    load = Load(parameters["size"], flows, effort.seconds)

    def start(_kind: str, place: Place, flows: int) -> Appliance:
        return Appliance(place, flows)

    with tempfile.TemporaryDirectory(prefix="tpo-control-") as scratch, \
            Rig("tpo", load, Place(programs, Path(scratch), job.bed), start) as rig:
        appliance = rig.forwarder
        assert isinstance(appliance, Appliance)
        appliance.stay(job.bed.device.core)

        def one(way: str) -> Measured:
            return measure(way, rig, appliance, parameters["rate"], effort.seconds, flows)

        found = alternate((ALONE, CONTROLLED), one, Plan(effort.rounds, parameters["tries"]),
                          keep=lambda done: done.disturbed <= job.disturbed_max, told=_say)
        drops = ask(appliance.control, "show drops")["drops"]
    report.discards.append(Discard("frames that pass", len(found.rounds), found.discarded,
                                   job.scenario.discards))
    report.details.append({"drops": drops})
    report.add("rounds that nobody disturbed", len(found.rounds), "", bar="undisturbed")
    if not found.rounds:
        return report
    with_control = found.runs(CONTROLLED)
    report.add("rate", [run.trial.received / effort.seconds / 1e6 for run in with_control],
               "Mframes/s",
               baseline=[run.trial.received / effort.seconds / 1e6 for run in found.runs(ALONE)])
    report.add("rate, by that without control",
               found.pairs(CONTROLLED, ALONE, lambda a, b: _share(a) / _share(b)), "", bar="rate")
    for way in (ALONE, CONTROLLED):
        report.add(f"lost, {way}", sum(run.lost for run in found.runs(way)), "frames",
                   bar="lost" if way == CONTROLLED else None,
                   note=f"of {sum(run.trial.due for run in found.runs(way)):,}")
        report.add(f"not taken by the port when due, {way}",
                   sum(run.trial.refused + run.trial.unsent for run in found.runs(way)), "frames")
    for percentile in (50.0, 99.0, 99.9):
        report.add(f"delay, p{percentile:g}",
                   [run.trial.delay_us[percentile] for run in with_control], "us",
                   baseline=[run.trial.delay_us[percentile] for run in found.runs(ALONE)])
    report.add("asked a second", [run.asked / effort.seconds for run in with_control], "per s")
    report.add("reloads a second", [run.reloads / effort.seconds for run in with_control], "per s")
    return report


def measure(way: str, rig: Rig, appliance: Appliance, rate: float, seconds: float,
            flows: int) -> Measured:
    """One trial, with or without control."""
    others = Others({"load": rig.generator.pid, "tpo": appliance.pid, "control": os.getpid()})
    if way == ALONE:
        trial, control = rig.trial(rate, seconds), None
    else:
        with Control(appliance, flows) as control:
            trial = rig.trial(rate, seconds)
    _, disturbed = others.shares()
    asked, reloads = (control.asked, control.reloads) if control else (0, 0)
    return Measured(trial, asked, reloads, disturbed)


def _share(done: Measured) -> float:
    """What came back, of what was due."""
    return done.trial.received / max(1, done.trial.due)


def _say(done: Measured, kept: bool) -> None:
    trial = done.trial
    print(f"control: {'with' if done.asked else 'without'} control: {trial.received} of {trial.due} "
          f"frames back, {done.lost} lost, {trial.refused} refused, {trial.unsent} unsent, p99.9 "
          f"{trial.delay_us[99.9]:.0f} us, {done.asked} asked, {done.reloads} reloads, others "
          f"{100 * done.disturbed:.1f} %{'' if kept else ': discarded'}", file=sys.stderr, flush=True)
