"""One run of the frame generator against one device under test.

In:  which forwarder, how many flows, which size. Out: frames per second, cycles per frame and how
     busy both sides were, how much of their time others took. Never: a run with a lost or changed
     frame.

The generator and the forwarder are two processes, on the ports and cores of a bed: without a word,
net_vhost and net_virtio_user on the same two rings; no hugepages, no NIC.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.bed import Bed, eal_arguments
from tpolab.config import to_toml
from tpolab.errors import LabError
from tpolab.processes import Program

BURST = 32
"""Frames that either forwarder takes from a queue at a time: the default of both."""
DESCRIPTORS = 1024
FRAMES = 16384
MEGABYTES = 512
RUNTIME = Path("/var/run/dpdk")
"""Where DPDK keeps a folder for each process, run by root."""
FLOWS_MIN = 16384
"""Entries of tpo's flow table, at least; flows that pass may have half of it."""
READY_S_MAX = 30.0
MARGIN_S = 0.2
"""Between the start (end) of what the generator measures and the first (second) look at cycles."""
POLL_S = 0.01
STEAL_FIELD = 8
"""In the lines of /proc/stat, the name of the core included."""
NS_PER_S = 1e9


@dataclass(frozen=True)
class Load:
    """What the generator sends."""

    size: str
    flows: int
    seconds: float


@dataclass(frozen=True)
class Place:
    """With what, and where."""

    programs: Path
    scratch: Path
    bed: Bed


@dataclass(frozen=True)
class Run:
    """What came of it."""

    forwarder: str
    frames_per_second: float
    spread: list[float]
    """A tenth and nine tenths of the slices of 20 ms."""
    cycles_per_frame: float
    """Of the forwarder, in bursts (tpo: turns) that had frames; of the time stamp counter."""
    busy_share: float
    """Part of its time that the forwarder had frames."""
    generator_busy_share: float
    generator_cycles_per_frame: float
    compared: int
    disturbed: float
    """Largest part of either core's time that went to others: to other threads, or stolen."""
    apart: dict[str, float]
    """How far the two cores were (perf/src/apart.rs)."""


@dataclass(frozen=True)
class Work:
    """What a forwarder has done so far."""

    at_s: float
    frames: int
    busy_s: float


class Forwarder(ABC):
    """A device under test."""

    name: str

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its process."""

    @abstractmethod
    def work(self) -> Work:
        """What it has done so far."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it."""


