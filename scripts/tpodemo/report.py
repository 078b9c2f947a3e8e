"""What came of it: a table to read, and the same figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from .transfer import Run

PAYLOADS = {"compressible": "files of this machine", "random": "random bytes"}
HEADINGS = ("what", "how", "size", "time", "speed", "on the LAN", "on the WAN", "arrived")


def write(path: Path, runs: list[Run]) -> None:
    """An array with one object per transfer."""
    path.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n", encoding="utf-8")


def table(runs: list[Run]) -> str:
    """One line per transfer, then a sentence per set."""
    rows = [HEADINGS] + [_row(run) for run in runs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
             for row in rows]
    sentences = [_sentence(payload, runs) for payload in PAYLOADS]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *filter(None, sentences)])


def _row(run: Run) -> tuple[str, ...]:
    return (PAYLOADS[run.payload], _how(run), _megabytes(run.bytes), f"{run.seconds:.1f} s",
            f"{run.goodput_mbps:.1f} Mb/s", _megabytes(run.lan_bytes), _megabytes(run.wan_bytes),
            "unchanged" if run.sha256_ok else "DIFFERENT")


def _how(run: Run) -> str:
    return "through tpo" if run.path == "tpo" else f"directly, {run.congestion}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _sentence(payload: str, runs: list[Run]) -> str:
    ours = [run for run in runs if run.payload == payload and run.path == "tpo"]
    theirs = [run for run in runs if run.payload == payload and run.path == "direct"]
    if not ours or not theirs:
        return ""
    times = " and ".join(f"{ours[0].goodput_mbps / run.goodput_mbps:.1f} times as fast as {run.congestion}"
                         for run in theirs)
    saved = 100 * (1 - ours[0].wan_bytes / ours[0].lan_bytes)
    wan = f"{abs(saved):.0f} % {'fewer' if saved >= 0 else 'more'} bytes on the WAN than on the LAN"
    return f"Through tpo, {PAYLOADS[payload]} went {times}, with {wan}."
