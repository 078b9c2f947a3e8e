"""What a case must not leave behind in the appliances.

In:  a lab, and the snapshot taken before the case.
Out: an error that names what is still there: flows, a tpo that ended or was replaced, lines of alarm in its log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .streams import eventually

SETTLE_SECONDS_MAX = 45
"""Longest wait for a closed connection to be forgotten: above the FIN's 30 s."""

ALARM = re.compile(r"panicked|assertion|overflow|RUST_BACKTRACE", re.IGNORECASE)


@dataclass
class Snapshot:
    """What was there before a case."""

    pids: dict[str, int] = field(default_factory=dict)


def appliances(lab: Any) -> list[str]:
    """The sides at which a tpo of this lab runs."""
    return [side for side in "ab"
            if (program := lab.programs.get(f"tpo{side}")) and program.running]


def snapshot(lab: Any) -> Snapshot:
    """What is there now."""
    return Snapshot({side: lab.programs[f"tpo{side}"].pid for side in appliances(lab)})


def flows(lab: Any, side: str) -> list[dict[str, Any]]:
    """The split connections that an appliance holds, those in TIME-WAIT left out."""
    return [flow for flow in lab.tpoctl(side, "show", "flow")["flows"]
            if flow["protocol"] == "tcp" and flow["verdict"] == "optimize"]


def check(lab: Any, before: Snapshot) -> None:
    """Waits until no flow is left; an AssertionError that says what is."""
    for side in appliances(lab):
        eventually(f"tpo{side} without flows", lambda side=side: not flows(lab, side),
                   SETTLE_SECONDS_MAX, 0.1)
    for side, pid in before.pids.items():
        program = lab.programs[f"tpo{side}"]
        if not program.running:
            raise AssertionError(f"tpo{side} ended with {program.exit_code}")
        if program.pid == pid and ALARM.search(program.output()):
            raise AssertionError(f"tpo{side} said:\n{program.output()[-2000:]}")
