"""The demonstration from its command line to its exit code: `scripts/demo`.

Installs what is missing, builds, makes two sites and a WAN, moves files directly and through two
tpo, shows what came of it, and takes everything away again, also after Ctrl-C or a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import demo_link, demo_payload, demo_report, signals
from .demo_link import Link
from .demo_report import PAYLOADS, Progress
from .demo_transfer import TooSlow, Transfer, await_session, fetch, serve
from .errors import LabError
from .lab import DRIVERS, REPOSITORY, TARGET, Lab, LabOptions
from .topology import SIDES

MEGABYTE = 1_000_000
CONGESTIONS = ("cubic", "bbr")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
TCP_BUFFERS = {"net.ipv4.tcp_rmem": "4096 131072 33554432",
               "net.ipv4.tcp_wmem": "4096 65536 33554432"}
"""Of all hosts, directly and through tpo: room for what is in flight on the longest links."""

DIRECT_SECONDS = 30.0
"""How long direct transfers are meant to take."""
DIRECT_SECONDS_MAX = 60.0
DIRECT_BYTES_MIN = 64 << 10
DIRECT_TRIES = 3

FILES_SECONDS = 4.0
LAB_SECONDS = 4.0
"""What making files and a lab takes, for the progress bar."""
STOP_SECONDS_MAX = 5.0
STOP_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What will be moved, how, over what."""

    link: Link
    sets: dict[str, Path]
    set_bytes: int
    congestions: list[str]
    driver: str
    programs: Path

    @staticmethod
    def seconds(link: Link, set_bytes: int, congestions: list[str]) -> float:
        """About how long everything takes."""
        files = [link_seconds(link, direct_bytes(link, congestion, set_bytes), congestion)
                 for congestion in congestions] + [link_seconds(link, set_bytes, None)]
        return FILES_SECONDS + 2 * LAB_SECONDS + len(PAYLOADS) * sum(files)


def direct_bytes(link: Link, congestion: str, set_bytes: int) -> int:
    """How much to send directly so that it takes about `DIRECT_SECONDS`."""
    expected = int(link.expected_mbps(congestion) * 1e6 / 8 * DIRECT_SECONDS)
    return min(set_bytes, max(DIRECT_BYTES_MIN, expected))


def link_seconds(link: Link, size: int, congestion: str | None) -> float:
    """About how long so many bytes take."""
    return 8e-6 * size / link.expected_mbps(congestion)


def main(arguments: list[str] | None = None) -> int:
    """The demonstration; its exit code."""
    options = _parser().parse_args(arguments)
    # Where it is started in the background, a shell may have had it ignore this.
    signal.signal(signal.SIGINT, signals.end)
    try:
        with signals.raised():
            return _demonstrate(options)
    except KeyboardInterrupt:
        print("\ndemo: stopped; what it made is gone", file=sys.stderr)
        return 128 + signal.SIGINT
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _demonstrate(options: argparse.Namespace) -> int:
    _check(options)
    programs = options.programs or _build()
    with _scratch() as directory:
        congestions = _congestions()
        size = options.size * MEGABYTE
        free = shutil.disk_usage(directory).free
        # Both sets, a part cut from one, and what arrives of it.
        if free < 4 * size:
            raise LabError(f"{directory.parent} has {free // MEGABYTE} MB free and the files need "
                           f"{4 * options.size}: give a smaller --size, or another place in TMPDIR")
        link = Link(options.rate, options.rtt, options.loss, options.seed)
        print(f"The link: {link}. Each set: {options.size} MB.", flush=True)
        progress = Progress(Plan.seconds(link, size, congestions))
        try:
            progress.begin("collecting files", FILES_SECONDS)
            sets = _sets(directory, size, options.seed)
            progress.end()
            transfers = _move(Plan(link, sets, size, congestions, options.driver, programs),
                              progress)
        finally:
            progress.clear()
    print("\n" + demo_report.table(transfers, size, link))
    if options.report:
        demo_report.write(options.report, transfers)
    return 0 if all(each.sha256_ok for each in transfers) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Moves real files over an emulated long, lossy link: directly and through two "
                    "tpo. Needs root; installs what is missing, builds, and leaves nothing running.")

    def measure(kind: str) -> Callable[[str], float]:
        def convert(text: str) -> float:
            try:
                return demo_link.value(kind, text)
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from error
        return convert

    parser.add_argument("--rate", type=measure("rate"), default="200mbit",
                        help="of the link, in each direction (default: %(default)s)")
    parser.add_argument("--rtt", type=measure("time"), default="80ms",
                        help="round trip of the link (default: %(default)s)")
    parser.add_argument("--loss", type=measure("share"), default="0.5%",
                        help="packets lost in each direction (default: %(default)s)")
    parser.add_argument("--size", type=int, default=110, metavar="MB",
                        help="of each set of files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1,
                        help="of the random bytes and of the link's losses (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE",
                        help="write the figures there too, as JSON")
    parser.add_argument("--driver", choices=DRIVERS, default="af_xdp",
                        help="how the programs get at the virtual cables (default: %(default)s)")
    parser.add_argument("--programs", type=Path, metavar="DIR",
                        help="install and build nothing, take tpo, tpoctl and wanem from there")
    return parser


