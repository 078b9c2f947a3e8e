"""One transfer: an HTTP server at site b, curl at site a, and what both sides of the link counted.

In:  a lab that is up and a file.
Out: a `Run`: bytes, seconds, counters of the client's interface and of the WAN emulator, and whether the file that
     arrived is the one that was sent. None of it is asked of tpo.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tpolab.lab import Lab

from . import material

PORT = 8080
SERVER_SECONDS_MAX = 15.0
TRANSFER_SECONDS_MAX = 60
TICK_SECONDS = 0.2


class TransferError(Exception):
    """A transfer that did not come to its end; the message says why."""


@dataclass(frozen=True)
class Run:
    """A transfer and what it cost."""

    path: str
    """"direct" or "tpo"."""
    congestion: str | None
    """Congestion control of the direct connection."""
    payload: str
    """"compressible" or "random"."""
    bytes: int
    seconds: float
    goodput_mbps: float
    lan_bytes: int
    """IP bytes through the client's interface, both directions."""
    wan_bytes: int
    """IP bytes that were sent into the WAN, both directions, lost ones included."""
    sha256_ok: bool


def serve(lab: Lab, directory: Path) -> None:
    """Starts Python's own HTTP server on a directory at site b; it ends with the lab."""
    server = lab.popen("hostb", sys.executable, "-u", "-m", "http.server", str(PORT),
                       "--directory", str(directory),
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # It says so when it listens.
    if not select.select([server.stdout], [], [], SERVER_SECONDS_MAX)[0]:
        raise TransferError("the HTTP server does not start")
    if b"Serving" not in os.read(server.stdout.fileno(), 4096):
        raise TransferError("the HTTP server ended")


def _counters(lab: Lab) -> tuple[int, int]:
    """IP bytes so far: at the client's interface, and into the WAN."""
    client, wan = lab.counters("hosta"), lab.wanem("stats")
    into_wan = sum(wan[way]["counters"]["bytes_in"] for way in ("a_to_b", "b_to_a"))
    return client.rx_ip_bytes + client.tx_ip_bytes, into_wan


def fetch(lab: Lab, file: Path, *, path: str, congestion: str | None, payload: str,
          progress: Callable[[int, float], None]) -> Run:
    """Fetches a file with curl; `progress` is told bytes and seconds while it goes."""
    got = file.with_name(f"{file.name}.got")
    url = f"http://{lab.site('b').address_ipv4}:{PORT}/{file.name}"
    lan_before, wan_before = _counters(lab)
    began = time.monotonic()
    curl = lab.popen("hosta", "curl", "--silent", "--show-error", "--fail",
                     "--max-time", str(TRANSFER_SECONDS_MAX), "--write-out", "%{time_total}",
                     "--output", str(got), url,
                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        try:
            said, complaint = curl.communicate(timeout=TICK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            progress(got.stat().st_size if got.exists() else 0, time.monotonic() - began)
    if curl.returncode != 0:
        raise TransferError(f"{path}, {payload}: {complaint.strip() or f'curl: {curl.returncode}'}")
    seconds = float(said)
    lan_after, wan_after = _counters(lab)
    size = got.stat().st_size
    same = material.sha256(got) == material.sha256(file)
    got.unlink()
    return Run(path, congestion, payload, size, seconds, size * 8 / seconds / 1e6,
               lan_after - lan_before, wan_after - wan_before, same)
