"""A site that gets a second peer while it works with the first one, and loses it again.

The second peer is an appliance between the host of site b and the appliance there, in the place of
the switch: for site b it is one more host, whose UDP passes. Behind it the host has another address.
"""

from __future__ import annotations

import socket
from typing import Any

from support import leftovers
from support.case import Case, needs_tpo
from support.labs import namespaces
from support.streams import MIB, RESET, content, digest, end_of, eventually, receive_exactly, send_all
from support.traffic import Traffic
from tpolab import config, keys, topology

NETWORK = "10.77.3.0/24"
LAN, WAN, HOST = "10.77.3.1", "10.77.3.2", "10.77.3.10"
PEER_SECONDS_MAX = 20


class Peers(Case):
    """Peers that reloads add and take out."""

    spec = "three"
    fresh = True
    # While the second peer is not there, what goes to its network passes.
    may_pass = True

    def setUp(self) -> None:
        super().setUp()
        if "tpoa" not in self.lab.programs:
            return
        self.rate = self.lab.options.rate
        keys.private_key(self.lab.directory / "tpoc.key")
        namespaces.add_address(self.lab.namespace("hostb"), topology.HOST_DEVICE, f"{HOST}/16")
        self.lab.start_third("b", self.third())

    def third(self) -> dict[str, Any]:
        """The configuration of the appliance in the place of the switch."""
        near, far = self.lab.tpo_config("b"), self.lab.site("a")
        driver = self.lab.options.driver
        inside, outside = topology.SWITCH_DEVICES
        public = self.lab.tpo_config("b")["peer"][0]["public_key"]
        return {
            **near,
            "name": "site-c",
            "control_socket": str(self.lab.socket_path("tpoc")),
            "key_file": str(self.lab.directory / "tpoc.key"),
            "lan": {"device": config.device(driver, 0, inside), "addresses": [f"{LAN}/16"],
                    "networks": [NETWORK]},
            "wan": {"device": config.device(driver, 1, outside), "addresses": [f"{WAN}/16"]},
            "peer": [{"name": "site-a", "endpoint": far.endpoint, "networks": far.networks,
                      "rate": self.rate, "public_key": public}],
            "rule": [{"name": "to-a", "protocol": "tcp", "source": [NETWORK],
                      "destination": far.networks, "action": "optimize"}],
        }

    def with_third(self) -> dict[str, Any]:
        """The lab's configuration of site a, and the second peer."""
        tree = self.lab.tpo_config("a")
        public = keys.public_key(keys.private_key(self.lab.directory / "tpoc.key"))
        peer = {"name": "site-c", "endpoint": f"{WAN}:{topology.UDP_PORT}", "networks": [NETWORK],
                "rate": self.rate, "public_key": public}
        rule = {"name": "to-c", "protocol": "tcp", "source": self.lab.site("a").networks,
                "destination": [NETWORK], "action": "optimize", "peer": "site-c"}
        return {**tree, "peer": [peer, *tree["peer"]], "rule": [rule, *tree["rule"]]}

    def reload(self, tree: dict[str, Any]) -> list[str]:
        """Gives site a this configuration; what changed by it."""
        return self.lab.tpoctl("a", "reload", str(self.lab.write_config("a", tree)))["changes"]

    def peers(self) -> dict[str, str]:
        """The peers of site a, and how they are."""
        peers = self.lab.tpoctl("a", "show", "peer")["peers"]
        return {peer["name"]: peer["state"] for peer in peers}

    def wait_until_up(self) -> None:
        """Returns when site a has sessions with both peers."""
        up = {"site-b": "up", "site-c": "up"}
        eventually("both peers are up", lambda: self.peers() == up, PEER_SECONDS_MAX)

    def to_third(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection from the host of site a to the address behind the second peer."""
        listener = self.new_socket("hostb")
        listener.bind((HOST, 0))
        listener.listen()
        client = self.connect("hosta", listener)
        return client, self.accept(listener)

    def carried(self) -> int:
        """Connections that site a has split with the second peer."""
        return sum(flow["peer"] == "site-c" for flow in leftovers.split(self.lab, "a"))

    def carry(self, ends: tuple[socket.socket, socket.socket], seed: int) -> None:
        """A few megabytes each way through a connection that stays open."""
        for sender, receiver in (ends, ends[::-1]):
            data = content(seed, 3 * MIB)
            sending = self.background(send_all, sender, data)
            self.assertEqual(digest(receive_exactly(receiver, len(data))), digest(data))
            sending.result()

    def drops(self) -> dict[str, int]:
        """What site a dropped of the frames that came, before anybody looked into them."""
        return {f"{drop['stage']}.{drop['name']}": drop["count"]
                for drop in self.lab.tpoctl("a", "show", "drops")["drops"]
                if drop["stage"] in ("lan_device", "wan_device", "port", "interceptor")}

    @needs_tpo
    def test_second_peer_comes_and_goes_under_load(self) -> None:
        traffic = Traffic.start(self, 128 * MIB)
        before = self.drops()
        for seed in (90, 91):
            self.assertEqual(self.reload(self.with_third()), ["rules", "peer site-c added"])
            self.wait_until_up()
            ends = self.to_third()
            self.carry(ends, seed)
            self.assertEqual(self.carried(), 1)
            ended = [self.background(end_of, end) for end in ends]
            self.assertEqual(self.reload(self.lab.tpo_config("a")),
                             ["rules", "peer site-c removed"])
            self.assertEqual([end.result() for end in ended], [RESET, RESET])
            self.assertEqual(list(self.peers()), ["site-b"])
            # The next one has its place, and none of its flows, also while hosts are still being reset.
        traffic.check_whole()
        self.assertEqual(self.peers(), {"site-b": "up"})
        self.assertEqual(self.drops(), before, "frames were lost")
        # Nobody is its peer now: a connection there passes.
        self.carry(self.to_third(), 92)
        self.assertEqual(self.carried(), 0)

    @needs_tpo
    def test_peer_with_another_key_is_another_peer(self) -> None:
        self.reload(self.with_third())
        self.wait_until_up()
        ends = self.to_third()
        ended = [self.background(end_of, end) for end in ends]
        replaced = ["peer site-c removed and added anew", "peer site-b removed and added anew"]
        tree = self.with_third()
        one, other = tree["peer"]
        one["public_key"], other["public_key"] = other["public_key"], one["public_key"]
        self.assertEqual(self.reload(tree), replaced)
        self.assertEqual([end.result() for end in ended], [RESET, RESET])
        # Each has the other's key: none is who it is taken for.
        self.assertNotIn("up", self.peers().values())
        self.assertEqual(self.reload(self.with_third()), replaced)
        self.wait_until_up()
        self.carry(self.to_third(), 93)


class PeersOfEdges(Peers):
    """The same where each appliance has several edges, on cores that it shares with the others."""

    spec = "three-edges"
