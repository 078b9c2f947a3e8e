"""What others took of the machine while something was measured.

In:  /proc/stat, and a program that spins on each core before and after. Out: steal time, load, and
     how long each core was away, as a histogram. Never: anything that runs beside a measurement:
     a thread that looks every millisecond would be noise itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
HICCUPS_MS = 500
"""How long each core is watched, before and after."""


@dataclass(frozen=True)
class Look:
    """The machine at one time."""

    ticks: dict[str, dict[str, int]]
    load: float
    hiccups: list[dict[str, Any]]


def look(programs: Path | None) -> Look:
    """The machine now; with the programs built, its hiccups too."""
    return Look(ticks(Path("/proc/stat").read_text(encoding="ascii")), os.getloadavg()[0],
                _hiccups(programs) if programs else [])


def between(before: Look, after: Look) -> dict[str, Any]:
    """What happened between two looks."""
    shares = {}
    for core, now in after.ticks.items():
        then = before.ticks.get(core, dict.fromkeys(FIELDS, 0))
        spent = {name: now[name] - then[name] for name in FIELDS}
        whole = max(1, sum(spent.values()))
        shares[core] = {name: round(spent[name] / whole, 5) for name in ("steal", "irq", "softirq")}
    found: dict[str, Any] = {"shares": shares, "load": [before.load, after.load]}
    if before.hiccups or after.hiccups:
        found["hiccups"] = {"before": before.hiccups, "after": after.hiccups}
    return found


def ticks(stat: str) -> dict[str, dict[str, int]]:
    """The time of each core, by what it was spent on."""
    found = {}
    for line in stat.splitlines():
        core, *numbers = line.split()
        if core.startswith("cpu") and core != "cpu":
            found[core] = dict(zip(FIELDS, map(int, numbers)))
    return found


def steal(noise: dict[str, Any]) -> float:
    """The largest share of a core's time that the hypervisor took."""
    return max((core["steal"] for core in noise.get("shares", {}).values()), default=0.0)


def _hiccups(programs: Path) -> list[dict[str, Any]]:
    command = [str(programs / "hiccups"), "--milliseconds", str(HICCUPS_MS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["cores"]
