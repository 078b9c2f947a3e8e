"""A link that fails, and an appliance that is killed, under traffic of every kind."""

from __future__ import annotations

import signal
import socket
import subprocess
import time

from support import counters
from support.case import Case, needs_tpo
from support.streams import (
    EOF, MIB, digest, eventually, receive_all, receive_exactly, send_all, text)
from support.traffic import Traffic

ENDLESS = 128 * MIB
"""More than the link carries before it is cut."""
RECOVERY_SECONDS_MAX = 5
"""A restarted appliance carries new connections after at most this long."""


class Disturbance(Case):
    """What the cases here share."""

    def exchange(self, node: str = "hosta", seconds_max: float = 1) -> bool:
        """Whether a host can make a new connection that carries data both ways, in that time."""
        listener = self.listen("hostb" if node == "hosta" else "hosta")
        listener.settimeout(seconds_max)
        client = self.new_socket(node)
        client.settimeout(seconds_max)
        try:
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                server.settimeout(seconds_max)
                client.sendall(b"ping")
                server.sendall(receive_exactly(server, 4)[::-1])
                return receive_exactly(client, 4) == b"gnip"
        except OSError:
            return False
        finally:
            client.close()
            listener.close()


class Link(Disturbance):
    """The WAN is cut for less than the time after which a peer counts as dead."""

    def test_dead_for_three_seconds(self) -> None:
        traffic = Traffic.start(self, 64 * MIB)
        self.lab.wanem("down")
        time.sleep(3)  # the length of the failure is the case
        self.assertFalse(any(flow.receiving.done() for flow in traffic.flows))
        self.lab.wanem("up")
        traffic.check_whole()

    def test_swallows_everything_for_three_seconds(self) -> None:
        # Unlike a cut, nobody can see this one: the devices stay up.
        traffic = Traffic.start(self, 64 * MIB)
        self.lab.wanem("blackhole on")
        time.sleep(3)
        self.lab.wanem("blackhole off")
        traffic.check_whole()

    def test_connection_opened_while_the_link_is_dead(self) -> None:
        listener = self.listen("hostb")
        self.lab.wanem("down")
        client = self.new_socket("hosta")
        connecting = self.background(client.connect, listener.getsockname())
        time.sleep(1.5)
        self.assertFalse(connecting.done(), "accepted in the name of a host that cannot be asked")
        self.lab.wanem("up")
        server = self.accept(listener)
        connecting.result()
        server.sendall(b"late, but here")
        self.assertEqual(receive_exactly(client, 14), b"late, but here")

    def test_everything_the_link_can_do_to_packets(self) -> None:
        hostile = {"loss": "2%", "duplicate": "2%", "corrupt": "1%", "reorder": "2%",
                   "reorder-delay": "10ms", "jitter": "5ms", "jitter-reorder": "on"}
        self.addCleanup(lambda: [self.lab.wanem(f"set both {key} {calm}") for key, calm in (
            ("loss", self.loss), ("duplicate", "0"), ("corrupt", "0"), ("reorder", "0"),
            ("jitter", "0ms"))])
        for key, value in hostile.items():
            self.lab.wanem(f"set both {key} {value}")
        Traffic.start(self, 16 * MIB).check_whole()


class PathMtu(Disturbance):
    """The path takes shorter packets than the ports of the appliances."""

    def path_mtu(self, side: str) -> int:
        """The longest packet that an appliance sends to its peer."""
        return self.lab.tpoctl(side, "show", "peer")["peers"][0]["path_mtu"]

    @needs_tpo
    def test_shrinks_in_mid_transfer(self) -> None:
        self.addCleanup(self.lab.wanem, "set both mtu 0")
        traffic = Traffic.start(self, 48 * MIB)
        self.lab.wanem("set both mtu 1400")
        traffic.check_whole()
        for side in "ab":
            self.assertLessEqual(self.path_mtu(side), 1400)
            eventually(f"tpo{side} finds what the path takes",
                       lambda side=side: self.path_mtu(side) > 1360, 20)
            self.assertEqual(self.lab.tpoctl(side, "show", "peer")["peers"][0]["state"], "up")
        ways = self.lab.wanem("stats")
        for way in ("a_to_b", "b_to_a"):
            self.assertGreater(ways[way]["counters"]["drop_oversize_packets"], 0)
        Traffic.start(self, 8 * MIB, socket.AF_INET6).check_whole()


