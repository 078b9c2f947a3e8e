"""Goodput of TCP flows between two hosts of the lab: bulk senders, and receivers that count.

In:  a lab, a file whose content is sent over and over, a number of flows.
Out: bytes that each receiving program was given in a window that begins some time after the first
     byte, and what else happened in that window.
Never: in the process that measures; senders and receivers are programs of their own, these:
`measure_flows.py send ADDRESS PORT FLOWS FILE`, `measure_flows.py receive ADDRESS PORT FLOWS SKIP_S
SECONDS`, `measure_flows.py read-slowly ADDRESS PORT BYTES_PER_S`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpolab.lab import Lab

    from .measure_processes import Usage

PROGRAM = Path(__file__).resolve()
PORT = 9001
SLOW_PORT = 9002
CHUNK_BYTES = 1 << 20
LOW_WATER_BYTES = 64 << 10
"""What a receiver waits for before it wakes up: a few hundred times per second at 200 Mb/s."""
RECEIVE_BUFFER_BYTES = 8 << 20
EDGE_S_MAX = 1.0
EDGE_SHARE = 0.25
"""Of the window, what each end is wide, at most."""
SO_RCVBUFFORCE = 33
SILENCE_S = 10.0
"""A flow that brings nothing for this long has failed."""
SLOW_BUFFER_BYTES = 64 << 10
SLOW_READS_PER_S = 10
END_S = 10.0


@dataclass(frozen=True)
class Goodput:
    """What the receiving programs were given in the window."""

    seconds: float
    flows_bps: list[float]
    """Of each flow, bits of payload per second: from what it had brought on average over the first
    second to what it had over the last one. Where a loss was mended what comes in order comes in
    steps of a round trip, and a step just before or just after an end counts for little so."""
    lan_bytes: int
    """IP bytes and Ethernet headers that left the sending host in the window."""
    wan_bytes: int
    """IP bytes that entered the WAN in the sender's direction, retransmissions included."""
    wan_dropped: int
    """Packets that the WAN's queue had no room for."""
    cpu: dict[str, float]
    """Share of a core that each program of the lab used."""

    @property
    def total_bps(self) -> float:
        """Of all flows together."""
        return sum(self.flows_bps)

    @property
    def jain(self) -> float:
        """Jain's index of the flows' shares: 1 when all are equal, 1/n when one has everything."""
        squares = sum(rate * rate for rate in self.flows_bps)
        return self.total_bps ** 2 / (len(self.flows_bps) * squares) if squares else 0.0


def measure(lab: Lab, content: Path, usage: Usage, *, flows: int, skip_s: float,
            seconds: float, relay: tuple[str, int] | None = None) -> Goodput:
    """Sends the file over and over from host A to host B on so many connections at once.

    With a relay, host A connects to its address and port, and what it relays goes to `PORT` of
    host B.
    """
    address = lab.site("b").address_ipv4
    receiver = _start(lab, "hostb", "receive", address, PORT, flows, skip_s, seconds)
    _line(receiver)  # it listens
    to_address, to_port = relay or (address, PORT)
    sender = _start(lab, "hosta", "send", to_address, to_port, flows, content)
    try:
        _line(receiver)  # the window begins
        usage.start()
        before, sent = lab.wanem("stats")["a_to_b"]["counters"], lab.counters("hosta").tx_bytes
        window = json.loads(_line(receiver))
        after, left = lab.wanem("stats")["a_to_b"]["counters"], lab.counters("hosta").tx_bytes
        cpu = usage.stop()
    finally:
        for process in (receiver, sender):
            _end(process)
    grown = {key: after[key] - before[key] for key in after}
    return Goodput(window["seconds"], window["flows_bps"],
                   left - sent, grown["bytes_in"] - grown["drop_queue_bytes"],
                   grown["drop_queue_packets"], cpu)


@contextlib.contextmanager
def bulk(lab: Lab, content: Path, *, lead_s: float) -> Iterator[None]:
    """Within it, one flow sends the file over and over; it has done so for `lead_s` before."""
    address = lab.site("b").address_ipv4
    receiver = _start(lab, "hostb", "receive", address, PORT, 1, lead_s, 3600.0)
    _line(receiver)
    sender = _start(lab, "hosta", "send", address, PORT, 1, content)
    try:
        _line(receiver)
        yield
    finally:
        for process in (receiver, sender):
            _end(process)


@contextlib.contextmanager
def slow_reader(lab: Lab, content: Path, *, bytes_per_s: int, lead_s: float) -> Iterator[None]:
    """Within it, one flow has a receiver that reads that little; it has stood still before."""
    address = lab.site("b").address_ipv4
    reader = _start(lab, "hostb", "read-slowly", address, SLOW_PORT, bytes_per_s)
    _line(reader)
    sender = _start(lab, "hosta", "send", address, SLOW_PORT, 1, content)
    try:
        _line(reader)
        time.sleep(lead_s)
        yield
    finally:
        for process in (reader, sender):
            _end(process)


