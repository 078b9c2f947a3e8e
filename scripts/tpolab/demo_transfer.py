"""One transfer of the demonstration: nginx at site b, curl at site a, and what was counted.

In:  a lab that is up, and a file.
Out: a `Transfer`: bytes, seconds, what passed the client's interface and the WAN, and whether the
     file that arrived is the one that was sent.
Never: asks tpo for any of it.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import demo_payload, namespaces
from .errors import LabError
from .lab import Lab

PORT = 80
SERVER_SECONDS_MAX = 15.0
SESSION_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
TICK_SECONDS = 0.2
"""Between two looks at how far a transfer is."""
STEADY_AFTER_SECONDS = 3.0
STEADY_SECONDS_MIN = 1.0
"""What comes before the one is the beginning; what is left is told of if it takes the other."""
SILENCE_SECONDS_MAX = 30
"""A transfer that brings almost nothing for so long has failed."""
SILENCE_BYTES_PER_S = 100
CURL_TIMED_OUT = 28

NGINX = """\
daemon off;
master_process off;
user root;
pid {files}/nginx.pid;
error_log {files}/nginx.log;
events {{}}
http {{
    access_log off;
    sendfile on;
    default_type application/octet-stream;
    client_body_temp_path {files}/body;
    proxy_temp_path {files}/proxy;
    fastcgi_temp_path {files}/fastcgi;
    uwsgi_temp_path {files}/uwsgi;
    scgi_temp_path {files}/scgi;
    server {{
        listen {address}:{port};
        root {root};
    }}
}}
"""


class TooSlow(Exception):
    """A transfer that did not end in its time."""

    def __init__(self, arrived_bytes: int) -> None:
        super().__init__(f"only {arrived_bytes} bytes arrived in time")
        self.arrived_bytes = arrived_bytes


@dataclass(frozen=True)
class Transfer:
    """A file that was moved, and what it cost; the names are those of the report."""

    path: str
    """"direct" or "tpo"."""
    congestion: str | None
    """Congestion control of the direct connection; None through tpo."""
    payload: str
    """"compressible" or "random"."""
    bytes: int
    seconds: float
    """From before the connection was opened until the last byte was there."""
    goodput_mbps: float
    steady_mbps: float | None
    """The same without its first three seconds; None if too little is left."""
    lan_bytes: int
    """IP bytes through the client's interface, both directions."""
    wan_bytes: int
    """IP bytes sent into the WAN, both directions, those that it lost included."""
    sha256_ok: bool
    """Whether the file that arrived is the one that was sent."""


def serve(lab: Lab, root: Path) -> None:
    """Starts nginx at site b on the files of a directory; it ends with the lab."""
    address = lab.site("b").address_ipv4
    configuration, log = lab.directory / "nginx.conf", lab.directory / "nginx.log"
    configuration.write_text(
        NGINX.format(files=lab.directory, root=root, address=address, port=PORT), encoding="utf-8")
    server = _start(lab, "hostb", "nginx", "-p", lab.directory, "-e", log, "-c", configuration)

    def listening() -> bool:
        if server.poll() is not None:
            raise LabError(f"nginx ended: {log.read_text(errors='replace').strip()}")
        with socket.socket() as client:
            return client.connect_ex((address, PORT)) == 0

    _await(lambda: namespaces.inside(lab.namespace("hostb"), listening), SERVER_SECONDS_MAX,
           "nginx does not start")


def await_session(lab: Lab) -> None:
    """Returns when the appliances have found each other: from then on flows are optimized."""
    for side in ("a", "b"):
        _await(lambda: lab.tpoctl(side, "show", "peer")["peers"][0]["state"] == "up",
               SESSION_SECONDS_MAX, f"tpo at site {side} does not reach its peer")


def fetch(lab: Lab, file: Path, labels: dict[str, Any], *, seconds_max: float | None,
          progress: Callable[[int], None]) -> Transfer:
    """Fetches a file with curl; `progress` is told now and then how many bytes there are.

    `labels` are the first three fields of the result. A TooSlow if it takes longer than
    `seconds_max`, a LabError if it fails.
    """
    digest = demo_payload.sha256(file)
    got = file.with_name(f"{file.name}.arrived")
    looks = [(time.monotonic(), 0)]
    limit = ["--max-time", f"{seconds_max:g}"] if seconds_max else []
    try:
        lan_before, wan_before = _counted(lab)
        curl = _start(lab, "hosta", "curl", "--silent", "--show-error", "--fail", *limit,
                      "--speed-limit", SILENCE_BYTES_PER_S, "--speed-time", SILENCE_SECONDS_MAX,
                      "--write-out", "%{time_total}", "--output", got,
                      f"http://{lab.site('b').address_ipv4}:{PORT}/{file.name}")
        while True:
            try:
                said, complaint = curl.communicate(timeout=TICK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                looks.append((time.monotonic(), _size(got)))
                progress(looks[-1][1])
        lan_after, wan_after = _counted(lab)
        size = _size(got)
        if curl.returncode == CURL_TIMED_OUT and limit:
            raise TooSlow(size)
        if curl.returncode != 0:
            raise LabError(f"after {size} of {file.stat().st_size} bytes: {complaint.strip()}")
        seconds = float(said)
        return Transfer(**labels, bytes=size, seconds=seconds, goodput_mbps=8e-6 * size / seconds,
                        steady_mbps=steady_mbps(looks), lan_bytes=lan_after - lan_before, wan_bytes=wan_after - wan_before,
                        sha256_ok=demo_payload.sha256(got) == digest)
    finally:
        got.unlink(missing_ok=True)


def steady_mbps(looks: list[tuple[float, int]]) -> float | None:
    """Goodput behind the beginning, of the times of looks at a transfer and the bytes there were."""
    began = looks[0][0]
    behind = [look for look in looks if look[0] - began >= STEADY_AFTER_SECONDS]
    if not behind or behind[-1][0] - behind[0][0] < STEADY_SECONDS_MIN:
        return None
    (first_s, first), (last_s, last) = behind[0], behind[-1]
    return 8e-6 * (last - first) / (last_s - first_s)


def _start(lab: Lab, node: str, *words: object) -> subprocess.Popen[str]:
    """Starts a program that a Ctrl-C does not reach: the lab stops it."""
    return lab.popen(node, *map(str, words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE, text=True, start_new_session=True)


def _counted(lab: Lab) -> tuple[int, int]:
    """IP bytes so far: through the client's interface, and into the WAN."""
    client, wan = lab.counters("hosta"), lab.wanem("stats")
    into_wan = sum(wan[way]["counters"]["bytes_in"] for way in ("a_to_b", "b_to_a"))
    return client.rx_ip_bytes + client.tx_ip_bytes, into_wan


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _await(condition: Callable[[], bool], seconds_max: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{complaint} within {seconds_max:g} s")
        time.sleep(POLL_SECONDS)
