"""TCP by hand: what a kernel cannot be made to send, answered as RFC 9293 asks."""

from __future__ import annotations

import socket
import struct

from support import frames
from support.case import Case, both_families
from support.frames import ACK, FIN, RST, SYN
from support.rawhost import RawHost
from support.streams import EOF, end_of, receive_exactly, silent_for

TCP_MD5SIG = 14
MSS = bytes.fromhex("020405b4")
ISN = 0xFFFF_FF00
"""Near the top, so that the sequence space wraps early."""


class Raw(Case):
    """A raw client at site a, the kernel's server at site b."""

    loss = "0"

    def raw_client(self, family: int, number: int) -> None:
        """Makes the client and a listener; `self.send` then sends segments between them."""
        self.listener = self.listen("hostb", family)
        self.raw = self.enterContext(RawHost(self.lab, "hosta", "eth0", number))
        there, port = self.listener.getsockname()[:2]
        here, mac = self.raw.address(family), self.raw.resolve(there)

        def send(flags: int, sequence: int, acknowledgement: int = 0, **fields) -> None:
            self.raw.send_ip(mac, frames.ip(here, there, 6, frames.tcp(
                here, there, 5000 + number, port, flags=flags, sequence=sequence,
                acknowledgement=acknowledgement, **fields)))

        self.send = send

    def open(self, window: int = 65535) -> tuple[socket.socket, int]:
        """A connection made in the ordinary way; the server's end, and what to acknowledge next."""
        self.send(SYN, ISN, options=MSS)
        answer = self.raw.segment_with(SYN | ACK)
        self.assertEqual(answer.acknowledgement, ISN + 1)
        self.send(ACK, ISN + 1, answer.sequence + 1, window=window)
        return self.accept(self.listener), answer.sequence + 1


class Segments(Raw):
    """A connection that one end makes by hand."""

    @both_families
    def test_retransmitted_syn(self, family: int) -> None:
        self.raw_client(family, 60)
        for _ in range(4):  # all of them before the answer, which takes a round trip of the WAN
            self.send(SYN, ISN, options=MSS)
        first = self.raw.segment_with(SYN | ACK)
        self.send(SYN, ISN, options=MSS)  # and once more after it
        self.send(ACK, ISN + 1, first.sequence + 1, payload=b"once")
        server = self.accept(self.listener)
        self.assertEqual(receive_exactly(server, 4), b"once")
        self.assertTrue(silent_for(self.listener, 0.5), "one client, two connections")
        for number in range(4):  # whatever else was said about it, it was the same handshake
            if self.raw.no_segment(0.05):
                break
        server.sendall(b"back")
        answer = self.raw.segment_with(frames.PSH)
        self.assertEqual((answer.sequence, answer.payload), (first.sequence + 1, b"back"))
        self.send(RST, ISN + 5, 0)

    def test_data_out_of_order_and_twice(self) -> None:
        self.raw_client(socket.AF_INET, 61)
        server, acknowledgement = self.open()
        data = bytes(range(256)) * 8
        pieces = [(at, data[at:at + 300]) for at in range(0, len(data), 200)]
        for at, piece in [*reversed(pieces), *pieces]:
            self.send(ACK, ISN + 1 + at, acknowledgement, payload=piece)
        self.assertEqual(receive_exactly(server, len(data)), data)
        self.send(FIN | ACK, ISN + 1 + len(data), acknowledgement)
        self.assertEqual(end_of(server), EOF)
        server.close()
        fin = self.raw.segment_with(FIN)
        self.send(ACK, ISN + 2 + len(data), fin.sequence + 1)

    def test_segment_in_fragments(self) -> None:
        self.raw_client(socket.AF_INET, 66)
        server, acknowledgement = self.open()
        data = bytes(range(256)) * 4
        there, port = self.listener.getsockname()
        segment = frames.tcp(self.raw.ipv4, there, 5066, port, sequence=ISN + 1,
                             acknowledgement=acknowledgement, payload=data)
        mac = self.raw.resolve(there)
        cut = 512  # a multiple of 8, as offsets are counted in units of 8 bytes
        for more, at, part in ((0x2000, 0, segment[:cut]), (0, cut, segment[cut:])):
            self.raw.send_ip(mac, frames.ipv4(self.raw.ipv4, there, frames.PROTOCOL_TCP, part,
                                              identification=4711, fragment=more | at // 8))
        self.assertEqual(receive_exactly(server, len(data)), data)
        self.send(RST, ISN + 1 + len(data))

    def test_reset_outside_the_window_is_ignored(self) -> None:
        self.raw_client(socket.AF_INET, 62)
        server, acknowledgement = self.open()
        for sequence in (ISN - 1, ISN + 1 + (1 << 30), ISN + 1 + (1 << 31)):
            self.send(RST, sequence)
        self.send(ACK, ISN + 1, acknowledgement, payload=b"alive")
        self.assertEqual(receive_exactly(server, 5), b"alive")
        self.send(RST, ISN + 6)
        with self.assertRaises(ConnectionResetError):
            server.recv(1)

    def test_data_beyond_the_window_is_not_delivered(self) -> None:
        self.raw_client(socket.AF_INET, 63)
        server, acknowledgement = self.open()
        self.send(ACK, ISN + 1 + (1 << 30), acknowledgement, payload=b"far away")
        self.assertTrue(self.raw.segment_with(ACK).acknowledgement == ISN + 1)
        self.send(ACK, ISN + 1, acknowledgement, payload=b"near")
        self.assertEqual(receive_exactly(server, 4), b"near")
        self.assertTrue(silent_for(server, 0.3))
        self.send(RST, ISN + 5)

    def test_zero_window_is_probed(self) -> None:
        self.raw_client(socket.AF_INET, 64)
        server, acknowledgement = self.open(window=0)
        server.sendall(b"patience")
        probes = 0
        while probes < 3:
            probe = self.raw.segment(30)
            self.assertLessEqual(len(probe.payload), 1)
            self.assertFalse(probe.has(RST))
            probes += 1
            self.send(ACK, ISN + 1, acknowledgement, window=0)
        self.send(ACK, ISN + 1, acknowledgement, window=1000)
        got = b""
        while len(got) < 8:
            segment = self.raw.segment(30)
            at = segment.sequence - acknowledgement
            if segment.payload and at <= len(got):
                got = got[:at] + segment.payload
        self.assertEqual(got, b"patience")
        self.send(RST, ISN + 1)


class Strays(Raw):
    """Segments of connections that tpo has not seen begin."""

    may_pass = True

    def test_segments_of_an_unknown_connection_pass(self) -> None:
        # Its SYN was not seen, so it is none of tpo's: the server's own kernel answers.
        self.raw_client(socket.AF_INET, 65)
        self.send(ACK, 77, 88, payload=b"who are you?")
        reset = self.raw.segment_with(RST)
        self.assertEqual(reset.sequence, 88)

    def test_signed_connection_passes_untouched(self) -> None:
        # RFC 2385: a signature covers addresses and ports, so nobody in between can split it.
        listener = self.listen("hostb")
        listener.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, signature(self.address("hosta")))
        client = self.new_socket("hosta")
        client.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, signature(self.address("hostb")))
        client.connect(listener.getsockname())
        server = self.accept(listener)
        client.sendall(b"signed")
        self.assertEqual(receive_exactly(server, 6), b"signed")


def signature(peer: str) -> bytes:
    """struct tcp_md5sig for a peer's address, with a key that both ends share."""
    address = struct.pack("=H2x4s", socket.AF_INET, socket.inet_aton(peer)).ljust(128, b"\0")
    key = b"known to both"
    return address + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)
