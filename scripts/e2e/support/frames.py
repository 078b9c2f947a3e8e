"""Ethernet frames built and read by hand, for what no socket will send.

In:  addresses as text, header fields as numbers, payload as bytes.
Out: frames as bytes with correct lengths and checksums (a case that wants them wrong breaks them
     afterwards), and the fields of TCP segments read back from frames.
Never: sends or receives.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_VLAN = 0x8100
ETHERTYPE_IPV6 = 0x86DD

PROTOCOL_ICMP = 1
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
PROTOCOL_ICMPV6 = 58

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

ETHERNET_BYTES = 14


def mac_bytes(text: str) -> bytes:
    """`02:00:00:00:00:01` as six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    """An IPv4 or IPv6 address as 4 or 16 bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(destination: bytes, source: bytes, ethertype: int, payload: bytes) -> bytes:
    """A frame, padded to the 60 bytes that Ethernet asks for."""
    frame = destination + source + struct.pack("!H", ethertype) + payload
    return frame + bytes(max(0, 60 - len(frame)))


def ipv4(source: str, destination: str, protocol: int, payload: bytes, *,
         ttl: int = 64, tos: int = 0, identification: int = 1, fragment: int = 0x4000,
         options: bytes = b"") -> bytes:
    """A packet; `fragment` is the field of flags and offset, `options` a multiple of 4 bytes."""
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH4s4s", 0x40 | words, tos, words * 4 + len(payload),
                         identification, fragment, ttl, protocol, 0,
                         packed(source), packed(destination)) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes, *,
         hop_limit: int = 64, traffic_class: int = 0) -> bytes:
    """A packet without extension headers (put them in front of the payload to have some)."""
    return struct.pack("!IHBB16s16s", 6 << 28 | traffic_class << 20, len(payload), protocol,
                       hop_limit, packed(source), packed(destination)) + payload


def ip(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """A packet of the family that the addresses are of."""
    build = ipv6 if ":" in source else ipv4
    return build(source, destination, protocol, payload)


def _pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    return packed(source) + packed(destination) + struct.pack("!II", length, protocol)


def _filled(source: str, destination: str, protocol: int, header: bytes, at: int,
            payload: bytes) -> bytes:
    """`header` + `payload` with the checksum put in at byte `at`."""
    value = checksum(_pseudo(source, destination, protocol, len(header) + len(payload))
                     + header + payload)
    if protocol == PROTOCOL_UDP and value == 0:
        value = 0xFFFF  # RFC 768: zero says that there is no checksum
    return header[:at] + struct.pack("!H", value) + header[at + 2:] + payload


def tcp(source: str, destination: str, source_port: int, destination_port: int, *,
        sequence: int = 0, acknowledgement: int = 0, flags: int = ACK, window: int = 65535,
        urgent: int = 0, options: bytes = b"", payload: bytes = b"") -> bytes:
    """A segment; `options` must be a multiple of 4 bytes."""
    header = struct.pack("!HHIIBBHHH", source_port, destination_port, sequence & 0xFFFF_FFFF,
                         acknowledgement & 0xFFFF_FFFF, (5 + len(options) // 4) << 4, flags,
                         window, 0, urgent) + options
    return _filled(source, destination, PROTOCOL_TCP, header, 16, payload)


def udp(source: str, destination: str, source_port: int, destination_port: int,
        payload: bytes) -> bytes:
    """A datagram."""
    header = struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0)
    return _filled(source, destination, PROTOCOL_UDP, header, 6, payload)


def icmp_echo(source: str, destination: str, identifier: int, sequence: int,
              payload: bytes) -> bytes:
    """An echo request of the family that the addresses are of."""
    if ":" in source:
        header = struct.pack("!BBHHH", 128, 0, 0, identifier, sequence)
        return _filled(source, destination, PROTOCOL_ICMPV6, header, 2, payload)
    message = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence) + payload
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def arp(operation: int, sender_mac: bytes, sender: str, target_mac: bytes, target: str) -> bytes:
    """An ARP packet: operation 1 asks, 2 answers."""
    return struct.pack("!HHBBH6s4s6s4s", 1, ETHERTYPE_IPV4, 6, 4, operation, sender_mac,
                       packed(sender), target_mac, packed(target))


def neighbour_advertisement(source: str, destination: str, mac: bytes) -> bytes:
    """A solicited neighbour advertisement with the target's link-layer address (RFC 4861)."""
    header = struct.pack("!BBHI16sBB6s", 136, 0, 0, 0x6000_0000, packed(source), 2, 1, mac)
    return ipv6(source, destination, PROTOCOL_ICMPV6,
                _filled(source, destination, PROTOCOL_ICMPV6, header, 2, b""), hop_limit=255)


def neighbour_solicitation(source: str, target: str, mac: bytes) -> bytes:
    """A neighbour solicitation to everybody who may be the target."""
    group = socket.inet_ntop(socket.AF_INET6, packed("ff02::1:ff00:0")[:13] + packed(target)[13:])
    header = struct.pack("!BBHI16sBB6s", 135, 0, 0, 0, packed(target), 1, 1, mac)
    return ipv6(source, group, PROTOCOL_ICMPV6,
                _filled(source, group, PROTOCOL_ICMPV6, header, 2, b""), hop_limit=255)


@dataclass(frozen=True)
class Segment:
    """A TCP segment as it was found in a frame."""

    source_mac: bytes
    source: str
    destination: str
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    dscp: int
    payload: bytes

    def has(self, flags: int) -> bool:
        """Whether all of these flags are set."""
        return self.flags & flags == flags


def read_tcp(frame: bytes) -> Segment | None:
    """The TCP segment in a frame, or None; extension headers are not followed."""
    ethertype = int.from_bytes(frame[12:14], "big")
    packet = frame[ETHERNET_BYTES:]
    if ethertype == ETHERTYPE_IPV4 and len(packet) >= 20 and packet[9] == PROTOCOL_TCP:
        family, source, destination = socket.AF_INET, packet[12:16], packet[16:20]
        body = packet[(packet[0] & 15) * 4:int.from_bytes(packet[2:4], "big")]
        dscp = packet[1] >> 2
    elif ethertype == ETHERTYPE_IPV6 and len(packet) >= 40 and packet[6] == PROTOCOL_TCP:
        family, source, destination = socket.AF_INET6, packet[8:24], packet[24:40]
        body = packet[40:40 + int.from_bytes(packet[4:6], "big")]
        dscp = int.from_bytes(packet[0:2], "big") >> 6 & 0x3F
    else:
        return None
    if len(body) < 20:
        return None
    source_port, destination_port, sequence, acknowledgement, offset, flags, window = (
        struct.unpack("!HHIIBBH", body[:16]))
    return Segment(frame[6:12], socket.inet_ntop(family, source),
                   socket.inet_ntop(family, destination), source_port, destination_port, sequence,
                   acknowledgement, flags, window, dscp, body[(offset >> 4) * 4:])
