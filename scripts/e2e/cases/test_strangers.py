"""A tpo whose peer is somebody else: what looks like its protocol and is not changes nothing."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from support import frames
from support.case import Case, needs_tpo
from support.streams import eventually

SEED = 4321
MAC = bytes.fromhex("027700fe0001")
PORT = 4980
BURST = 64
GROWTH_KIB_MAX = 4096


class Strangers(Case):
    """tpo at site a, and at the other end of its WAN cable this test."""

    spec = "alone"
    fresh = True

    def setUp(self) -> None:
        super().setUp()
        self.wire = self.lab.open_socket("wan", socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(self.wire.close)
        self.wire.bind(("wan-a", 3))
        self.here = self.lab.site("b").wan_interfaces[0].address
        self.there = self.lab.site("a").wan_interfaces[0].address

    def next_datagram(self, seconds_max: float = 10) -> tuple[bytes, bytes]:
        """The MAC of tpo and the next datagram to its peer, as payload; answers its ARP."""
        deadline = time.monotonic() + seconds_max
        while True:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.wire], [], [], left)[0]:
                raise TimeoutError("tpo sends its peer nothing")
            frame = self.wire.recv(2048)
            if frame[12:14] == b"\x08\x06" and frame[38:42] == frames.packed(self.here):
                answer = frames.arp(2, MAC, self.here, frame[22:28], socket.inet_ntoa(frame[28:32]))
                self.wire.send(frames.ethernet(frame[22:28], MAC, frames.ETHERTYPE_ARP, answer))
            elif frame[:6] == MAC and frame[12:14] == b"\x08\x00" and frame[23] == 17:
                length = int.from_bytes(frame[38:40], "big")
                return frame[6:12], frame[42:34 + length]

    def variants(self, hello: bytes) -> Iterator[bytes]:
        """Everything close to a good greeting, and much that is not."""
        pick = random.Random(SEED)
        for length in range(len(hello)):
            yield hello[:length]
        for at in range(len(hello)):
            for value in (0x00, 0x01, 0x7F, 0x80, 0xFF, hello[at] ^ 1):
                yield hello[:at] + bytes([value]) + hello[at + 1:]
        for extra in (1, 2, 40, 1400 - len(hello)):
            yield hello + pick.randbytes(extra)
        for kind in range(256):
            head = bytes([hello[0], kind])
            yield head + hello[2:]
            yield head + pick.randbytes(pick.randint(0, 200))
        for _ in range(2000):
            body = bytearray(hello + pick.randbytes(pick.choice((0, 0, 30, 300))))
            for _ in range(pick.randint(1, 8)):
                body[pick.randrange(len(body))] = pick.getrandbits(8)
            yield bytes(body)

    def resident_kib(self) -> int:
        """Memory that tpo really has."""
        status = Path(f"/proc/{self.lab.programs['tpoa'].pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    def dropped(self) -> int:
        """Datagrams that tpo dropped before or in the data mover."""
        return sum(drop["count"] for drop in self.lab.tpoctl("a", "show", "drops")["drops"]
                   if drop["stage"] in ("demux", "data_mover", "transmit"))

    @needs_tpo
    def test_datagrams_that_are_nearly_right(self) -> None:
        program = self.lab.start_tpo("a")
        mac, hello = self.next_datagram()
        before, memory = self.dropped(), self.resident_kib()
        count = 0
        for count, payload in enumerate(self.variants(hello), 1):
            datagram = frames.udp(self.here, self.there, PORT, PORT, payload)
            packet = frames.ipv4(self.here, self.there, frames.PROTOCOL_UDP, datagram)
            self.wire.send(frames.ethernet(mac, MAC, frames.ETHERTYPE_IPV4, packet))
            if count % BURST == 0:  # so that no queue of the cable is overrun
                self.lab.tpoctl("a", "show", "peer")
        # Some of them are what a peer may well say; the others are counted, all of them.
        eventually("they are counted", lambda: self.dropped() - before >= count // 2, 10)
        self.assertTrue(program.running)
        self.assertLess(self.resident_kib() - memory, GROWTH_KIB_MAX)
        self.lab.run("hosta", "ping", "-c", "1", "-W", "5",
                     self.lab.site("a").lan_interfaces[0].address)
