"""Programs of the lab: started with a log file, awaited by what they print, stopped by their id."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

READY_LINE = "ready"
"""What tpo and wanem print on standard output when they forward."""
READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0

IN_MODIFY = 0x02


@dataclass(frozen=True)
class ProcessId:
    """A process id that cannot be confused with a later process of the same number."""

    pid: int
    start_time: int
    """Clock ticks since boot at which the process started."""

    @staticmethod
    def of(pid: int) -> ProcessId | None:
        """The identity of a live process; None when there is none (zombies count as gone)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command in parentheses may contain anything; the fields after it do not.
        state, *rest = fields.rpartition(")")[2].split()
        return None if state in "ZX" else ProcessId(pid, int(rest[18]))

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> bool:
        """SIGTERM, and SIGKILL to what ignores it; whether it ended without being killed."""
        for number, seconds in ((signal.SIGTERM, seconds_max), (signal.SIGKILL, STOP_SECONDS_MAX)):
            try:
                handle = os.pidfd_open(self.pid)
            except ProcessLookupError:
                return number == signal.SIGTERM
            try:
                # With the handle open the number cannot pass to another process.
                if not self.alive:
                    return number == signal.SIGTERM
                signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], seconds)[0]:
                    return number == signal.SIGTERM
            finally:
                os.close(handle)
        raise LabError(f"process {self.pid} does not end, not even by SIGKILL")


class Program:
    """A program that runs in the background, its output in a log file."""

    def __init__(self, name: str, command: list[str], log: Path, *,
                 environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self.killed = False
        """Whether it had to be killed because it did not stop."""
        with open(log, "ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True)  # Ctrl-C is for the lab, which stops programs in order
        self.id = ProcessId.of(self.pid) or ProcessId(self.pid, 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What it printed so far."""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_ready(self, line: str = READY_LINE, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Returns when the program has printed `line`; a LabError if it ends before or is late."""
        with _FileWatch(self.log) as watch:
            handle = os.pidfd_open(self.pid)
            try:
                deadline = time.monotonic() + seconds_max
                while line not in self.output().splitlines():
                    if not self.running:
                        raise LabError(f"{self.name} ended with exit code {self.exit_code}:\n"
                                       + _tail(self.output()))
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise LabError(f"{self.name} did not say {line!r} within "
                                       f"{seconds_max:g} s:\n" + _tail(self.output()))
                    watch.wait(handle, left)
            finally:
                os.close(handle)

    def wait(self, seconds_max: float | None = None) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(seconds_max)

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        self._process.send_signal(number)

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM, and SIGKILL to what ignores it; the exit code."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds_max)
            except subprocess.TimeoutExpired:
                self.killed = True
                self._process.kill()
        return self._process.wait()

    def kill(self) -> int:
        """SIGKILL, as a crash would be; the exit code."""
        self._process.kill()
        return self._process.wait()


class _FileWatch:
    """Tells when a file grows (inotify)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        watch = libc.inotify_add_watch(self._handle, os.fsencode(path), IN_MODIFY)
        if self._handle < 0 or watch < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))

    def __enter__(self) -> _FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def wait(self, process: int, seconds: float) -> None:
        """Returns when the file grew, the process behind the handle ended, or time is up."""
        readable, _, _ = select.select([self._handle, process], [], [], seconds)
        if self._handle in readable:
            os.read(self._handle, 65536)


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.splitlines()[-lines:]) or "(it printed nothing)"