def _start(lab: Lab, node: str, *words: object) -> subprocess.Popen:
    return lab.popen(node, sys.executable, str(PROGRAM), *map(str, words),
                     stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen) -> str:
    line = process.stdout.readline()
    if not line:
        raise subprocess.CalledProcessError(process.wait(), process.args)
    return line


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


# The programs.


def _send(address: str, port: int, flows: int, path: Path) -> None:
    """Sends the file on every connection, each from a place of its own, until they are reset."""
    content = os.open(path, os.O_RDONLY)
    size = os.fstat(content).st_size
    threads = [threading.Thread(target=_send_one, daemon=True,
                                args=(address, port, content, size, number * (size // flows)))
               for number in range(flows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send_one(address: str, port: int, content: int, size: int, offset: int) -> None:
    with socket.create_connection((address, port)) as connection:
        with contextlib.suppress(ConnectionError):
            while True:
                sent = os.sendfile(connection.fileno(), content, offset, CHUNK_BYTES)
                offset = (offset + sent) % size


def _listen(address: str, port: int, buffer_bytes: int, low_water_bytes: int) -> socket.socket:
    """A listening socket that says on standard output that it is one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water_bytes)
    listener.bind((address, port))
    listener.listen(1024)
    _say("listening")
    return listener


def _receive(address: str, port: int, flows: int, skip_s: float, seconds: float) -> None:
    """Counts what `flows` connections bring in a window; resets them."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(
            _listen(address, port, RECEIVE_BUFFER_BYTES, LOW_WATER_BYTES))
        listener.settimeout(SILENCE_S)
        ready = stack.enter_context(selectors.DefaultSelector())
        for number in range(flows):
            connection = stack.enter_context(listener.accept()[0])
            ready.register(connection, selectors.EVENT_READ, number)
        into = bytearray(CHUNK_BYTES)
        _count(ready, into, Totals(flows), skip_s)
        _say("window")
        edge_s = min(EDGE_S_MAX, EDGE_SHARE * seconds)
        first = Totals(flows)
        elapsed_s = _count(ready, into, first, edge_s)
        middle = Totals(flows, first.bytes)
        elapsed_s += _count(ready, into, middle, seconds - 2 * edge_s)
        last = Totals(flows, middle.bytes)
        elapsed_s += _count(ready, into, last, edge_s)
        _say(json.dumps({"seconds": elapsed_s, "flows_bps": last.bps_since(first)}))


class Totals:
    """What each flow has brought since the window began, and its mean over a stretch of time."""

    def __init__(self, flows: int, start: Sequence[int] = ()) -> None:
        """A stretch that begins with `start` bytes of each flow."""
        self.bytes = list(start) or [0] * flows
        self._byte_seconds = [0.0] * flows
        self._began_s = self._now_s = time.monotonic()

    def hold(self, now_s: float) -> float:
        """Up to now it was as much as it is; seconds since the stretch began."""
        for flow, count in enumerate(self.bytes):
            self._byte_seconds[flow] += count * (now_s - self._now_s)
        self._now_s = now_s
        return now_s - self._began_s

    def bps_since(self, first: Totals) -> list[float]:
        """Of each flow, bits per second from the middle of that stretch to the middle of this."""
        between_s = (self._began_s + self._now_s - first._began_s - first._now_s) / 2
        return [8 * (last - before) / between_s
                for last, before in zip(self._means(), first._means(), strict=True)]

    def _means(self) -> list[float]:
        return [each / (self._now_s - self._began_s) for each in self._byte_seconds]


def _count(ready: selectors.BaseSelector, into: bytearray, totals: Totals,
           seconds: float) -> float:
    """Adds what comes for so long; how long that was."""
    elapsed_s = 0.0
    while elapsed_s < seconds:
        events = ready.select(SILENCE_S)
        if not events:
            raise TimeoutError(f"nothing came for {SILENCE_S} s")
        elapsed_s = totals.hold(time.monotonic())
        for key, _ in events:
            count = key.fileobj.recv_into(into)
            if not count:
                raise EOFError("a sender ended too early")
            totals.bytes[key.data] += count
    return elapsed_s


def _read_slowly(address: str, port: int, bytes_per_s: int) -> None:
    with _listen(address, port, SLOW_BUFFER_BYTES, 1) as listener:
        with listener.accept()[0] as connection:
            _say("connected")
            while connection.recv(bytes_per_s // SLOW_READS_PER_S):
                time.sleep(1 / SLOW_READS_PER_S)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    what, host, number, *rest = sys.argv[1:]
    if what == "send":
        _send(host, int(number), int(rest[0]), Path(rest[1]))
    elif what == "receive":
        _receive(host, int(number), int(rest[0]), float(rest[1]), float(rest[2]))
    else:
        _read_slowly(host, int(number), int(rest[0]))