def _check(options: argparse.Namespace) -> None:
    """A LabError for what would fail later."""
    if os.geteuid() != 0:
        raise LabError("needs root, as it makes network namespaces: run it with sudo")
    for name, low, high, unit in (("rate", 0.1, 10_000, " Mb/s"), ("rtt", 0, 2_000, " ms"),
                                  ("loss", 0, 50, " %"), ("size", 1, 100_000, " MB"),
                                  ("seed", 0, (1 << 64) - 1, "")):
        if not low <= getattr(options, name) <= high:
            raise LabError(f"--{name} must be {low} to {high}{unit}")
    if options.report and not os.access(options.report.absolute().parent, os.W_OK):
        raise LabError(f"{options.report} cannot be written: give --report a place that exists")
    if options.report and options.report.is_dir():
        raise LabError(f"{options.report} is a directory: give --report a file")


# Before.


def _build() -> Path:
    """Installs what is missing and builds; where the programs are."""
    _run([str(REPOSITORY / "scripts" / "setup")], "what is missing cannot be installed")
    print("Building tpo and wanem ...", flush=True)
    _run(["cargo", "build", "--release", "--package", "control", "--package", "perf",
          "--target-dir", str(TARGET)], "tpo and wanem do not build")
    return TARGET / "release"


def _run(command: list[str], complaint: str) -> None:
    """Runs a command to its end; when stopped, with all the processes that it started."""
    # A toolchain of rustup may not be in root's PATH.
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "bin"
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL,
                               env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{cargo}"},
                               start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        with signals.held(), contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while time.monotonic() < deadline:
                process.poll()  # or it would stay in its group as a zombie
                os.killpg(process.pid, 0)
                time.sleep(STOP_POLL_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
        raise
    if code != 0:
        raise LabError(complaint)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A directory for the files; gone afterwards, whatever happens."""

    def remove(directory: Path) -> None:
        with signals.held():
            shutil.rmtree(directory)

    with contextlib.ExitStack() as stack:
        with signals.held():
            directory = Path(tempfile.mkdtemp(prefix="tpo-demo-"))
            stack.callback(remove, directory)
        yield directory


def _congestions() -> list[str]:
    """What the kernel has of the congestion controls that are compared."""
    def available() -> list[str]:
        return AVAILABLE.read_text(encoding="ascii").split()

    for name in set(CONGESTIONS) - set(available()):
        # Where it is a module, the kernel knows it once it is loaded.
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["modprobe", "--quiet", f"tcp_{name}"], check=False)
    return [name for name in CONGESTIONS if name in available()]


def _sets(directory: Path, size: int, seed: int) -> dict[str, Path]:
    return {"compressible": demo_payload.compressible(directory / "files.tar", size),
            "random": demo_payload.incompressible(directory / "random.bin", size, seed)}


# The transfers.


def _move(plan: Plan, progress: Progress) -> list[Transfer]:
    """Every transfer, the direct ones first."""
    transfers: list[Transfer] = []
    with _lab(plan, "bridge", progress) as lab:
        for congestion in plan.congestions:
            for side in SIDES:
                lab.congestion_control(lab.site(side).host, congestion)
            for payload in plan.sets:
                transfers.append(_move_directly(lab, plan, congestion, payload, progress))
    with _lab(plan, "tpo", progress) as lab:
        for payload, whole in plan.sets.items():
            transfers.append(_move_one(lab, plan, whole, None, payload, progress))
    return transfers


@contextlib.contextmanager
def _lab(plan: Plan, appliances: str, progress: Progress) -> Iterator[Lab]:
    """Two sites and the WAN, with the server; nothing of it is left afterwards."""
    progress.begin("two sites and a WAN" + (", a tpo at each site" if appliances == "tpo" else ""),
                   LAB_SECONDS)
    lab = Lab(LabOptions(appliances=appliances, driver=plan.driver, programs=plan.programs,
                         wan_arguments=plan.link.wanem_arguments, rate="auto"))
    try:
        with lab:
            for side in SIDES:
                for key, value in TCP_BUFFERS.items():
                    lab.sysctl(lab.site(side).host, key, value)
            serve(lab, next(iter(plan.sets.values())).parent)
            if appliances == "tpo":
                await_session(lab)
            signals.check()
            progress.end()
            try:
                yield lab
            except LabError as error:
                raise LabError(f"{error}{_last_words(lab)}") from error
    finally:
        with signals.held():
            if lab.leftovers():
                lab.down()  # interrupted before it was in charge of itself
            if left := lab.leftovers():
                raise LabError(f"could not remove {', '.join(left)}")


def _move_directly(lab: Lab, plan: Plan, congestion: str, payload: str,
                   progress: Progress) -> Transfer:
    """A part of a set that ends in time: if it does not, a smaller one."""
    size = direct_bytes(plan.link, congestion, plan.set_bytes)
    for _ in range(DIRECT_TRIES):
        part = demo_payload.cut(plan.sets[payload], size)
        try:
            return _move_one(lab, plan, part, congestion, payload, progress)
        except TooSlow as slow:
            size = max(DIRECT_BYTES_MIN, slow.arrived_bytes // 3)
        finally:
            part.unlink()
    raise LabError(f"directly, with {congestion}, {size} bytes do not arrive in "
                   f"{DIRECT_SECONDS_MAX:g} s: give a smaller --loss or --rtt")


def _move_one(lab: Lab, plan: Plan, file: Path, congestion: str | None, payload: str,
              progress: Progress) -> Transfer:
    path = "direct" if congestion else "tpo"
    size, began = file.stat().st_size, time.monotonic()

    def update(arrived: int) -> None:
        signals.check()
        seconds = time.monotonic() - began
        progress.update(arrived / size, f"{arrived / 1e6:.1f} of {size / 1e6:.1f} MB, "
                                        f"{8e-6 * arrived / seconds:.1f} Mb/s")

    progress.begin(f"{PAYLOADS[payload]}, {demo_report.route(path, congestion)}",
                   link_seconds(plan.link, size, congestion))
    transfer = fetch(lab, file, {"path": path, "congestion": congestion, "payload": payload},
                     seconds_max=DIRECT_SECONDS_MAX if congestion else None, progress=update)
    signals.check()
    progress.end(demo_report.speed(transfer))
    return transfer


def _last_words(lab: Lab) -> str:
    """The last line of each program's log: the logs go with the lab."""
    said = []
    for name in lab.programs:
        lines = lab.log_path(name).read_text(encoding="utf-8", errors="replace").split("\n")
        said += [f"\n  {name}: {line}" for line in [*filter(str.strip, lines)][-1:]]
    return "".join(said)


if __name__ == "__main__":
    sys.exit(main())
