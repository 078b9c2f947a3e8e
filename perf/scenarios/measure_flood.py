"""Forged datagrams: made, sent at a steady rate, and what is answered to them.

In:  a lab, the frames to be sent, a rate.
Out: how many were sent and how fast; the answers that the appliance sent back.
Never: in the process that measures; the sender is a program of its own:
`measure_flood.py DEVICE FRAMES_FILE FRAME_BYTES PACKETS_PER_S`, until it is told to end.

Frames leave the device of the WAN emulator that leads to the appliance, beside the emulator and
not through it: they take nothing of the link and never wait in its queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import hmac
import json
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpolab.lab import Lab

PROGRAM = Path(__file__).resolve()
STATION = bytes.fromhex("0277000000fd")
"""The attacker's: no other station of the lab has it."""
PORT = 4980
DIFFERENT = 4096
"""Frames that are made; they are sent over and over, and no two are alike."""
TURN_S = 0.001
TURN_FRAMES_MAX = 64
"""A sender that was held up does not make up for it by a burst longer than this."""

ETHERTYPE_IPV4 = 0x0800
HEADERS_BYTES = 14 + 20 + 8
HANDSHAKE_VERSION, VERSION = 1, 3
HELLO, SESSION, PIECE = 1, 2, 3
INITIATION, COOKIE = 16, 18
MESSAGE_BYTES = 170
MAC_BYTES = 32
INITIATION_BYTES = 8 + 3 + MESSAGE_BYTES + 2 * MAC_BYTES
SESSION_BYTES = 200 - 28
"""Of UDP payload: packets of 200 bytes."""

SO_RCVBUFFORCE = 33
SO_ATTACH_FILTER = 26
ANSWERS_BYTES_MAX = 128 << 20
SNIFF_S = 8.0


# What is forged.


def initiation() -> bytes:
    """An initiation of the right form, everything that matters random."""
    length = MESSAGE_BYTES + 2 * MAC_BYTES
    header = struct.pack("!BBHIBH", HANDSHAKE_VERSION << 4 | HELLO, 2 + secrets.randbelow(254), 3 + length,
                         secrets.randbits(32), INITIATION, length)
    return header + secrets.token_bytes(length)


def known_initiation(public_key: bytes) -> bytes:
    """An initiation of somebody who knows the receiver's public key: its first MAC is right."""
    forged = initiation()[:-2 * MAC_BYTES]
    key = hashlib.sha256(b"tpo mac" + public_key).digest()
    return forged + hmac.digest(key, forged, "sha256") + bytes(MAC_BYTES)


def session_datagram(header: bytes | None = None, number: int = 0) -> bytes:
    """A datagram with one piece, of a session that is none, or with the header of one that is.

    In a session its number is one that has not been there yet, so that it has to be opened.
    """
    session = secrets.randbits(22) << 10
    epoch = 2 + secrets.randbelow(254)
    if header:
        epoch, session = header[1], int.from_bytes(header[4:8], "big")
    number = (number + 1 + secrets.randbits(22)) & 0xff_ffff
    field = 2 * number.to_bytes(3, "big") + (2 << 22 | 60_000).to_bytes(3, "big") + bytes(3)
    front = struct.pack("!BBI", VERSION << 4 | PIECE, epoch, session) + field
    return front + secrets.token_bytes(SESSION_BYTES - len(front))


@dataclass(frozen=True)
class Target:
    """The WAN address of an appliance, and its station."""

    address: str
    station: bytes

    def frame(self, payload: bytes) -> bytes:
        """A frame to it, from any of 254 addresses on the WAN and any port."""
        source = socket.inet_aton(f"10.77.3.{1 + secrets.randbelow(254)}")
        destination = socket.inet_aton(self.address)
        length = 8 + len(payload)
        datagram = struct.pack("!HHHH", 1024 + secrets.randbelow(60_000), PORT, length, 0) + payload
        pseudo = source + destination + struct.pack("!HH", socket.IPPROTO_UDP, length)
        summed = _checksum(pseudo + datagram) or 0xFFFF
        datagram = datagram[:6] + struct.pack("!H", summed) + datagram[8:]
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0x4000, 64,
                             socket.IPPROTO_UDP, 0)
        summed = _checksum(header + source + destination)
        header = header[:10] + struct.pack("!H", summed) + source + destination
        return self.station + STATION + struct.pack("!H", ETHERTYPE_IPV4) + header + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# Sending it.


@dataclass
class Sent:
    """What a flood came to, once it is over."""

    packets: int = 0
    seconds: float = 0.0
    ip_bytes: int = 0
    """Of each packet."""

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds if self.seconds else 0.0


