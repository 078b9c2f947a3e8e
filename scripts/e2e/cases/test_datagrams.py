"""UDP, DNS, ping and traceroute: whole datagrams, at most once, from the hosts' own addresses."""

from __future__ import annotations

import re
import socket
import struct
import subprocess

from support.case import Case, both_families
from support.streams import content


class Datagrams(Case):
    """On a link without loss, because a datagram that is lost stays lost."""

    loss = "0"

    def udp_echo(self, size: int, count: int, family: int) -> None:
        """Sends datagrams of one size and gets each back once, from the address it went to."""
        server, client = (self.new_socket(node, family, socket.SOCK_DGRAM)
                          for node in ("hostb", "hosta"))
        server.bind((self.address("hostb", family), 0))
        client.connect(server.getsockname()[:2])

        def echo() -> None:
            for _ in range(count):
                data, source = server.recvfrom(65536)
                self.assertEqual(source[0], self.address("hosta", family))
                server.sendto(data, source)

        echoing = self.background(echo)
        sent = [struct.pack("!I", number) + content(number, size - 4) for number in range(count)]
        got = []
        for start in range(0, count, 50):  # a window, so that no socket buffer overflows
            for data in sent[start:start + 50]:
                client.send(data)
            got += [client.recv(65536) for _ in sent[start:start + 50]]
        echoing.result()
        self.assertEqual(sorted(got), sent)
        client.setblocking(False)
        self.assertRaises(BlockingIOError, client.recv, 65536)

    @both_families
    def test_udp_of_1400_bytes(self, family: int) -> None:
        self.udp_echo(1400, 400, family)

    @both_families
    def test_udp_of_every_size(self, family: int) -> None:
        for size in (4, 5, 17, 18, 19, 512, 1232, 1399, 1452):
            self.udp_echo(size, 3, family)

    @both_families
    def test_udp_in_fragments(self, family: int) -> None:
        self.udp_echo(4000, 20, family)

    def test_udp_port_nobody_listens_on(self) -> None:
        closed = self.new_socket("hostb", kind=socket.SOCK_DGRAM)
        closed.bind((self.address("hostb"), 0))
        address = closed.getsockname()
        closed.close()
        client = self.new_socket("hosta", kind=socket.SOCK_DGRAM)
        client.connect(address)
        client.send(b"anybody?")
        self.assertRaises(ConnectionRefusedError, client.recv, 100)

    @both_families
    def test_dns(self, family: int) -> None:
        names = {f"host{n}.example.test": f"192.0.2.{n}" for n in range(1, 61)}
        hosts = self.directory() / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name, address in names.items()))
        server = self.program(
            "hostb", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
            "--no-hosts", f"--addn-hosts={hosts}", "--port=53", "--user=root", "--pid-file=",
            "--log-facility=-", "--bind-interfaces", "--listen-address",
            self.address("hostb", family), stderr=subprocess.PIPE)
        while b"read " not in server.stderr.readline():  # dnsmasq says which hosts it has read
            self.assertIsNone(server.poll())
        self.background(server.stderr.read)
        questions = self.directory() / "questions"
        questions.write_text("".join(f"{name} A\n" for name in names))
        done = self.lab.run("hosta", "dig", f"@{self.address('hostb', family)}", "+short",
                            "+time=10", "-f", str(questions))
        self.assertEqual(done.stdout.split(), list(names.values()))

    @both_families
    def test_ping(self, family: int) -> None:
        for size in (16, 56, 1400, 3000):
            done = self.lab.run("hosta", "ping", "-n", "-i", "0.02", "-c", "30", "-s", str(size),
                                "-W", "5", self.address("hostb", family))
            self.assertIn("30 received", done.stdout)
            self.assertNotIn("DUP", done.stdout)
            self.assertNotIn("wrong", done.stdout)
            self.assertEqual(len(re.findall(rf"^{size + 8} bytes from .*ttl=64", done.stdout,
                                            re.MULTILINE)), 30)


class Routes(Case):
    """With a router in front of the far host."""

    spec = "routed"
    loss = "0"

    def hops(self, *options: str, family: int = socket.AF_INET) -> list[str]:
        """Who answered traceroute, by hop."""
        done = self.lab.run("hosta", "traceroute", "-n", "-q", "1", "-w", "10", *options,
                            self.address("hostb", family))
        return [line.split()[1] for line in done.stdout.splitlines()[1:]]

    def check_hops(self, *options: str) -> None:
        site = self.lab.site("b")
        self.assertEqual(self.hops(*options),
                         [site.router_outside[0].address, site.address_ipv4])
        self.assertEqual(self.hops(*options, "-6", family=socket.AF_INET6),
                         [site.router_outside[1].address, site.address_ipv6])

    def test_traceroute_by_udp(self) -> None:
        self.check_hops("--udp")

    def test_traceroute_by_icmp(self) -> None:
        self.check_hops("--icmp")
