"""Instructions of each stage, counted by callgrind, beside the counts in the repository.

Where time is too noisy to be a gate, counts are none the less exact: the input is always the same,
and callgrind's processor knows no AVX-512, so every machine with AVX2 counts alike. What the
compiler makes of the sources is another matter: counts of another compiler are told, not judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.job import Job
from bench.programs import build_programs
from bench.report import Report, rustc, write
from tpolab.errors import LabError

PROFILE = "counted"
KEPT = Path("perf") / "instructions.json"
COUNTED = "perf::instructions::counted*"
SETTLED = "perf::instructions::settle*"
TOTALS = "totals: "


def run(job: Job) -> Report:
    """Builds the program, counts, compares or keeps what it counted."""
    built = build_programs(job.repository, "--package", "perf", "--bin", "instructions",
                           profile=PROFILE)
    stages = count(built / "instructions")
    kept_path = job.repository / KEPT
    now = {"rustc": rustc(), "stages": {each["stage"]: each["instructions"] for each in stages}}
    if job.update:
        write(kept_path, now)
        print(f"instructions: {kept_path} is written", file=sys.stderr)
    kept = json.loads(kept_path.read_text(encoding="utf-8")) if kept_path.exists() else None
    if kept is None:
        raise LabError(f"{kept_path} is not there: perf/run instructions --update")
    report = job.report(counted="by callgrind, release build, AVX2, no AVX-512",
                        compiler=f"rustc {now['rustc']}, kept: {kept['rustc']}")
    judge(report, stages, kept, same_compiler=kept["rustc"] == now["rustc"])
    return report


def judge(report: Report, stages: list[dict[str, Any]], kept: dict[str, Any], *,
          same_compiler: bool) -> None:
    """Holds what was counted against what is kept."""
    note = None if same_compiler else f"not judged: the kept counts are of rustc {kept['rustc']}"
    for each in stages:
        stage, counted = each["stage"], each["instructions"]
        before = kept["stages"].get(stage)
        items = each["items"]
        report.add(f"{stage}: per {each['item']}", counted / items, "instructions", exact=True,
                   baseline=before / items if before else None)
        if each["bytes"]:
            report.add(f"{stage}: per byte", counted / each["bytes"], "instructions/byte",
                       exact=True)
        if before:
            report.add(f"{stage}: growth", 100 * (counted - before) / before, "%", note=note,
                       bar="growth" if same_compiler else None)
    strangers = set(kept["stages"]) ^ {each["stage"] for each in stages}
    report.add("stages that only one of both knows: perf/run instructions --update",
               len(strangers), "", bar="known", note=", ".join(sorted(strangers)) or None)
    for title, key in (("Instructions per item", "items"), ("Instructions per byte", "bytes")):
        rows = [{"label": each["stage"], "value": each["instructions"] / each[key]}
                for each in stages if each[key]]
        report.plots.append({"kind": "bars", "title": title, "rows": rows})


def count(program: Path) -> list[dict[str, Any]]:
    """What each stage did, and in how many instructions."""
    with tempfile.TemporaryDirectory(prefix="tpo-instructions-") as scratch:
        out = Path(scratch) / "out"
        command = ["valgrind", "--quiet", "--tool=callgrind", "--collect-atstart=no",
                   f"--toggle-collect={COUNTED}", f"--dump-after={SETTLED}",
                   f"--callgrind-out-file={out}", str(program)]
        # Nothing of the caller's surroundings may move what lies on the stack.
        done = subprocess.run(command, check=False, capture_output=True, text=True,
                              env={"PATH": os.environ.get("PATH", "")})
        if done.returncode:
            raise LabError(f"`{' '.join(command)}` failed:\n{done.stderr[-2000:]}")
        stages = json.loads(done.stdout)
        for number, each in enumerate(stages, 1):
            each["instructions"] = totals((Path(scratch) / f"out.{number}").read_text())
    return stages


def totals(dump: str) -> int:
    """The instructions in a dump of callgrind's."""
    for line in dump.splitlines():
        if line.startswith(TOTALS):
            return int(line[len(TOTALS):].split()[0])
    raise LabError("callgrind has told no total")