class LostPeer(Disturbance):
    """The WAN is cut for longer than the peer may be silent (4 s here)."""

    spec = "short-lived-peer"
    loss = "0"
    may_pass = True

    @needs_tpo
    def test_dead_for_longer_than_the_peer_may_be_silent(self) -> None:
        traffic = Traffic.start(self, ENDLESS)
        self.lab.wanem("down")
        traffic.check_cut()  # while it is still down: nobody is left hanging
        self.lab.wanem("up")
        eventually("new connections work", self.exchange, 20)


class Killed(Disturbance):
    """An appliance is killed in mid-transfer and started again."""

    may_pass = True  # what begins before both have found each other again

    @needs_tpo
    def test_killed_at_site_a(self) -> None:
        self.kill_and_restart("a")

    @needs_tpo
    def test_killed_at_site_b(self) -> None:
        self.kill_and_restart("b")

    @needs_tpo
    def test_killed_under_ipv6(self) -> None:
        self.kill_and_restart("b", socket.AF_INET6)

    def kill_and_restart(self, side: str, family: int = socket.AF_INET) -> None:
        """Both hosts of every connection must see a reset, on both sides."""
        traffic = Traffic.start(self, ENDLESS, family)
        self.assertEqual(self.lab.programs[f"tpo{side}"].kill(), -signal.SIGKILL)
        self.lab.start_tpo(side)
        for node in ("hosta", "hostb"):
            eventually(f"new connections of {node} work", lambda node=node: self.exchange(node),
                       RECOVERY_SECONDS_MAX)
        traffic.check_cut()

    @needs_tpo
    def test_stopped_in_order(self) -> None:
        # An ordered stop drains first, and what then remains is reset.
        traffic = Traffic.start(self, ENDLESS)
        program = self.lab.programs["tpob"]
        program.send_signal(signal.SIGTERM)
        self.assertEqual(program.wait(30), 0)
        self.lab.start_tpo("b")
        traffic.check_cut()
        eventually("new connections work", self.exchange, RECOVERY_SECONDS_MAX)

    @needs_tpo
    def test_second_signal_does_not_wait(self) -> None:
        traffic = Traffic.start(self, ENDLESS)
        program = self.lab.programs["tpob"]
        program.send_signal(signal.SIGTERM)
        eventually("it takes no more orders", lambda: not self.takes_orders("b"), 10)

        def is_ended_by_another() -> bool:
            program.send_signal(signal.SIGTERM)
            return not program.running

        eventually("another signal ends it", is_ended_by_another, 10)
        # In order it would have been 0.
        self.assertEqual(program.wait(30), 1)
        self.lab.start_tpo("b")
        traffic.check_cut()
        eventually("new connections work", self.exchange, RECOVERY_SECONDS_MAX)

    def takes_orders(self, side: str) -> bool:
        """Whether an appliance answers on its control socket."""
        try:
            self.lab.tpoctl(side, "show", "peer")
        except Exception:  # whatever it was, there is no answer
            return False
        return True


class LanLoss(Case):
    """Both LANs lose one frame in a hundred, in both directions."""

    spec = "lan-loss"
    loss = "0"

    def test_one_percent_on_both_sides(self) -> None:
        Traffic.start(self, 16 * MIB).check_whole()

    def test_one_percent_over_ipv6(self) -> None:
        Traffic.start(self, 8 * MIB, socket.AF_INET6).check_whole()


class Placement(Case):
    """Stages spread over two cores, with rings between them."""

    spec = "spread"

    @needs_tpo
    def test_stages_on_two_cores(self) -> None:
        Traffic.start(self, 32 * MIB).check_whole()


