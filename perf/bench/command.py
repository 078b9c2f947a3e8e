"""perf/run, the command.

In:  its arguments. Out: tables, files, the exit code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tpolab.errors import LabError
from tpolab.lab import TARGET

from . import catalogue, page, session
from .bed import USUAL, Bed
from .catalogue import Scenario
from .programs import build_programs
from .report import Report, commit, write

ALL = "all"
DESCRIPTION = """Reproducible performance runs. Exits 1 when a bar is missed for no stated reason.

  perf/run forward pair      these scenarios, one after the other
  perf/run all               everything that belongs to the report, in under an hour
  perf/run all --quick       the same, shorter and less exact, in under ten minutes
  perf/run --list            what there is

With one name results go to docs/results/NAME.json, with `all` to docs/results/all.json and
all.html; with --quick, or with a list, to target/perf. Programs (matrix, micro, seeds) that are
named alone have options of their own: perf/run micro --help. On other ports than the usual ones
(--bed) they go to target/perf, too."""


def main(arguments: Sequence[str], repository: Path) -> int:
    """Runs what the arguments name; the exit code."""
    scenarios = catalogue.load_all(repository / "perf" / "scenarios")
    if arguments and _is_program(scenarios, arguments):
        return _program(repository, arguments[0], arguments[1:])
    options = _options(arguments, scenarios)
    if options.list:
        print(_listing(scenarios))
        return 0
    chosen = _chosen(options, scenarios)
    name = ALL if ALL in options.names else chosen[0].name if len(chosen) == 1 else "some"
    kept = not options.quick and name != "some" and options.bed is None
    folder = repository / "docs" / "results" if kept else TARGET / "perf"
    for place in (folder, TARGET / "perf"):
        place.mkdir(parents=True, exist_ok=True)
    output = options.output or folder / f"{name}.json"
    html = options.html or (folder if name == ALL else TARGET / "perf") / f"{name}.html"
    for path in (output, html):
        _check_writable(path)
    bed = Bed.load(options.bed or repository / USUAL)
    _set_up(repository)
    begun = time.time()
    reports = session.run(repository, chosen, bed, quick=options.quick, update=options.update)
    document = session.document(repository, reports, quick=options.quick, begun=begun)
    write(output, document["scenarios"][0] if len(reports) == 1 else document)
    html.write_text(page.page(document), encoding="utf-8")
    for report in reports:
        print(f"\n{report.scenario}\n{report.table()}")
    print(f"\n{_summary(reports)}\n{output}\n{html}")
    return 0 if all(report.passed for report in reports) else 1


def _options(arguments: Sequence[str], scenarios: dict[str, Scenario]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf/run", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help=f"{', '.join(scenarios)}, or {ALL}")
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the results go, as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where the page goes")
    parser.add_argument("--bed", type=Path, metavar="FILE",
                        help="forward, throughput, latency, soak: on these ports and cores, as in "
                             f"perf/beds (default: {USUAL})")
    parser.add_argument("--update", action="store_true",
                        help="instructions: later counts are held against these")
    parser.add_argument("--list", action="store_true", help="the scenarios, and how long they take")
    options = parser.parse_args(list(arguments))
    unknown = [name for name in options.names if name not in scenarios and name != ALL]
    if unknown or not (options.names or options.list):
        parser.error(f"there is no scenario {', '.join(unknown)}: {', '.join(scenarios)}, {ALL}"
                     if unknown else "which scenario?")
    return options


def _chosen(options: argparse.Namespace, scenarios: dict[str, Scenario]) -> list[Scenario]:
    if ALL in options.names:
        return [each for each in scenarios.values()
                if each.effort(quick=options.quick).in_all or each.name in options.names]
    return [scenarios[name] for name in dict.fromkeys(options.names)]


def _is_program(scenarios: dict[str, Scenario], arguments: Sequence[str]) -> bool:
    """Whether this is a program's own command: its name first, no other scenario behind it."""
    first, *rest = arguments
    others = ALL in rest or any(word in scenarios for word in rest)
    ours = any(word.split("=")[0] == "--html" for word in rest)
    return first in scenarios and scenarios[first].kind == "program" and not (others or ours)


def _program(repository: Path, name: str, arguments: Sequence[str]) -> int:
    """Builds and runs a program of this package with its own options; its exit code."""
    results = repository / "docs" / "results"
    given = {argument.split("=")[0] for argument in arguments}
    before: list[str] = []
    # What is not the whole does not take the place of its results.
    if name == "matrix" and not {"--only", "--every", "--output", "--heat-map"} & given:
        before = ["--output", str(results / "matrix.csv"),
                  "--heat-map", str(results / "matrix.svg")]
    elif name not in ("matrix", "seeds"):
        before = ["--commit", commit(repository)]
        if not {"--only", "--quick", "--output", "--list", "--help", "-h"} & given:
            before += ["--output", str(results / f"{name}.json")]
    _set_up(repository)
    built = build_programs(repository, "-p", "perf", "--bin", name)
    return subprocess.run([built / name, *before, *arguments], check=False).returncode


def _set_up(repository: Path) -> None:
    """On a machine that has not seen tpo yet, too."""
    subprocess.run([repository / "scripts" / "setup"], check=True)


def _check_writable(path: Path) -> None:
    """Now, not when everything is measured."""
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise LabError(f"{path} cannot be written: name a file in a directory that exists")


def _listing(scenarios: dict[str, Scenario]) -> str:
    lines = []
    for each in scenarios.values():
        times = ", ".join(f"{mode} {effort.takes_s / 60:.1f} min"
                          f"{'' if effort.in_all else ' (not in all)'}"
                          for mode, effort in (("full", each.full), ("quick", each.quick)))
        lines.append(f"{each.name:<14} {each.says}\n{'':<14} {times}")
    return "\n".join(lines)


def _summary(reports: Sequence[Report]) -> str:
    lines = [f"{'scenario':<14} {'reached':>8} {'stated':>8} {'missed':>8}"]
    lines += [f"{each.scenario:<14} {each.count('ok'):>8} {each.count('stated'):>8} "
              f"{each.count('missed'):>8}" for each in reports]
    return "\n".join(lines)


def told(repository: Path) -> int:
    """The command, where what goes wrong is told and not raised."""
    try:
        return main(sys.argv[1:], repository)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"perf/run: {error}", file=sys.stderr)
        return 1
