"""The first connection of all, to a host of which the far appliance has not seen a frame."""

from __future__ import annotations

import socket

from support.case import Case, both_families
from support.labs import namespaces
from support.streams import receive_exactly


class ColdStart(Case):
    """The far host is on the appliance's own segment."""

    fresh = True
    loss = "0"
    next_hop = ("hostb", "eth0")
    """Whose MAC the client knows beforehand, so that it need not ask through both appliances."""

    def next_hop_address(self, family: int) -> str:
        """The address that this MAC belongs to."""
        return self.address("hostb", family)

    @both_families
    def test_first_connection(self, family: int) -> None:
        node, device = self.next_hop
        mac = namespaces.hardware_address(self.lab.namespace(node), device)
        self.lab.run("hosta", "ip", "neigh", "replace", self.next_hop_address(family),
                     "lladdr", mac, "dev", "eth0", "nud", "permanent")
        client, server = self.pair(family=family)
        client.sendall(b"first")
        self.assertEqual(receive_exactly(server, 5), b"first")
        server.sendall(b"second")
        self.assertEqual(receive_exactly(client, 6), b"second")

    @both_families
    def test_first_datagram(self, family: int) -> None:
        node, device = self.next_hop
        mac = namespaces.hardware_address(self.lab.namespace(node), device)
        self.lab.run("hosta", "ip", "neigh", "replace", self.next_hop_address(family),
                     "lladdr", mac, "dev", "eth0", "nud", "permanent")
        server = self.new_socket("hostb", family, socket.SOCK_DGRAM)
        server.bind((self.address("hostb", family), 0))
        client = self.new_socket("hosta", family, socket.SOCK_DGRAM)
        client.connect(server.getsockname()[:2])
        client.send(b"first")
        data, source = server.recvfrom(100)
        self.assertEqual(data, b"first")
        server.sendto(b"second", source)
        self.assertEqual(client.recv(100), b"second")


class ColdStartBehindRouter(ColdStart):
    """The far host is behind a router, which the appliance knows as its gateway."""

    spec = "routed"
    next_hop = ("routerb", "outside")

    def next_hop_address(self, family: int) -> str:
        outside = self.lab.site("b").router_outside
        return outside[family == socket.AF_INET6].address
