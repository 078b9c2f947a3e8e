"""What the demonstration shows: a progress bar while it works, then a table, and the same as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from .demo_link import Link
from .demo_transfer import Transfer

PAYLOADS = {"compressible": "files of this machine", "random": "random bytes"}
BAR_CHARACTERS = 24
COLUMNS = ("what", "how", "sent", "time", "speed", "whole set", "LAN traffic", "WAN traffic",
           "arrived")
TEXT_COLUMNS = 2
"""How many of them are words; the others are figures."""


class Progress:
    """On a terminal a line that changes; elsewhere a line for each thing done.

    It writes to standard error, so that standard output has the result alone.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        """How long everything is expected to take."""
        self._done = 0.0
        self._label = ""
        self._weight = 0.0
        self._live = sys.stderr.isatty()

    def begin(self, label: str, seconds: float) -> None:
        """The next thing, which is expected to take so long."""
        self._label, self._weight = label, seconds
        self.update(0.0)

    def update(self, share: float, detail: str = "") -> None:
        """How much of it is done, and what to say of it."""
        if not self._live:
            return
        whole = min(1.0, (self._done + min(1.0, share) * self._weight) / self._seconds)
        full = round(whole * BAR_CHARACTERS)
        bar = "#" * full + "." * (BAR_CHARACTERS - full)
        line = f"[{bar}] {whole:4.0%}  {self._label}{'  ' if detail else ''}{detail}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:width]}\033[K", end="", file=sys.stderr, flush=True)

    def end(self, detail: str = "") -> None:
        """It is done."""
        self._done += self._weight
        if not self._live:
            print(f"{self._label}{': ' if detail else ''}{detail}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the bar away."""
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def write(path: Path, transfers: list[Transfer]) -> None:
    """An array with one object per transfer."""
    path.write_text(json.dumps([asdict(each) for each in transfers], indent=2) + "\n",
                    encoding="utf-8")


def route(path: str, congestion: str | None) -> str:
    """How a file went."""
    return "through tpo" if path == "tpo" else f"directly, {congestion}"


def speed(transfer: Transfer) -> str:
    """Its size, time and speed in words."""
    return (f"{transfer.bytes / 1e6:.1f} MB in {transfer.seconds:.1f} s, "
            f"{transfer.goodput_mbps:.1f} Mb/s")


def table(transfers: list[Transfer], set_bytes: int, link: Link) -> str:
    """A line per transfer, and what it means in a sentence per set."""
    ordered = [each for payload in PAYLOADS for each in transfers if each.payload == payload]
    rows = [COLUMNS, *(_row(each, set_bytes) for each in ordered)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * sum(widths, 2 * (len(widths) - 1)))
    return "\n".join([*lines, "", *_sentences(ordered), *_shares(ordered, link), *_notes(set_bytes)])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = (cell.ljust(width) if number < TEXT_COLUMNS else cell.rjust(width)
             for number, (cell, width) in enumerate(zip(row, widths)))
    return "  ".join(cells).rstrip()


def _row(transfer: Transfer, set_bytes: int) -> tuple[str, ...]:
    whole_s = transfer.seconds * set_bytes / max(1, transfer.bytes)
    return (PAYLOADS[transfer.payload], route(transfer.path, transfer.congestion),
            _megabytes(transfer.bytes), f"{transfer.seconds:.1f} s",
            f"{transfer.goodput_mbps:.1f} Mb/s", _duration(whole_s),
            _megabytes(transfer.lan_bytes), _megabytes(transfer.wan_bytes),
            "intact" if transfer.sha256_ok else "DAMAGED")


def _sentences(transfers: list[Transfer]) -> Iterable[str]:
    for payload, name in PAYLOADS.items():
        chosen = [each for each in transfers if each.payload == payload]
        for ours in (each for each in chosen if each.path == "tpo"):
            times = " and ".join(
                f"{ours.goodput_mbps / each.goodput_mbps:.1f} times as fast as with "
                f"{each.congestion}" for each in chosen if each.path == "direct")
            saved = 1 - ours.wan_bytes / max(1, ours.lan_bytes)
            yield (f"{name.capitalize()}: through tpo {times}; the WAN carried "
                   f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'} than the LAN.")


def _shares(transfers: list[Transfer], link: Link) -> Iterable[str]:
    """What our random bytes are of all that the link can carry."""
    for ours in (each for each in transfers if (each.path, each.payload) == ("tpo", "random")):
        share = ours.goodput_mbps / link.possible_mbps
        steady = ("" if ours.steady_mbps is None else
                  f", {ours.steady_mbps / link.possible_mbps:.3f} without the first three seconds")
        yield (f"Of the {link.possible_mbps:.1f} Mb/s of them that the link can carry that is "
               f"{share:.3f} with connecting and finding the rate{steady}.")


def _notes(set_bytes: int) -> Iterable[str]:
    yield (f"\"Whole set\" is how long {_megabytes(set_bytes)} take at that speed. Traffic counts "
           "IP bytes of both directions,")
    yield "what was sent again included, at the client's interface and at the entries of the WAN."


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"
