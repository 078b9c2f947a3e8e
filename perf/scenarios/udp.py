"""UDP between two hosts of the lab, with the kernel's own timestamps on receipt.

Both hosts share one clock, so one-way delays can be measured. As a program this is the sender:
`udp.py ADDRESS PORT PAYLOAD_BYTES INTERVAL_S COUNT PER_TURN`.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpolab.lab import Lab

PORT = 9000
IPV4_UDP_HEADER_BYTES = 28
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
BUFFER_BYTES = 128 << 20
NS_PER_S = 1_000_000_000
SILENCE_S = 1.0
"""Nothing for this long after the sender ended: nothing more is on its way."""


def one_way_delays_ns(lab: Lab, source: str, destination: str, *, count: int,
                      interval_s: float) -> list[int]:
    """Delays of single datagrams, from before the send call to the receiving kernel's stamp."""
    arrivals = _exchange(lab, source, destination, payload_bytes=64, interval_s=interval_s,
                         count=count, per_turn=1)
    return [stamp - struct.unpack_from("!Q", payload)[0] for stamp, payload in arrivals]


def flood_rate_bps(lab: Lab, source: str, destination: str, *, offered_bps: float,
                   seconds: float, ip_bytes: int, skip_s: float) -> tuple[float, int]:
    """IP bit/s that arrive when more is offered, and how many datagrams came.

    The rate is taken over the kernel's receive stamps after the first `skip_s`.
    """
    turn_s = 0.001
    per_turn = max(1, round(offered_bps * turn_s / 8 / ip_bytes))
    interval_s = per_turn * ip_bytes * 8 / offered_bps
    turns = int(seconds / interval_s)
    arrivals = _exchange(lab, source, destination, payload_bytes=ip_bytes - IPV4_UDP_HEADER_BYTES,
                         interval_s=interval_s, count=turns, per_turn=per_turn)
    if not arrivals:
        return 0.0, 0
    stamps = [stamp for stamp, _ in arrivals if stamp >= arrivals[0][0] + skip_s * NS_PER_S]
    # The first one marks the start, its own bytes came before it.
    elapsed_s = (stamps[-1] - stamps[0]) / NS_PER_S
    return (len(stamps) - 1) * ip_bytes * 8 / elapsed_s, len(arrivals)


def _exchange(lab: Lab, source: str, destination: str, *, payload_bytes: int, interval_s: float,
              count: int, per_turn: int) -> list[tuple[int, bytes]]:
    """Sends and receives; the receive stamp (ns) and the first bytes of each datagram."""
    address = lab.site(destination[-1]).address_ipv4
    lab.run(source, "ping", "-c", "1", "-W", "10", address)  # the neighbours know each other now
    with lab.open_socket(destination, socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.bind((address, PORT))
        receiver.settimeout(SILENCE_S)
        arguments = (address, PORT, payload_bytes, interval_s, count, per_turn)
        sender = lab.popen(source, sys.executable, str(Path(__file__).resolve()),
                           *map(str, arguments))
        arrivals = _receive(receiver, sender)
        if sender.wait() != 0:
            raise subprocess.CalledProcessError(sender.returncode, sender.args)
    return arrivals


def _receive(receiver: socket.socket, sender: subprocess.Popen) -> list[tuple[int, bytes]]:
    arrivals = []
    ancillary_bytes = socket.CMSG_SPACE(16)
    while True:
        ended = sender.poll() is not None
        try:
            while True:
                # 8 bytes are enough: the sender's own stamp, if it set one.
                payload, ancillary, _, _ = receiver.recvmsg(8, ancillary_bytes)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                arrivals.append((seconds * NS_PER_S + nanoseconds, payload))
        except TimeoutError:
            if ended:
                return arrivals


def _send(address: str, port: int, payload_bytes: int, interval_s: float, count: int,
          per_turn: int) -> None:
    filling = bytes(payload_bytes - 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        start = time.monotonic()
        for turn in range(count):
            for _ in range(per_turn):
                out.send(struct.pack("!Q", time.time_ns()) + filling)
            time.sleep(max(0.0, start + (turn + 1) * interval_s - time.monotonic()))


if __name__ == "__main__":
    _send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]),
          int(sys.argv[6]))
