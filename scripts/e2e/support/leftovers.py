"""What a case must not leave behind in the appliances.

In:  a lab, and the snapshot taken before the case.
Out: an error that names what is still there: flows, a tpo that ended or was replaced, lines of
     alarm in its log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .streams import Nothing, eventually

SETTLE_SECONDS_MAX = 45
"""Longest wait for a closed connection to be forgotten: above the FIN's 30 s."""

ALARM = re.compile(r"panicked|assertion|overflow|RUST_BACKTRACE", re.IGNORECASE)


@dataclass
class Snapshot:
    """What was there before a case."""

    pids: dict[str, int] = field(default_factory=dict)
    passed: dict[str, set[tuple]] = field(default_factory=dict)
    """TCP flows that passed each appliance although a rule takes them."""


def appliances(lab: Any) -> list[str]:
    """The sides at which a tpo of this lab runs."""
    return [side for side in "ab"
            if (program := lab.programs.get(f"tpo{side}")) and program.running]


def snapshot(lab: Any) -> Snapshot:
    """What is there now."""
    sides = appliances(lab)
    return Snapshot({side: lab.programs[f"tpo{side}"].pid for side in sides},
                    {side: passed(lab, side) for side in sides})


def flows(lab: Any, side: str) -> list[dict[str, Any]]:
    """All flows that an appliance knows."""
    return lab.tpoctl(side, "show", "flow")["flows"]


def split(lab: Any, side: str) -> list[dict[str, Any]]:
    """The connections that an appliance has split."""
    return [flow for flow in flows(lab, side) if flow["verdict"] == "optimize"]


def passed(lab: Any, side: str) -> set[tuple]:
    """The TCP flows that an appliance lets pass although a rule takes them.

    Not those it knows from the middle only: the beginning of such a one was seen by the other
    appliance.
    """
    return {tuple(flow[key] for key in ("source", "source_port", "destination", "destination_port",
                                        "state"))
            for flow in flows(lab, side) if flow["protocol"] == "tcp" and flow["verdict"] == "pass"
            and flow["state"] not in ("no_rule", "syn_not_seen")}


def check(lab: Any, before: Snapshot, may_pass: bool) -> None:
    """Waits until no connection is left; an AssertionError that says what is.

    Unless they `may_pass`, no TCP flow may have passed in place of being split: a case would say
    nothing of tpo.
    """
    for side in appliances(lab):
        eventually(f"no connection in tpo{side}", lambda side=side: Nothing(split(lab, side)),
                   SETTLE_SECONDS_MAX, 0.1)
    for side, pid in before.pids.items():
        program = lab.programs[f"tpo{side}"]
        if not program.running:
            raise AssertionError(f"tpo{side} ended with {program.exit_code}")
        if program.pid != pid:
            continue  # restarted by the case
        if ALARM.search(program.output()):
            raise AssertionError(f"tpo{side} said:\n{program.output()[-2000:]}")
        news = passed(lab, side) - before.passed[side]
        if news and not may_pass:
            raise AssertionError(f"tpo{side} let pass what it was to split: {sorted(news)}")
