"""What tpo counts is what the cables carried, and what it does not forward has a name."""

from __future__ import annotations

import socket

from support.case import Case, needs_tpo
from support.streams import (EOF, MIB, Nothing, content, digest, eventually, receive_all,
                             send_all)


class Counters(Case):
    """Compared with the kernel's counters at the other ends of the cables and the emulator's."""

    loss = "0"

    def ports(self, side: str) -> dict[str, int]:
        """Frames that an appliance counted at its ports."""
        counted = self.lab.tpoctl(side, "show", "port", "stats", "all")["ports"]
        return {f"{name}.{key}": port[key] + (port["rx_missed"] if key == "rx_packets" else 0)
                for name, port in zip(("lan", "wan"), counted)
                for key in ("rx_packets", "tx_packets")}

    def cables(self, side: str) -> dict[str, int]:
        """The same frames, counted by whoever is at the other end."""
        host = self.lab.counters(f"host{side}")
        wan = self.lab.wanem("stats")["ports"][side]
        return {"lan.rx_packets": host.tx_packets, "lan.tx_packets": host.rx_packets,
                "wan.rx_packets": wan["frames_sent"],
                "wan.tx_packets": wan["frames_received"] + wan["rx_missed"]}

    def drops(self, side: str) -> dict[str, int]:
        """What an appliance did not forward, by stage and reason."""
        return {f"{drop['stage']}.{drop['name']}": drop["count"]
                for drop in self.lab.tpoctl(side, "show", "drops")["drops"]}

    def move(self, size: int) -> None:
        """A megabyte or so in both directions, TCP and UDP."""
        client, server = self.pair()
        for sender, receiver in ((client, server), (server, client)):
            data = content(90, size)
            self.background(send_all, sender, data, True)
            received = receive_all(receiver)
            self.assertEqual((received.sha256, received.end), (digest(data), EOF))
        talker, listener = (self.new_socket(node, kind=socket.SOCK_DGRAM)
                            for node in ("hosta", "hostb"))
        listener.bind((self.address("hostb"), 0))
        talker.connect(listener.getsockname())
        for number in range(100):
            talker.send(bytes([number]))
            self.assertEqual(listener.recv(10), bytes([number]))

    def both(self, side: str) -> tuple[dict[str, int], dict[str, int]]:
        """Both counts of one moment: nothing came or went while the cables were read."""
        def read() -> tuple[dict[str, int], dict[str, int]] | None:
            ports, cables = self.ports(side), self.cables(side)
            return (ports, cables) if self.ports(side) == ports else None

        return eventually(f"nothing passes tpo{side} for a moment", read, 20)

    @needs_tpo
    def test_ports_count_what_the_cables_carried(self) -> None:
        before = {side: self.both(side) for side in "ab"}
        self.move(8 * MIB)
        for side in "ab":
            ports_before, cables_before = before[side]

            def difference() -> Nothing:
                # Keepalives go on, so both are read until they were read in a quiet moment.
                cables, ports = self.cables(side), self.ports(side)
                return Nothing({key: more for key in ports if (
                    more := ports[key] - ports_before[key] - cables[key] + cables_before[key])})

            eventually(f"tpo{side} and its cables agree", difference, 20)

    @needs_tpo
    def test_bytes_of_a_peer_are_those_on_the_link(self) -> None:
        def sent() -> tuple[int, int]:
            peer = self.lab.tpoctl("a", "show", "peer")["peers"][0]["to_peer"]["wan_bytes"]
            return peer, self.lab.wanem("stats")["a_to_b"]["counters"]["bytes_in"]

        peer_before, link_before = sent()
        self.move(16 * MIB)
        peer_after, link_after = sent()
        # Questions for neighbours are on the link and not for the peer, and a keepalive may come
        # between the two readings.
        self.assertAlmostEqual(peer_after - peer_before, link_after - link_before, delta=2000)

    @needs_tpo
    def test_nothing_is_dropped_on_a_good_link(self) -> None:
        before = {side: self.drops(side) for side in "ab"}
        self.move(8 * MIB)
        for side in "ab":
            after = self.drops(side)
            # A full window makes a host probe with bytes that were there already.
            news = {name: after[name] - before[side][name] for name in after
                    if after[name] != before[side][name] and not name.startswith("edge.segments_")}
            self.assertEqual(news, {})
