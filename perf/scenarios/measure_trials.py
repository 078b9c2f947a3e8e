"""Trials: the frame generator sends at a rate that nothing slows down, through a device under test.

In:  which forwarder, how many flows, which size; then rates. Out: of each trial what was lost and
     how long frames took since they were meant to be sent. Never: a changed frame.

Both processes stay up from trial to trial: `measure_forward` says on which devices and cores.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from tpolab.errors import LabError

from . import measure_forward
from .measure_forward import READY_S_MAX, Forwarder, Load, Place, Taken, busiest


@dataclass(frozen=True)
class Trial:
    """What came of one."""

    rate: float
    """Frames a second that were due, both ways together."""
    due: int
    received: int
    refused: int
    refused_waiting: int
    """Of these, while the device under test waited for its core; 0 where nobody looked."""
    wait_us_max: float
    """Its longest wait for its core; 0 where nobody looked."""
    unsent: int
    busy_share: float
    """Of the generator."""
    late_us_max: float
    delay_us: dict[float, float]
    """By percentile, since a frame was meant to be sent."""
    away_us: dict[float, float]
    """The same, were there nothing but the generator's own absences."""
    disturbed: float
    """Largest part of either core's time that went to others."""

    @property
    def loss(self) -> float:
        """The part of what was due that did not come back."""
        return 1 - self.received / self.due if self.due else 1.0


class Rig:
    """A generator and a forwarder that are up; a context manager."""

    def __init__(self, kind: str, load: Load, place: Place,
                 start: Callable[[str, Place, int], Forwarder] = measure_forward.start) -> None:
        self.kind = kind
        self._start_forwarder = start
        self.load = load
        self.place = place
        self._running = ExitStack()

    def __enter__(self) -> Rig:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _start(self) -> None:
        command = [*measure_forward.generator_command(self.place, self.load), "--trials"]
        log = self._running.enter_context(open(self._log, "wb"))
        self.generator = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            bufsize=1, start_new_session=True)
        self._running.callback(self._stop)
        self._said("ready", READY_S_MAX)
        self.forwarder = self._start_forwarder(self.kind, self.place, self.load.flows)
        self._running.callback(self.forwarder.stop)
        self._said("measuring", READY_S_MAX)

    @property
    def _log(self) -> Path:
        return self.place.scratch / "frames.log"

    def _stop(self) -> None:
        try:
            self.generator.communicate(timeout=READY_S_MAX)  # the end of its input ends it
        except subprocess.TimeoutExpired:
            self.generator.kill()
            self.generator.wait()

    def _said(self, wanted: str, seconds: float) -> str:
        """The next line that begins so; DPDK may say something of its own."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self.generator.stdout, selectors.EVENT_READ)
            while ready.select(max(0.0, deadline - time.monotonic())):
                line = self.generator.stdout.readline()
                if not line:
                    break
                if line.startswith(wanted):
                    return line
        raise LabError(f"the generator does not say {wanted!r}:\n"
                       f"{self._log.read_text(errors='replace')[-2000:]}")

    def trial(self, rate: float, seconds: float, *, watched: bool = False) -> Trial:
        """One trial; `watched`: the generator looks whether the forwarder has its core."""
        taken = Taken(self.place.bed, self.generator.pid, self.forwarder.pid)
        thread = f" {busiest(self.forwarder.pid) / 'schedstat'}" if watched else ""
        self.generator.stdin.write(f"{rate:.0f} {seconds}{thread}\n")
        found = json.loads(self._said("{", seconds + READY_S_MAX))
        disturbed = taken.share()
        if found["changed"]:
            raise LabError(f"{self.kind}: {found['changed']} frames did not come back as they were "
                           "sent")
        found |= {key: dict(found[key]) for key in ("delay_us", "away_us")}
        known = {each.name: found[each.name] for each in fields(Trial) if each.name in found}
        return Trial(**known, disturbed=disturbed)
