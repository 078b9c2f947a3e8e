"""The demonstration from its command line to its exit code.

Installs what is missing, builds, makes the two sites and the WAN, sends, compares, reports, and takes everything away
again, also after Ctrl-C or a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tpolab.errors import LabError
from tpolab.lab import Lab, LabOptions

from . import material, report
from .link import Link
from .progress import Progress
from .transfer import Run, TransferError, fetch, serve

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = REPOSITORY / "target" / "release"
CONGESTION_CONTROLS = ("cubic", "bbr")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
MEGABYTE = 1_000_000
DRIVER = "af_packet"


@dataclass(frozen=True)
class Plan:
    """What will be sent, and how."""

    link: Link
    sets: dict[str, Path]
    congestion_controls: list[str]

    @property
    def transfers(self) -> int:
        """How many transfers that is."""
        return len(self.sets) * (len(self.congestion_controls) + 1)


def main(arguments: list[str] | None = None) -> int:
    """The demonstration; its exit code."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("demo: needs root: it makes network namespaces (try sudo)", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not options.no_build:
            _prepare()
        with tempfile.TemporaryDirectory(prefix="tpo-demo-") as directory:
            runs = _run(_plan(options, Path(directory)))
    except KeyboardInterrupt:
        print("\ndemo: stopped; everything it made is gone", file=sys.stderr)
        return 130
    except (LabError, TransferError, material.NotEnough, subprocess.CalledProcessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(report.table(runs))
    if options.report:
        report.write(options.report, runs)
    return 0 if all(run.sha256_ok for run in runs) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo", description="Sends real files over an emulated bad link, directly and through tpo.")
    parser.add_argument("--rate", type=float, default=200, metavar="MBPS",
                        help="rate of the link in Mb/s of IP bytes (default: %(default)g)")
    parser.add_argument("--rtt", type=float, default=80, metavar="MS",
                        help="round trip of the link in ms (default: %(default)g)")
    parser.add_argument("--loss", type=float, default=0.5, metavar="PERCENT",
                        help="packets lost in each direction (default: %(default)g)")
    parser.add_argument("--size", type=int, default=110, metavar="MB",
                        help="size of each set in MB (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=1,
                        help="of the random bytes and of the losses (default: %(default)d)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures there, as JSON")
    parser.add_argument("--no-build", action="store_true",
                        help="install and build nothing, use what is in target/release")
    return parser


def _prepare() -> None:
    """Installs what is missing and builds."""
    subprocess.run([REPOSITORY / "scripts" / "setup"], check=True)
    print("building ...", flush=True)
    path = f"{os.environ.get('PATH', '')}:{Path.home() / '.cargo' / 'bin'}"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "control", "--package", "perf"],
                   cwd=REPOSITORY, check=True, env={**os.environ, "PATH": path})


def _plan(options: argparse.Namespace, directory: Path) -> Plan:
    print("gathering files ...", flush=True)
    size = options.size * MEGABYTE
    sets = {"compressible": material.compressible(directory, size),
            "random": material.incompressible(directory, size, options.seed)}
    kernel = AVAILABLE.read_text(encoding="ascii").split()
    known = [name for name in CONGESTION_CONTROLS if name in kernel]
    return Plan(Link(options.rate, options.rtt, options.loss, options.seed), sets, known)


def _run(plan: Plan) -> list[Run]:
    """Every transfer, first the direct ones."""
    print(f"the link: {plan.link}", flush=True)
    progress = Progress(plan.transfers)
    runs: list[Run] = []
    try:
        with _lab(plan, "bridge") as lab:
            for congestion in plan.congestion_controls:
                for node in ("hosta", "hostb"):
                    lab.congestion_control(node, congestion)
                for payload, whole in plan.sets.items():
                    size = plan.link.direct_bytes(congestion, whole.stat().st_size)
                    file = material.cut(whole, size)
                    runs.append(_transfer(lab, progress, file, "direct", congestion, payload))
                    file.unlink()
        with _lab(plan, "tpo") as lab:
            for payload, whole in plan.sets.items():
                runs.append(_transfer(lab, progress, whole, "tpo", None, payload))
    except BaseException:
        progress.abandon()
        raise
    return sorted(runs, key=lambda run: list(plan.sets).index(run.payload))


@contextlib.contextmanager
def _lab(plan: Plan, appliances: str) -> Iterator[Lab]:
    """A lab with the HTTP server in it."""
    options = LabOptions(appliances=appliances, driver=DRIVER, programs=PROGRAMS,
                         wan_arguments=plan.link.wanem_arguments(),
                         rate=f"{plan.link.rate_mbps * 1e6:.0f}bit")
    with Lab(options) as lab:
        serve(lab, next(iter(plan.sets.values())).parent)
        yield lab


def _transfer(lab: Lab, progress: Progress, file: Path, path: str, congestion: str | None,
              payload: str) -> Run:
    how = "through tpo" if path == "tpo" else f"directly, {congestion}"
    progress.begin(f"{how}, {report.PAYLOADS[payload]}", file.stat().st_size)
    run = fetch(lab, file, path=path, congestion=congestion, payload=payload,
                progress=progress.update)
    progress.end(run.seconds)
    return run
