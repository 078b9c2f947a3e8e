"""A host made by hand on a LAN: its own MAC and addresses, no kernel behind them.

In:  the device of a lab host, whose kernel stays a neighbour on the same LAN.
Out: frames exactly as the case wants them; the segments that came back, in order. ARP requests and
     neighbour solicitations for its addresses are answered, as a host's would be.
Never: answers anything else: no SYN-ACK, no RST, no acknowledgement that the case did not send.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import time

from . import frames
from .frames import Segment

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
FRAME_BYTES_MAX = 65536


class RawHost:
    """A context manager: the host is there inside its block."""

    def __init__(self, lab, node: str, device: str, number: int) -> None:
        """`number` tells raw hosts apart and ends their addresses."""
        site = lab.site(node[-1])
        self.mac = bytes([0x02, 0x77, 0, site.number, 0, number])
        self.ipv4 = f"10.77.{site.number}.{number}"
        self.ipv6 = f"fd77::{site.number}:{number}"
        self._lab, self._node, self._device = lab, node, device
        self._segments: queue.SimpleQueue[Segment] = queue.SimpleQueue()
        self._macs: dict[str, bytes] = {}
        self._learned = threading.Condition()

    def __enter__(self) -> RawHost:
        self._socket = self._lab.open_socket(self._node, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((self._device, ETH_P_ALL))
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._listen, name="raw host", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._stop)

    def address(self, family: int) -> str:
        """Its address of a family."""
        return self.ipv6 if family == socket.AF_INET6 else self.ipv4

    def send(self, frame: bytes) -> None:
        """Puts a frame on the LAN."""
        self._socket.send(frame)

    def send_ip(self, mac: bytes, packet: bytes) -> None:
        """Puts an IP packet on the LAN, to this MAC."""
        ethertype = frames.ETHERTYPE_IPV6 if packet[0] >> 4 == 6 else frames.ETHERTYPE_IPV4
        self.send(frames.ethernet(mac, self.mac, ethertype, packet))

    def resolve(self, address: str, timeout_s: float = 10) -> bytes:
        """The MAC of a neighbour, asked for once a second."""
        deadline = time.monotonic() + timeout_s
        with self._learned:
            while address not in self._macs:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{address} does not answer ARP or NDP")
                self._ask(address)
                self._learned.wait_for(lambda: address in self._macs, 1)
            return self._macs[address]

    def segment(self, timeout_s: float = 10) -> Segment:
        """The next TCP segment to this host."""
        try:
            return self._segments.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"no segment within {timeout_s} s") from None

    def segment_with(self, flags: int, timeout_s: float = 10) -> Segment:
        """The next TCP segment that has all of these flags; others before it are dropped."""
        deadline = time.monotonic() + timeout_s
        while True:
            segment = self.segment(max(0.001, deadline - time.monotonic()))
            if segment.has(flags):
                return segment

    def no_segment(self, seconds: float) -> bool:
        """Whether none comes for that long."""
        try:
            self._segments.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def _ask(self, address: str) -> None:
        if ":" in address:
            group = b"\x33\x33\xff" + frames.packed(address)[13:]  # RFC 2464, RFC 4291
            packet = frames.neighbour_solicitation(self.ipv6, address, self.mac)
            self.send(frames.ethernet(group, self.mac, frames.ETHERTYPE_IPV6, packet))
        else:
            packet = frames.arp(1, self.mac, self.ipv4, bytes(6), address)
            self.send(frames.ethernet(b"\xff" * 6, self.mac, frames.ETHERTYPE_ARP, packet))

    def _listen(self) -> None:
        while True:
            readable, _, _ = select.select([self._socket, self._stop], [], [])
            if self._socket not in readable:
                return
            self._take(self._socket.recv(FRAME_BYTES_MAX))

    def _take(self, frame: bytes) -> None:
        ethertype = int.from_bytes(frame[12:14], "big")
        if ethertype == frames.ETHERTYPE_ARP:
            self._take_arp(frame)
        elif ethertype == frames.ETHERTYPE_IPV6 and frame[20:21] == b"\x3a":
            self._take_ndp(frame)
        elif frame[:6] == self.mac:
            segment = frames.read_tcp(frame)
            if segment and segment.destination in (self.ipv4, self.ipv6):
                self._segments.put(segment)

    def _take_arp(self, frame: bytes) -> None:
        operation = int.from_bytes(frame[20:22], "big")
        sender_mac, sender = frame[22:28], socket.inet_ntoa(frame[28:32])
        if socket.inet_ntoa(frame[38:42]) != self.ipv4:
            return
        if operation == 1:
            reply = frames.arp(2, self.mac, self.ipv4, sender_mac, sender)
            self.send(frames.ethernet(sender_mac, self.mac, frames.ETHERTYPE_ARP, reply))
        else:
            self._learn(sender, sender_mac)

    def _take_ndp(self, frame: bytes) -> None:
        kind, target = frame[54], frame[62:78]
        source = socket.inet_ntop(socket.AF_INET6, frame[22:38])
        if kind == 135 and target == frames.packed(self.ipv6):
            reply = frames.neighbour_advertisement(self.ipv6, source, self.mac)
            self.send(frames.ethernet(frame[6:12], self.mac, frames.ETHERTYPE_IPV6, reply))
        elif kind == 136 and frame[:6] == self.mac:
            self._learn(socket.inet_ntop(socket.AF_INET6, target), frame[6:12])

    def _learn(self, address: str, mac: bytes) -> None:
        with self._learned:
            self._macs[address] = mac
            self._learned.notify_all()
