"""A peer that is not up yet, or not any more: new flows pass or are refused, as the peer says."""

from __future__ import annotations

import socket

from support import leftovers
from support.case import Case, needs_tpo
from support.labs import namespaces, peer_state
from support.streams import MIB, content, digest, eventually, receive_all, receive_exactly, send_all


class Fallback(Case):
    """Site b starts without a tpo: a plain bridge, as a NIC with a bypass relay would be."""

    fresh = True
    loss = "0"
    may_pass = True

    def wire_b(self) -> None:
        """Puts a bridge in the place of the appliance at site b."""
        namespaces.bridge(self.lab.namespace("tpob"), "br0", "lan0", "wan0")

    def appliance_b(self) -> None:
        """Takes the bridge away and starts tpo in its place."""
        namespaces.run("ip", "-n", self.lab.namespace("tpob"), "link", "delete", "br0")
        self.lab.start_tpo("b")

    def split(self) -> int:
        """How many connections the appliance at site a carries."""
        return len(leftovers.split(self.lab, "a"))

    def wait_for(self, state: str) -> None:
        """Returns when site a says that of its peer."""
        eventually(f"the peer is {state}", lambda: peer_state(self.lab, "a") == state, 20)

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """A megabyte through a connection that stays open."""
        data = content(80, MIB)
        sending = self.background(send_all, client, data)
        self.assertEqual(digest(receive_exactly(server, len(data))), digest(data))
        sending.result()


class Passing(Fallback):
    """`fallback = "pass"`."""

    spec = "fallback-pass"

    @needs_tpo
    def test_peer_not_up_yet(self) -> None:
        self.wire_b()
        self.lab.start_tpo("a")
        early = self.pair()
        self.carry(*early)
        self.assertEqual(self.split(), 0, "a flow that passes is not split")
        self.lab.run("hosta", "ping", "-c", "1", "-W", "10", self.address("hostb"))
        self.appliance_b()
        self.wait_for("up")
        # The early connection keeps its verdict, and a new one gets a new one.
        self.carry(*early)
        self.assertEqual(self.split(), 0)
        late = self.pair()
        self.carry(*late)
        self.assertEqual(self.split(), 1)

    @needs_tpo
    def test_peer_down(self) -> None:
        for side in "ab":
            self.lab.start_tpo(side)
        self.wait_for("up")
        client, server = self.pair()
        self.carry(client, server)
        self.lab.programs["tpob"].kill()
        self.wire_b()
        # What was split is reset, once the peer has been silent for too long; then new flows pass.
        self.assertEqual(receive_all(client).end, "reset")
        self.wait_for("down")
        eventually("what was split is forgotten", lambda: self.split() == 0, 20)
        self.carry(*self.pair())
        self.assertEqual(self.split(), 0)
        server.close()


class Refusing(Fallback):
    """`fallback = "refuse"`."""

    spec = "fallback-refuse"

    @needs_tpo
    def test_peer_not_up_yet(self) -> None:
        self.wire_b()
        self.lab.start_tpo("a")
        self.check_refused()
        self.appliance_b()
        self.wait_for("up")
        self.carry(*self.pair())
        self.assertEqual(self.split(), 1)

    @needs_tpo
    def test_peer_down(self) -> None:
        for side in "ab":
            self.lab.start_tpo(side)
        self.wait_for("up")
        self.lab.programs["tpob"].kill()
        self.wire_b()
        self.wait_for("down")
        self.check_refused()

    def check_refused(self) -> None:
        """New connections are refused in the far host's name, and nothing reaches it."""
        for family in (socket.AF_INET, socket.AF_INET6):
            listener = self.listen("hostb", family)
            with self.lab.capture("hostb") as capture:
                with self.assertRaises(ConnectionRefusedError):
                    self.new_socket("hosta", family).connect(listener.getsockname()[:2])
            port = listener.getsockname()[1].to_bytes(2, "big")
            self.assertEqual([frame for frame in capture.frames if port in frame[34:58]], [])
