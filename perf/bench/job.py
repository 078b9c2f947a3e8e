"""What a scenario's module is asked for.

In:  a scenario, a mode. Out: its effort as the module knows it, an empty report.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tpolab.errors import LabError

from .bed import Bed
from .catalogue import Scenario
from .report import Report

Effort = TypeVar("Effort")

DISTURBED_VARIABLE = "TPO_PERF_DISTURBED_MAX"
"""Environment variable with another limit, for figures that are not to be published."""


@dataclass(frozen=True)
class Job:
    """One run of a scenario."""

    repository: Path
    scenario: Scenario
    quick: bool
    bed: Bed
    """Where frames go, in the scenarios that need to know."""
    update: bool = False
    """Whether what is found becomes what later runs are held against."""

    def effort(self, kind: type[Effort]) -> Effort:
        """How much is measured: the keys of the mode's table, as the module's own dataclass."""
        mode = "quick" if self.quick else "full"
        try:
            return kind(**self.scenario.effort(quick=self.quick).parameters)
        except TypeError as error:
            raise LabError(f"perf/scenarios/{self.scenario.name}.toml, [{mode}]: {error}") from error

    @property
    def disturbed_max(self) -> float:
        """The part of a core's time that others may take of what counts."""
        return float(os.environ.get(DISTURBED_VARIABLE, self.scenario.parameters["disturbed_max"]))

    def report(self, **environment: str) -> Report:
        """An empty report; what is told is told with it."""
        found = Report.begin(self.scenario, self.repository)
        found.environment |= {"effort": "quick" if self.quick else "full"} | environment
        if DISTURBED_VARIABLE in os.environ:
            found.environment["not to be published"] = (
                f"{DISTURBED_VARIABLE}={os.environ[DISTURBED_VARIABLE]}")
        return found
