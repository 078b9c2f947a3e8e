"""What labs left on record, and how one is taken away, also by another process than its maker's.

Only what carries the lab's own names is touched: its namespaces, the processes in them, and its
state directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

from . import namespaces, topology
from .errors import LabError
from .processes import ProcessId

STATE_ROOT = Path("/run/tpo-lab")
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def namespace(lab: str, node: str) -> str:
    """The full name of a node's namespace: `hosta` of lab `x` is `tpox-hosta`."""
    return f"tpo{lab}-{node}"


def check_name(lab: str) -> None:
    """A LabError for what cannot be the name of a lab."""
    if not NAME_PATTERN.fullmatch(lab):
        raise LabError(f"{lab!r} is no name for a lab: at most 32 small letters, digits, dashes")


class Record:
    """The state directory of a lab that is being made."""

    def __init__(self, lab: str, nodes: list[str], *, owned: bool) -> None:
        self.directory = STATE_ROOT / lab
        STATE_ROOT.mkdir(parents=True, exist_ok=True)
        try:
            self.directory.mkdir()
        except FileExistsError as exists:
            raise LabError(f"there already is a lab {lab!r}; "
                           f"`scripts/lab down --name {lab}` removes it") from exists
        owner = ProcessId.of(os.getpid()) if owned else None
        self._state: dict[str, Any] = {
            "owner": [owner.pid, owner.start_time] if owner else None,
            "nodes": nodes,
            "programs": [],
        }
        self._write()

    def add_program(self, process: ProcessId) -> None:
        """Notes a program that was started."""
        self._state["programs"].append([process.pid, process.start_time])
        self._write()

    def _write(self) -> None:
        path = self.directory / "state.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self._state), encoding="utf-8")
        fresh.replace(path)


def labs() -> dict[str, bool]:
    """The names of all labs on record; whether each is stale: its process is gone."""
    found: dict[str, bool] = {}
    for directory in sorted(STATE_ROOT.iterdir()) if STATE_ROOT.is_dir() else ():
        owner = _state(directory.name).get("owner")
        found[directory.name] = owner is not None and not ProcessId(*owner).alive
    return found


def remove(lab: str, stop_programs: Callable[[], None] = lambda: None) -> None:
    """Removes a lab, whoever made it: programs first, then namespaces, then files.

    Goes on after an error so that as much as possible is gone; raises the first one at the end.
    """
    check_name(lab)
    errors: list[BaseException] = []

    def attempt(action: Callable[..., Any], *arguments: Any) -> None:
        try:
            action(*arguments)
        except (LabError, OSError, subprocess.SubprocessError) as error:
            errors.append(error)

    attempt(stop_programs)
    for process in reversed(_programs(lab)):
        attempt(process.stop)
    present = _namespaces(lab)
    for name in present:
        attempt(_stop_all_in, name)
    for name in present:
        attempt(namespaces.delete, name)
    if (STATE_ROOT / lab).exists():
        attempt(shutil.rmtree, STATE_ROOT / lab)
    if errors:
        raise errors[0]


def leftovers(lab: str) -> list[str]:
    """What is left of a lab that should be gone; empty if nothing is.

    Its programs are on record only while its directory is there, so that a process left behind
    shows as such or by the namespace it keeps.
    """
    left = [f"namespace {name}" for name in _namespaces(lab)]
    left += [f"process {process.pid}" for process in _programs(lab) if process.alive]
    if (STATE_ROOT / lab).exists():
        left.append(f"directory {STATE_ROOT / lab}")
    return left


def nodes(lab: str) -> list[str]:
    """The nodes of a lab that there are."""
    # By exact name: "tpox-" is also how the names of a lab "x-y" begin.
    present = namespaces.names()
    possible = topology.nodes([topology.Site(side, routed=True, switched=True) for side in topology.SIDES])
    return [node for node in possible if namespace(lab, node) in present]


def _namespaces(lab: str) -> list[str]:
    return [namespace(lab, node) for node in nodes(lab)]


def _programs(lab: str) -> list[ProcessId]:
    return [ProcessId(*identity) for identity in _state(lab).get("programs", [])]


def _state(lab: str) -> dict[str, Any]:
    try:
        return json.loads((STATE_ROOT / lab / "state.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _stop_all_in(name: str) -> None:
    for pid in namespaces.processes(name):
        process = ProcessId.of(pid)
        if process is not None:
            process.stop()
