"""What no rule takes passes bit for bit; what is malformed changes nothing but a counter."""

from __future__ import annotations

import random
import socket
import struct

from support import frames
from support.case import Case, needs_tpo
from support.labs import namespaces
from support.rawhost import RawHost
from support.streams import (EOF, MIB, content, digest, eventually, receive_all, receive_exactly,
                             send_all)

SEED = 1234
TESTED = 0x88B5  # an EtherType for local experiments (IEEE 802)
CAPTURE_SECONDS_MAX = 20


def shuffled_frames(source: RawHost, destination: bytes, seed: int) -> list[bytes]:
    """Frames of many kinds that no rule takes, each with a number, so that no two are alike."""
    pick = random.Random(seed)
    here, there = source.ipv4, "10.77.2.250" if ".77.1." in source.ipv4 else "10.77.1.250"
    here6, there6 = source.ipv6, "fd77::2:250" if ".77.1." in source.ipv4 else "fd77::1:250"
    made = []

    def frame(ethertype: int, payload: bytes, to: bytes = destination) -> None:
        made.append(frames.ethernet(to, source.mac, ethertype, payload))

    for number in range(40):
        data = struct.pack("!I", number) + pick.randbytes(pick.randint(0, 1400))
        frame(TESTED, data)
        frame(TESTED, data[:40], b"\xff" * 6)
        frame(TESTED, data[:60], b"\x01\x00\x5e\x01\x02\x03")
        # 802.3 with a length in place of a type.
        frame(len(data[:900]), data[:900])
        # IP protocols that no rule names, with and without options.
        frame(frames.ETHERTYPE_IPV4, frames.ipv4(here, there, 50, data))
        frame(frames.ETHERTYPE_IPV4, frames.ipv4(here, there, 132, data, options=b"\x01" * 8))
        frame(frames.ETHERTYPE_IPV6, frames.ipv6(here6, there6, 132, data))
        # Checksums that are wrong, in what is none of our business, stay wrong.
        wrong = bytearray(frames.ipv4(here, there, 89, data))
        wrong[10] ^= 0xFF
        frame(frames.ETHERTYPE_IPV4, bytes(wrong))
        # A rule's protocol, but not between the rule's networks.
        segment = frames.tcp("192.0.2.1", "198.51.100.1", 1000 + number, 80, sequence=number,
                             flags=frames.SYN, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
        frame(frames.ETHERTYPE_IPV4, frames.ipv4("192.0.2.1", "198.51.100.1", 6, segment, ttl=3))
        # A tagged frame: the tag's priority and number stay.
        tag = struct.pack("!HH", pick.randrange(8) << 13 | 100 + number, TESTED)
        frame(frames.ETHERTYPE_VLAN, tag + data[:1200])
    return made


class Bridging(Case):
    """Frames from one LAN that must appear on the other."""

    loss = "0"

    def check(self, sender: str, receiver: str) -> None:
        mac = bytes([0x02, 0x77, 0, 0xEE, 0, 1])
        with RawHost(self.lab, sender, "eth0", 50) as source, \
                self.lab.capture(receiver) as capture:
            sent = shuffled_frames(source, mac, SEED)
            for start in range(0, len(sent), 50):
                for frame in sent[start:start + 50]:
                    source.send(frame)
                mine = self.wait_for(capture, source, start + len(sent[start:start + 50]))
        self.assertEqual([frame.hex() for frame in mine], [frame.hex() for frame in sent])

    def wait_for(self, capture, source: RawHost, count: int) -> list[bytes]:
        """The frames of a raw host among those captured, once there are `count` of them."""
        def mine() -> list[bytes]:
            return [frame for frame in capture.frames if frame[6:12] == source.mac]

        eventually(f"{count} frames on the other side", lambda: len(mine()) >= count,
                   CAPTURE_SECONDS_MAX, 0.02)
        return mine()

    def test_bit_for_bit_from_a_to_b(self) -> None:
        self.check("hosta", "hostb")

    def test_bit_for_bit_from_b_to_a(self) -> None:
        self.check("hostb", "hosta")


class Malformed(Case):
    """Frames and datagrams that no honest host sends, in their thousands, beside an honest flow."""

    loss = "0"
    may_pass = True

    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = self.pair()
        self.addCleanup(self.check_honest_flow)

    def check_honest_flow(self) -> None:
        """The flow that was open all the time, and a new one, still carry what they are given."""
        new_client, new_server = self.pair()
        for number, (client, server) in enumerate(((self.client, self.server),
                                                   (new_client, new_server))):
            data = content(50 + number, MIB)
            sending = self.background(send_all, client, data, True)
            received = receive_all(server)
            self.assertEqual((received.sha256, received.end), (digest(data), EOF))
            sending.result()
            client.close()
            server.close()

    def flood(self, attacks: list[bytes], raw: RawHost) -> None:
        """Sends frames in bursts that the LAN can hold, a byte of the honest flow after each."""
        for start in range(0, len(attacks), 100):
            for frame in attacks[start:start + 100]:
                raw.send(frame)
            self.client.sendall(b"?")
            self.assertEqual(receive_exactly(self.server, 1), b"?")

    def templates(self, raw: RawHost, mac: bytes) -> list[bytes]:
        """One good frame of each kind that tpo reads."""
        here, there = raw.ipv4, self.address("hostb")
        here6, there6 = raw.ipv6, self.address("hostb", socket.AF_INET6)
        options = bytes.fromhex("020405b40402080a000000010000000001030307")
        own = self.lab.site("a").lan_interfaces[0].address
        port = self.server.getsockname()[1]

        def segment(source: str, destination: str) -> bytes:
            return frames.tcp(source, destination, 5000, port, flags=frames.SYN, sequence=1,
                              options=options, payload=b"early")

        good = [frames.ipv4(here, there, frames.PROTOCOL_TCP, segment(here, there)),
                frames.ipv6(here6, there6, frames.PROTOCOL_TCP, segment(here6, there6)),
                # Hop-by-hop options, then a fragment header, then the segment.
                frames.ipv6(here6, there6, 0, bytes.fromhex("2c00010400000000")
                            + bytes.fromhex("0600000000000001") + segment(here6, there6)),
                frames.ipv4(here, there, frames.PROTOCOL_UDP,
                            frames.udp(here, there, 5001, 9, b"datagram")),
                frames.ipv4(here, there, frames.PROTOCOL_ICMP,
                            frames.icmp_echo(here, there, 7, 1, b"echo")),
                frames.ipv6(here6, there6, frames.PROTOCOL_ICMPV6,
                            frames.icmp_echo(here6, there6, 7, 1, b"echo"))]
        made = [frames.ethernet(mac, raw.mac, frames.ETHERTYPE_IPV6 if packet[0] >> 4 == 6
                                else frames.ETHERTYPE_IPV4, packet) for packet in good]
        made.append(frames.ethernet(b"\xff" * 6, raw.mac, frames.ETHERTYPE_ARP,
                                    frames.arp(1, raw.mac, here, bytes(6), own)))
        made.append(frames.ethernet(mac, raw.mac, frames.ETHERTYPE_IPV6,
                                    frames.neighbour_solicitation(here6, there6, raw.mac)))
        return made

    def test_truncated_at_every_byte(self) -> None:
        with RawHost(self.lab, "hosta", "eth0", 51) as raw:
            mac = raw.resolve(self.address("hostb"))
            self.flood([frame[:length] for frame in self.templates(raw, mac)
                        for length in range(14, len(frame))], raw)

    def test_every_byte_wrong(self) -> None:
        # Wrong lengths, versions, checksums, offsets and option lengths are all among these.
        with RawHost(self.lab, "hosta", "eth0", 52) as raw:
            mac = raw.resolve(self.address("hostb"))
            attacks = []
            for frame in self.templates(raw, mac):
                for at in range(12, min(len(frame), 110)):
                    for value in (0x00, 0x01, 0x7F, 0xFF, frame[at] ^ 0x80):
                        attacks.append(frame[:at] + bytes([value]) + frame[at + 1:])
            self.flood(attacks, raw)

    def test_absurd_options(self) -> None:
        pick = random.Random(SEED)
        there, port = self.address("hostb"), self.server.getsockname()[1]
        with RawHost(self.lab, "hosta", "eth0", 53) as raw:
            mac = raw.resolve(there)
            absurd = [bytes([kind, length]) + bytes(38) for kind in (2, 3, 4, 5, 8, 19, 29, 30, 254)
                      for length in (0, 1, 2, 3, 9, 10, 11, 18, 40, 41, 255)]
            absurd += [bytes([2, 4, 0, 0]), bytes([2, 4, 0, 1]), bytes([3, 3, 255, 1]),
                       b"\x01" * 40, bytes([5, 10]) + b"\xff" * 8 + bytes([1, 1])]
            absurd += [pick.randbytes(40) for _ in range(200)]
            begun = []
            for options in absurd:
                for flags in (frames.SYN, frames.ACK, 0, 0xFF, frames.SYN | frames.FIN,
                              frames.SYN | frames.RST):
                    source_port, sequence = pick.randint(1024, 65535), pick.getrandbits(32)
                    raw.send_ip(mac, frames.ipv4(raw.ipv4, there, 6, frames.tcp(
                        raw.ipv4, there, source_port, port, flags=flags, options=options,
                        sequence=sequence)))
                    begun.append((source_port, sequence))
                # Inside the honest flow's own 4-tuple, at sequence numbers that cannot be right.
                raw.send_ip(mac, frames.ipv4(self.address("hosta"), there, 6, frames.tcp(
                    self.address("hosta"), there, self.client.getsockname()[1], port,
                    flags=frames.ACK, options=options, sequence=pick.getrandbits(32),
                    acknowledgement=pick.getrandbits(32), window=0)))
            self.flood([], raw)
            for source_port, sequence in begun:  # leaves nothing half open
                raw.send_ip(mac, frames.ipv4(raw.ipv4, there, 6, frames.tcp(
                    raw.ipv4, there, source_port, port, flags=frames.RST, sequence=sequence + 1)))

    @needs_tpo
    def test_malformed_datagrams_on_our_port(self) -> None:
        pick = random.Random(SEED)
        a, b = self.lab.site("a"), self.lab.site("b")
        wan = self.lab.open_socket("wan", socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(wan.close)
        wan.bind(("wan-b", 0))
        mac = frames.mac_bytes(namespaces.hardware_address(self.lab.namespace("tpob"), "wan0"))
        there = b.wan_interfaces[0].address
        before = self.dropped("b")
        count = 0
        for here in (a.wan_interfaces[0].address, "10.77.9.9"):
            payloads = [pick.randbytes(length) for length in range(0, 1472, 7)]
            # Every version and type there can be, before a body of every short length.
            payloads += [bytes([first, second]) + pick.randbytes(pick.randint(0, 64))
                         for first in range(0, 256, 5) for second in range(16)]
            for payload in payloads:
                packet = frames.ipv4(here, there, 17, frames.udp(here, there, 4980, 4980, payload))
                wan.send(frames.ethernet(mac, b"\x02\x77\0\0\0\x99", frames.ETHERTYPE_IPV4, packet))
                count += 1
            self.flood([], None)
        eventually("each is counted", lambda: self.dropped("b") - before >= count * 9 // 10, 10)

    def dropped(self, side: str) -> int:
        """All frames that an appliance dropped, whatever the reason."""
        return sum(drop["count"] for drop in self.lab.tpoctl(side, "show", "drops")["drops"])
