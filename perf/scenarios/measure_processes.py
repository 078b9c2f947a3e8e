"""What the programs of a lab use of the machine, from /proc.

In:  a lab. Out: CPU time and memory of each of its programs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpolab.lab import Lab

KIB = 1 << 10


class Usage:
    """CPU time of the lab's programs between `start` and `stop`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._began = 0.0
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """From here on it counts."""
        self._began, self._before = time.monotonic(), self._cpu_s()

    def stop(self) -> dict[str, float]:
        """Each program's share of a core since then."""
        elapsed_s, now = time.monotonic() - self._began, self._cpu_s()
        return {name: (now[name] - before) / elapsed_s for name, before in self._before.items()}

    def _cpu_s(self) -> dict[str, float]:
        return {name: cpu_s(program.pid) for name, program in self._lab.programs.items()}


def cpu_s(pid: int) -> float:
    """CPU time that a process and its threads have used."""
    # The command in parentheses may contain anything; the fields after it do not.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def resident_bytes_max(pid: int) -> int:
    """The most memory that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "VmHWM":
            return int(value.split()[0]) * KIB
    raise ValueError(f"process {pid} has no VmHWM")
