"""Throughput search: NDR and PDR of frames that only pass, beside dpdk-testpmd.

Each side is searched in turn (A B B A), on the devices and cores of `forward`. A rate that the
generator has no time for counts as one that is not reached: then it is the generator that is told.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.alternation import Plan, alternate
from bench.job import Job
from bench.programs import build_programs
from bench.report import Discard, Report
from bench.search import Bounds, Goal, Search

from .measure_forward import Load, Place
from .measure_trials import Rig, Trial

OURS, BASELINE = "tpo", "mac"
GOALS = (Goal("NDR", 0.0), Goal("PDR", 0.005))
MILLION = 1e6
USED_MAX = 3
"""Disturbed trials that are used before nothing is tried again."""
UNSENT_MAX = 0.001
"""Part of what was due that the generator may leave out before it is the bound."""


@dataclass(frozen=True)
class Effort:
    """How long is looked."""

    rounds: int
    trials: int
    seconds: float
    precision: float
    sizes: list[str]


@dataclass
class Device:
    """A device under test, searched once."""

    rig: Rig
    seconds: float
    disturbed_max: float
    retries: int
    trials: list[Trial] = field(default_factory=list)
    discarded: int = 0
    used: int = 0
    """Disturbed trials that were used, for want of better ones."""

    def loss(self, rate: float) -> float:
        """The loss ratio of a trial that nobody has disturbed, if there is one."""
        # On a machine that is busy all the time, looking again only takes time.
        tries = 1 + (self.retries if self.used < USED_MAX else 0)
        for number in range(tries):
            trial = self.rig.trial(rate, self.seconds)
            if trial.disturbed <= self.disturbed_max:
                break
            if number == tries - 1:
                self.used += 1
            else:
                self.discarded += 1
        self.trials.append(trial)
        return trial.loss

    def generator_bounds(self, bounds: Bounds) -> bool:
        """Whether the generator had no time for the lowest rate that was not reached."""
        return any(trial.unsent > UNSENT_MAX * trial.due for trial in self.trials
                   if trial.rate <= 1.001 * bounds.upper)


@dataclass(frozen=True)
class Found:
    """What a search found."""

    bounds: dict[str, Bounds]
    trials: int
    discarded: int
    used: int
    generator: dict[str, bool]
    """Whether the generator was the bound, by goal."""


def search(kind: str, load: Load, place: Place, job: Job, effort: Effort,
           goals: tuple[Goal, ...] = GOALS) -> Found:
    """Searches one side."""
    parameters = job.scenario.parameters
    with Rig(kind, load, place) as rig:
        device = Device(rig, effort.seconds, job.disturbed_max, parameters["retries"])
        highest = parameters["highest"][load.size]
        looked = Search(device.loss, highest, effort.precision, effort.trials)
        # What is forwarded of too much is a good guess of how much may be too much.
        overload = rig.trial(highest, effort.seconds)
        bounds = looked.run(goals, hint=overload.rate * (1 - overload.loss))
    return Found(dict(bounds), len(device.trials), device.discarded, device.used,
                 {name: device.generator_bounds(each) for name, each in bounds.items()})


def run(job: Job) -> Report:
    """Builds the programs, searches each size, reports."""
    programs = build_programs(job.repository, "--package", "control", "--package", "perf", "--bins")
    effort = job.effort(Effort)
    report = job.report(
        devices=job.bed.says,
        effort=f"{effort.rounds} searches of each side (A B B A), up to {effort.trials} trials of "
               f"{effort.seconds:g} s a rate, to {100 * effort.precision:g} %")
    with tempfile.TemporaryDirectory(prefix="tpo-throughput-") as scratch:
        place = Place(programs, Path(scratch), job.bed)
        for size in effort.sizes:
            load = Load(size, job.scenario.parameters["flows"], effort.seconds)

            def one(kind: str, load: Load = load) -> Found:
                found = search(kind, load, place, job, effort)
                told = ", ".join(f"{name} {each.lower / MILLION:.3f}"
                                 for name, each in found.bounds.items())
                print(f"throughput: {load.size} B, {kind}: {told} Mframes/s, {found.trials} "
                      f"trials, {found.discarded} discarded", file=sys.stderr, flush=True)
                return found

            rounds = alternate((OURS, BASELINE), one, Plan(effort.rounds))
            for goal in GOALS:
                rates = {side: [found.bounds[goal.name].lower / MILLION
                                for found in rounds.runs(side)] for side in (OURS, BASELINE)}
                bounded = [side for side in (OURS, BASELINE)
                           if any(found.generator[goal.name] for found in rounds.runs(side))]
                note = f"the generator bounds {' and '.join(bounded)}" if bounded else None
                report.add(f"{size} B: {goal.name}", rates[OURS], "Mframes/s",
                           baseline=rates[BASELINE], note=note)
                report.add(f"{size} B: {goal.name} by testpmd's",
                           [a / b for a, b in zip(rates[OURS], rates[BASELINE]) if b] or 0.0, "")
            for side in (OURS, BASELINE):
                runs = rounds.runs(side)
                report.add(f"{size} B, {side}: disturbed trials that had to be used",
                           sum(found.used for found in runs), "", bar="disturbed")
                report.discards.append(Discard(
                    f"{size} B, {side}", sum(found.trials for found in runs),
                    sum(found.discarded for found in runs), job.scenario.discards))
    return report