class Replicas(Case):
    """Compression and decompression on two cores each, which both appliances share."""

    spec = "replicas"

    @needs_tpo
    def test_four_workers_on_two_cores(self) -> None:
        stages = [[core["stages"] for core in self.lab.tpoctl(side, "show", "cores")["cores"]]
                  for side in "ab"]
        self.assertEqual(stages, [[["port", "compress.0", "transmit", "decompress.0"],
                                   ["edge", "aggregate", "compress.1", "decompress.1"]]] * 2)
        Traffic.start(self, 32 * MIB).check_whole()

    @needs_tpo
    def test_text_both_ways_on_four_workers(self) -> None:
        data = text(500_000)
        ends = self.pair()
        sending = [self.background(send_all, end, data, True) for end in ends]
        received = [self.background(receive_all, end) for end in ends]
        for end in received:
            whole = end.result()
            self.assertEqual((whole.size, whole.sha256, whole.end), (len(data), digest(data), EOF))
        self.assertEqual([end.result().end for end in sending], [EOF, EOF])
        for side in "ab":
            found = counters.look(self.lab, side)
            self.assertGreater(sum(counters.smaller(found).values()), 0)
            self.assertGreater(found["decompression", "buffers_decompressed"], 0)


class Edges(Disturbance):
    """Two edges at each site, on two cores that both appliances share: four workers."""

    spec = "edges"
    loss = "0"

    @needs_tpo
    def test_bulk_both_ways_on_two_edges(self) -> None:
        stages = [[core["stages"] for core in self.lab.tpoctl(side, "show", "cores")["cores"]]
                  for side in "ab"]
        self.assertEqual(stages, [[["port", "edge.0", "transmit"],
                                   ["edge.1", "aggregate", "compress", "decompress"]]] * 2)
        Traffic.start(self, 32 * MIB).check_whole()

    @needs_tpo
    def test_many_connections_from_both_sides(self) -> None:
        # So many that neither edge has none of either side's, but once in a million.
        opened = [self.pair(*nodes, family=family)
                  for nodes in (("hosta", "hostb"), ("hostb", "hosta"))
                  for family in (socket.AF_INET, socket.AF_INET6) for _ in range(10)]
        data = text(5_000)
        sending = [self.background(send_all, end, data, True) for pair in opened for end in pair]
        received = [self.background(receive_all, end) for pair in opened for end in pair]
        for end in received:
            whole = end.result()
            self.assertEqual((whole.size, whole.sha256, whole.end), (len(data), digest(data), EOF))
        self.assertEqual([end.result().end for end in sending], [EOF] * len(sending))
        for side in "ab":
            self.assertEqual(counters.look(self.lab, side)["edge", "opens_misnamed"], 0)

    @needs_tpo
    def test_datagrams_and_pings_of_any_owner(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            for _ in range(8):
                talker, listener = (self.new_socket(node, family, socket.SOCK_DGRAM)
                                    for node in ("hosta", "hostb"))
                listener.bind((self.address("hostb", family), 0))
                talker.connect(listener.getsockname()[:2])
                # In one piece, and in fragments, which show no ports but in the first.
                for size in (1_000, 4_000):
                    talker.send(bytes(size))
                    got, source = listener.recvfrom(65_536)
                    self.assertEqual(len(got), size)
                    listener.sendto(got, source)
                    self.assertEqual(len(talker.recv(65_536)), size)
            ping = self.program("hosta", "ping", "-c", "3", "-i", "0.2", "-W", "2",
                                self.address("hostb", family), stdout=subprocess.PIPE)
            answered = ping.communicate()[0].decode()
            self.assertIn(" 0% packet loss", answered)

    @needs_tpo
    def test_refused_is_said_by_either_edge(self) -> None:
        for _ in range(10):
            closed = self.listen("hostb")
            address = closed.getsockname()
            closed.close()
            client = self.new_socket("hosta")
            with self.assertRaises(ConnectionRefusedError):
                client.connect(address)


class KilledWithEdges(Killed):
    """The same with two edges at each site: each lists its own flows to the other appliance."""

    spec = "edges"