class Tpo(Forwarder):
    """tpo with one rule, `pass`: parse, flow table, forward."""

    name = "tpo"

    def __init__(self, place: Place, flows: int) -> None:
        scratch = place.scratch
        self.control = scratch / "control"
        config = scratch / "tpo.toml"
        config.write_text(to_toml(self._config(place, flows)), encoding="utf-8")
        command = [str(place.programs / "tpo"), "--config", str(config), "--burst", str(BURST),
                   "--rxd", str(DESCRIPTORS), "--txd", str(DESCRIPTORS)]
        self.program = Program("tpo", command, scratch / "tpo.log")
        self.program.wait_ready()

    def _config(self, place: Place, flows: int) -> dict[str, object]:
        lan, wan = place.bed.device.devices(place.scratch)
        return {
            "name": f"forward-{os.getpid()}", "mode": "inline",
            "control_socket": str(self.control),
            "lan": {"device": lan, "addresses": ["10.3.0.1/24"], "networks": ["10.1.0.0/16"]},
            "wan": {"device": wan, "addresses": ["10.3.1.1/24"]},
            "rule": [{"name": "all", "action": "pass"}],
            "limits": {"flows": max(FLOWS_MIN, 2 * flows + flows // 16), "frames": FRAMES},
            "cores": {"port": place.bed.device.core},
        }

    @property
    def pid(self) -> int:
        return self.program.pid

    def work(self) -> Work:
        busy_ns = ask(self.control, "show cores")["cores"][0]["busy_ns"]
        ports = ask(self.control, "show port stats all")["ports"]
        frames = sum(port["rx_packets"] for port in ports)
        return Work(time.monotonic(), frames, busy_ns / NS_PER_S)

    def stop(self) -> None:
        self.program.stop()


class Testpmd(Forwarder):
    """dpdk-testpmd; `mode` is how it forwards: mac (station addresses written), io (untouched)."""

    CYCLES = re.compile(r"total cycles=(\d+) / total \w+ packets=(\d+)\) at (\d+) MHz")

    def __init__(self, place: Place, mode: str) -> None:
        self.name = f"testpmd {mode}"
        self.log = place.scratch / "testpmd.log"
        lcores = f"0@{place.bed.generator.core},1@{place.bed.device.core}"
        # By lines, so that an answer is in the log as soon as it is given.
        prefix = f"forward-{os.getpid()}"
        self.runtime = RUNTIME / prefix
        command = ["stdbuf", "-oL", "dpdk-testpmd", "--no-telemetry", "--file-prefix", prefix,
                   "--lcores", lcores,
                   *eal_arguments(place.bed.device.devices(place.scratch), MEGABYTES)]
        command += ["--", "-i", "--auto-start", f"--forward-mode={mode}", f"--burst={BURST}",
                    f"--rxd={DESCRIPTORS}", f"--txd={DESCRIPTORS}", "--no-mlockall",
                    f"--total-num-mbufs={FRAMES}", "--record-core-cycles"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def work(self) -> Work:
        known = len(self.CYCLES.findall(self._said()))
        if self.process.stdin is None:
            raise LabError("testpmd has no prompt")
        self.process.stdin.write(b"show fwd stats all\n")
        self.process.stdin.flush()
        deadline = time.monotonic() + READY_S_MAX
        while len(found := self.CYCLES.findall(self._said())) == known:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"testpmd does not tell its cycles:\n{self._said()[-2000:]}")
            time.sleep(POLL_S)
        cycles, frames, mhz = map(int, found[-1])
        return Work(time.monotonic(), frames, cycles / (mhz * 1e6))

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        try:
            self.process.communicate(b"quit\n", timeout=READY_S_MAX)
        except (subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()
        # DPDK leaves it behind.
        shutil.rmtree(self.runtime, ignore_errors=True)


def ask(control: Path, command: str) -> dict:
    """What a tpo replies to a command, over its control socket."""
    answer = json.loads(asked(control, command))
    if not answer["ok"]:
        raise LabError(f"tpo refuses {command!r}: {answer.get('error')}")
    return answer["reply"]


def asked(control: Path, command: str) -> bytes:
    """The same as it comes, one line of JSON."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        request = json.dumps({"command": command, "json": True}) + "\n"
        connection.sendall(request.encode())
        parts = []
        while not parts or not parts[-1].endswith(b"\n"):
            parts.append(connection.recv(1 << 20))
            if not parts[-1]:
                raise LabError(f"tpo has no answer to {command!r}")
        return b"".join(parts)


def start(kind: str, place: Place, flows: int) -> Forwarder:
    """Starts a forwarder: tpo, or testpmd in a mode."""
    return Tpo(place, flows) if kind == "tpo" else Testpmd(place, kind)


def generator_command(place: Place, load: Load) -> list[str]:
    """Its program and what it sends, where to."""
    forget_sockets(place.scratch)
    generator = place.bed.generator
    first, second = generator.devices(place.scratch)
    return ["taskset", "-c", str(generator.core), str(place.programs / "frames"),
            "--core", str(generator.core), "--flows", str(load.flows), "--size", load.size,
            "--port-a", first, "--port-b", second]


def forget_sockets(scratch: Path) -> None:
    """Removes those at which two processes have met before: they are made anew."""
    for path in scratch.iterdir():
        if path.is_socket():
            path.unlink()


def run(kind: str, load: Load, place: Place) -> Run:
    """Starts both processes, floods, stops them."""
    with ExitStack() as running:
        log = place.scratch / "frames.log"
        log.unlink(missing_ok=True)
        generator = Program("frames", [*generator_command(place, load),
                                       "--beside", str(place.bed.device.core),
                                       "--seconds", str(load.seconds)], log)
        running.callback(generator.stop)
        generator.wait_ready("ready")
        forwarder = start(kind, place, load.flows)
        running.callback(forwarder.stop)
        generator.wait_ready("measuring", READY_S_MAX + load.seconds)
        time.sleep(MARGIN_S)
        before, taken = forwarder.work(), Taken(place.bed, generator.pid, forwarder.pid)
        time.sleep(max(MARGIN_S, load.seconds - 3 * MARGIN_S))
        disturbed, after = taken.share(), forwarder.work()
        if generator.wait(READY_S_MAX) != 0:
            raise LabError(f"the generator failed:\n{generator.output()}")
    report = json.loads(generator.output().splitlines()[-1])
    _check(forwarder.name, load, report)
    return _result(forwarder.name, report, before, after, disturbed)


def _check(name: str, load: Load, report: dict) -> None:
    wrong = {key: report[key] for key in ("lost", "changed", "overtaken") if report[key]}
    if wrong or not report["compared"]:
        raise LabError(f"{name}, size {load.size}, {load.flows} flows: frames did not come back "
                       f"as they were sent: {wrong or 'none was compared'}")


def _result(name: str, report: dict, before: Work, after: Work, disturbed: float) -> Run:
    frames, busy_s = after.frames - before.frames, after.busy_s - before.busy_s
    if frames <= 0:
        raise LabError(f"{name} says that it has forwarded nothing")
    return Run(name, report["frames_per_second"], report["spread"],
               busy_s * report["tsc_hz"] / frames, busy_s / (after.at_s - before.at_s),
               report["busy_share"], report["cycles_per_frame"], report["compared"], disturbed,
               report["apart"])


class Taken:
    """What others took of the two cores' time, from here on."""

    def __init__(self, bed: Bed, *pids: int) -> None:
        self._cores = tuple(f"cpu{core} " for core in bed.cores)
        self._threads = [busiest(pid) for pid in pids]
        self._began = self._now()

    def share(self) -> float:
        """The larger part of either core since then: waited for it while runnable, or stolen."""
        (at, waited, stolen), (at_now, waited_now, stolen_now) = self._began, self._now()
        elapsed = at_now - at
        return max((b - a) / elapsed for a, b in zip(waited + stolen, waited_now + stolen_now))

    def _now(self) -> tuple[float, list[float], list[float]]:
        waited = [int(_read(thread / "schedstat").split()[1]) / NS_PER_S
                  for thread in self._threads]
        stolen = [int(line.split()[STEAL_FIELD]) / os.sysconf("SC_CLK_TCK")
                  for line in _read(Path("/proc/stat")).splitlines() if line.startswith(self._cores)]
        return time.monotonic(), waited, stolen


def busiest(pid: int) -> Path:
    """The thread of a process that has run most: the one that polls."""
    def ran_ns(thread: Path) -> int:
        try:
            return int(_read(thread / "schedstat").split()[0])
        except (FileNotFoundError, ProcessLookupError):
            return 0  # it has ended meanwhile
    return max(Path(f"/proc/{pid}/task").iterdir(), key=ran_ns)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def as_row(result: Run) -> dict:
    """A run as it stands among the results."""
    return asdict(result)
