"""What a scenario's module is asked for.

In:  a scenario, a mode. Out: its effort as the module knows it, an empty report.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tpolab.errors import LabError

from .catalogue import Scenario
from .report import Report

Effort = TypeVar("Effort")


@dataclass(frozen=True)
class Job:
    """One run of a scenario."""

    repository: Path
    scenario: Scenario
    quick: bool
    update: bool = False
    """Whether what is found becomes what later runs are held against."""

    def effort(self, kind: type[Effort]) -> Effort:
        """How much is measured: the keys of the mode's table, as the module's own dataclass."""
        mode = "quick" if self.quick else "full"
        try:
            return kind(**self.scenario.effort(quick=self.quick).parameters)
        except TypeError as error:
            raise LabError(f"perf/scenarios/{self.scenario.name}.toml, [{mode}]: {error}") from error

    def report(self, **environment: str) -> Report:
        """An empty report; what is told is told with it."""
        found = Report.begin(self.scenario, self.repository)
        found.environment |= {"effort": "quick" if self.quick else "full"} | environment
        return found