@contextlib.contextmanager
def flood(lab: Lab, device: str, target: Target, make: Callable[[], bytes], *,
          packets_per_s: int) -> Iterator[Sent]:
    """Within it, datagrams that `make` makes come out of a device of the WAN."""
    frames = [target.frame(make()) for _ in range(DIFFERENT)]
    path = lab.directory / "flood"
    path.write_bytes(b"".join(frames))
    sender = lab.popen("wan", sys.executable, str(PROGRAM), device, str(path),
                       str(len(frames[0])), str(packets_per_s), stdout=subprocess.PIPE, text=True)
    sent = Sent(ip_bytes=len(frames[0]) - 14)
    try:
        if not sender.stdout.readline():
            raise subprocess.CalledProcessError(sender.wait(), sender.args)
        yield sent
    finally:
        sender.terminate()
        ended, _ = sender.communicate()
    said = json.loads(ended)
    sent.packets, sent.seconds = said["packets"], said["seconds"]


def _send(device: str, path: Path, frame_bytes: int, packets_per_s: float) -> None:
    """Sends the frames round and round until SIGTERM; says how many there were."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    content = path.read_bytes()
    frames = [content[at:at + frame_bytes] for at in range(0, len(content), frame_bytes)]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        print("sending", flush=True)
        sent, lag_s = 0, 0.0
        start = now = time.monotonic()
        while not ended:
            due = min(int((now - start - lag_s) * packets_per_s) - sent, TURN_FRAMES_MAX)
            for number in range(sent, sent + due):
                out.send(frames[number % len(frames)])
            sent += max(due, 0)
            if due == TURN_FRAMES_MAX:
                lag_s = now - start - sent / packets_per_s
            time.sleep(TURN_S)
            now = time.monotonic()
    print(json.dumps({"packets": sent, "seconds": now - start}), flush=True)


# What comes of it.


def sniff(lab: Lab, device: str) -> tuple[bytes, int]:
    """Header and number of a session datagram that an appliance sends into the WAN.

    Where the emulator runs it takes all frames; so this is for while it does not.
    """
    with lab.open_socket("wan", socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 3))
        wire.settimeout(SNIFF_S)
        until = time.monotonic() + SNIFF_S
        while time.monotonic() < until:
            frame = wire.recv(2048)
            payload = frame[HEADERS_BYTES:]
            if (frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP
                    and payload[:1] == bytes([VERSION << 4 | SESSION])):
                return payload[:8], int.from_bytes(payload[8:12], "big")
    raise TimeoutError("the appliance sends its peer nothing")


@dataclass
class Answers:
    """Datagrams of the appliance that came to the attacker's station."""

    cookies: int = 0
    others: int = 0
    payload_bytes_max: int = 0

    @classmethod
    @contextlib.contextmanager
    def collected(cls, lab: Lab, node: str, device: str) -> Iterator[Answers]:
        """Everything that the flood of this block was answered.

        Frames to a station that nobody has go wherever bridges lead: they pass the WAN and the
        other appliance, and are seen where its host is.
        """
        answers = cls()
        with lab.open_socket(node, socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ANSWERS_BYTES_MAX)
            _only_own_udp(wire)
            wire.bind((device, 3))
            wire.setblocking(False)
            yield answers
            with contextlib.suppress(BlockingIOError):
                while True:
                    answers._count(wire.recv(2048))

    def _count(self, frame: bytes) -> None:
        if frame[:6] != STATION:
            return
        payload = frame[HEADERS_BYTES:14 + int.from_bytes(frame[16:18], "big")]
        self.payload_bytes_max = max(self.payload_bytes_max, len(payload))
        if payload[:1] == bytes([HANDSHAKE_VERSION << 4 | HELLO]) and payload[8:9] == bytes([COOKIE]):
            self.cookies += 1
        else:
            self.others += 1


def _only_own_udp(wire: socket.socket) -> None:
    """Lets the kernel keep all but UDP from the appliances' port from a raw socket."""
    instructions = [
        (0x28, 0, 0, 12), (0x15, 0, 5, ETHERTYPE_IPV4),  # ldh ethertype; is it IPv4?
        (0x30, 0, 0, 23), (0x15, 0, 3, socket.IPPROTO_UDP),  # ldb protocol; is it UDP?
        (0x28, 0, 0, 34), (0x15, 0, 1, PORT),  # ldh source port; is it ours?
        (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),  # take it; leave it
    ]
    program = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    code = ctypes.create_string_buffer(program)
    wire.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("@HP", len(instructions), ctypes.addressof(code)))


if __name__ == "__main__":
    _send(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
