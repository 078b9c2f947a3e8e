"""The scenarios, as they stand in their files.

In:  a folder of *.toml. Out: what each one measures, with what effort, held against which bars.
Never: a key that nobody knows: a bar with a slip in its name would be no bar.
"""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tpolab.errors import LabError

KINDS = ("module", "program")
EFFORTS = ("full", "quick")


@dataclass(frozen=True)
class Bar:
    """What a figure has to be: one of these three."""

    at_least: float | None = None
    at_most: float | None = None
    within: float | None = None
    """How far it may be from what is expected."""

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.at_least, self.at_most, self.within)) != 1:
            raise LabError("a bar has one of at_least, at_most and within")

    @property
    def better(self) -> str | None:
        """Which way is better."""
        if self.within is not None:
            return None
        return "higher" if self.at_least is not None else "lower"

    def reached(self, value: float, expected: float = 0.0) -> bool:
        """Whether a figure reaches it."""
        if self.within is not None:
            return abs(value - expected) <= self.within
        return value >= self.at_least if self.at_least is not None else value <= self.at_most

    def words(self, expected: float = 0.0) -> str:
        """The bar in words."""
        if self.within is not None:
            return f"{expected:g} +- {self.within:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True)
class Reason:
    """Why some figures miss their bar, and how far they may."""

    figure: str
    """Their names; `*` stands for anything."""
    worst: float
    """What is further from the bar than this is missed all the same."""
    why: str
    measured: str
    """Where the measurement is that says so."""

    def covers(self, name: str, value: float, bar: Bar) -> bool:
        """Whether it explains that this figure misses this bar."""
        if not fnmatch.fnmatchcase(name, self.figure):
            return False
        return value >= self.worst if bar.better == "higher" else value <= self.worst


@dataclass(frozen=True)
class Effort:
    """How much is measured, in full or with --quick."""

    takes_s: float
    """About how long that takes, on two cores."""
    in_all: bool = False
    """Whether `perf/run all` has it."""
    arguments: list[str] = field(default_factory=list)
    """Of a program."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Everything else in the table."""


@dataclass(frozen=True)
class Scenario:
    """One scenario."""

    name: str
    says: str
    """What its figures tell."""
    kind: str
    """A module beside its file, or a program of this package."""
    full: Effort
    quick: Effort
    baseline: str = ""
    discards: str = ""
    """The rule by which measurements are left out."""
    needs: dict[str, str] = field(default_factory=dict)
    """Programs that have to be there, and the Debian packages that they are in."""
    cores: int = 1
    timed: bool = True
    """Whether something is measured that others could disturb."""
    parameters: dict[str, Any] = field(default_factory=dict)
    bars: dict[str, Bar] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)

    def effort(self, *, quick: bool) -> Effort:
        """That of a mode."""
        return self.quick if quick else self.full

    def bar(self, key: str) -> Bar:
        """A bar by its key."""
        if key not in self.bars:
            raise LabError(f"perf/scenarios/{self.name}.toml has no bar {key!r}")
        return self.bars[key]

    def reason(self, name: str, value: float, bar: Bar) -> Reason | None:
        """The stated reason for which a figure misses its bar, if there is one."""
        return next((each for each in self.reasons if each.covers(name, value, bar)), None)


def load(path: Path) -> Scenario:
    """A scenario from its file."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
        name = document.pop("name", None)
        if name != path.stem:
            raise LabError(f"its name is {name!r}")
        document |= {effort: _effort(document.get(effort, {})) for effort in EFFORTS}
        document["bars"] = {key: _of(Bar, bar) for key, bar in document.get("bars", {}).items()}
        if "reasons" in document:
            raise LabError("nobody knows the key reasons: each reason is a [[reason]]")
        document["reasons"] = [_of(Reason, reason) for reason in document.pop("reason", [])]
        scenario = _of(Scenario, document | {"name": name})
        if scenario.kind not in KINDS:
            raise LabError(f"its kind is none of {', '.join(KINDS)}")
        return scenario
    except (LabError, tomllib.TOMLDecodeError) as error:
        raise LabError(f"{path}: {error}") from error


def load_all(folder: Path) -> dict[str, Scenario]:
    """All scenarios of a folder, by name."""
    return {path.stem: load(path) for path in sorted(folder.glob("*.toml"))}


def _effort(table: dict[str, Any]) -> Effort:
    known = {"takes_s", "in_all", "arguments"}
    own = {key: value for key, value in table.items() if key in known}
    rest = {key: value for key, value in table.items() if key not in known}
    return _of(Effort, own | {"parameters": rest})


def _of(kind: type, table: dict[str, Any]) -> Any:
    """A dataclass from a table: no key too many, none missing."""
    unknown = set(table) - {each.name for each in fields(kind)}
    if unknown:
        raise LabError(f"nobody knows the keys {', '.join(sorted(unknown))}")
    try:
        return kind(**table)
    except TypeError as error:
        raise LabError(f"{kind.__name__.lower()}: {error}") from error
