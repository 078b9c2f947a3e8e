"""How connections begin and end: what one host does is what the other one sees."""

from __future__ import annotations

import errno
import os
import socket
import subprocess

from support.case import Case, both_families, needs_tpo
from support.streams import (EOF, MIB, RESET, Reached, abort, content, digest, end_of, receive_all,
                             receive_exactly, send_all, send_until_end)

BANNER = b"220 ready when you are\r\n"
HALF = 6 * MIB


class Beginnings(Case):
    """Connections that are accepted, refused, or never answered."""

    def test_server_speaks_first(self) -> None:
        listener = self.listen("hostb")
        client = self.connect("hosta", listener)
        server = self.accept(listener)
        server.sendall(BANNER)
        self.assertEqual(receive_exactly(client, len(BANNER)), BANNER)
        client.sendall(b"EHLO\r\n")
        self.assertEqual(receive_exactly(server, 6), b"EHLO\r\n")

    def test_hosts_see_each_others_addresses_and_ports(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            client, server = self.pair(family=family)
            self.assertEqual(client.getsockname()[:2], server.getpeername()[:2])
            self.assertEqual(client.getpeername()[:2], server.getsockname()[:2])

    @both_families
    def test_refused_port(self, family: int) -> None:
        closed = self.listen("hostb", family)
        address = closed.getsockname()[:2]
        closed.close()
        for node in ("hosta",):
            with self.assertRaises(ConnectionRefusedError):
                self.new_socket(node, family).connect(address)

    def test_refused_port_from_the_other_side(self) -> None:
        closed = self.listen("hosta")
        address = closed.getsockname()[:2]
        closed.close()
        with self.assertRaises(ConnectionRefusedError):
            self.new_socket("hostb").connect(address)

    @needs_tpo
    def test_unreachable_host(self) -> None:
        # The client knows a MAC for an address that nobody has, so its SYN does go out and
        # finding out that the host is not there is left to the far appliance.
        nobody, mac = "10.77.2.199", "02:77:00:02:ff:01"
        self.lab.run("hosta", "ip", "neigh", "replace", nobody, "lladdr", mac, "dev", "eth0")
        self.addCleanup(self.lab.run, "hosta", "ip", "neigh", "del", nobody, "dev", "eth0")
        with self.assertRaises(OSError) as caught:
            self.new_socket("hosta").connect((nobody, 80))
        self.assertEqual(caught.exception.errno, errno.EHOSTUNREACH)

    def test_silence_stays_silence(self) -> None:
        # A host behind a firewall that drops says nothing, and nothing may be said in its name.
        listener = self.listen("hostb")
        port = listener.getsockname()[1]
        self.lab.run("hostb", "nft", "add table inet silent; add chain inet silent in "
                     "{ type filter hook input priority 0; }; "
                     f"add rule inet silent in tcp dport {port} counter drop")
        self.addCleanup(self.lab.run, "hostb", "nft", "delete table inet silent")
        with self.lab.capture("hosta") as capture:
            client = self.new_socket("hosta")
            client.settimeout(5)
            with self.assertRaises(TimeoutError):
                client.connect(listener.getsockname())
            mine = client.getsockname()[1].to_bytes(2, "big")
            about = [frame for frame in capture.frames if mine in frame[36:]]
        self.assertEqual(about, [])
        rules = self.lab.run("hostb", "nft", "list table inet silent").stdout
        self.assertNotIn("packets 0 ", rules, "the SYN never came to the server's host")

    def test_dscp_is_kept(self) -> None:
        listener = self.listen("hostb")
        with self.lab.capture("hostb") as capture:
            client = self.new_socket("hosta")
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
            client.connect(listener.getsockname())
            server = self.accept(listener)
            client.sendall(b"marked")
            self.assertEqual(receive_exactly(server, 6), b"marked")
            port = client.getsockname()[1].to_bytes(2, "big")
            marks = {frame[15] >> 2 for frame in capture.frames
                     if frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[34:36] == port}
        self.assertEqual(marks, {46})


class Endings(Case):
    """Connections that end in order."""

    @both_families
    def test_half_close_by_client(self, family: int) -> None:
        self.check_half_close(*self.pair(family=family))

    @both_families
    def test_half_close_by_server(self, family: int) -> None:
        client, server = self.pair(family=family)
        self.check_half_close(server, client)

    def check_half_close(self, early: socket.socket, late: socket.socket) -> None:
        """`early` sends a little and closes its direction while data flows to it, then reads on."""
        data = content(11, HALF)
        half = Reached(HALF // 2)
        reading = self.background(receive_all, early, half)
        sending = self.background(send_all, late, data[:HALF * 3 // 4])
        half.wait(60)
        self.assertEqual(send_all(early, b"that is all", shut=True).end, EOF)
        self.assertEqual(receive_exactly(late, 11), b"that is all")
        self.assertEqual(end_of(late), EOF)
        # The FIN has arrived and been answered; the other direction must not have noticed.
        self.assertEqual(sending.result().end, EOF)
        self.assertEqual(send_all(late, data[HALF * 3 // 4:], shut=True).end, EOF)
        received = reading.result()
        self.assertEqual((received.size, received.sha256, received.end), (HALF, digest(data), EOF))

    def test_simultaneous_close(self) -> None:
        client, server = self.pair()
        data = content(12, MIB), content(13, MIB)
        client_gets, server_gets = (self.background(receive_all, end) for end in (client, server))
        # Both FINs leave within a few milliseconds; the WAN is longer than that, so they cross.
        sends = [self.background(send_all, end, part, True)
                 for end, part in zip((client, server), data)]
        self.assertEqual([send.result().end for send in sends], [EOF, EOF])
        for gets, part in ((server_gets, data[0]), (client_gets, data[1])):
            self.assertEqual((gets.result().sha256, gets.result().end), (digest(part), EOF))

    def test_close_without_data(self) -> None:
        for first in (0, 1):
            ends = self.pair()
            ends[first].shutdown(socket.SHUT_WR)
            self.assertEqual(end_of(ends[1 - first]), EOF)
            ends[1 - first].close()
            self.assertEqual(end_of(ends[first]), EOF)


class Accidents(Case):
    """Connections that are cut short: never a short stream that looks whole."""

    def test_reset_by_client(self) -> None:
        client, server = self.pair()
        client.sendall(b"hello")
        receive_exactly(server, 5)
        abort(client)
        self.assertEqual(end_of(server), RESET)

    def test_reset_by_server(self) -> None:
        client, server = self.pair()
        server.sendall(b"hello")
        receive_exactly(client, 5)
        abort(server)
        self.assertEqual(end_of(client), RESET)

    def test_client_gone_in_mid_transfer(self) -> None:
        listener = self.listen("hostb")
        port = listener.getsockname()[1]
        client = self.program("hosta", "curl", "--silent", "-o", "/dev/null",
                              self.url("hostb", port, "endless"), stderr=subprocess.DEVNULL)
        server = self.accept(listener)
        server.recv(4096)
        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        chunk = content(14, MIB // 4)
        for _ in range(32):
            server.sendall(chunk)
        client.kill()
        client.wait()
        self.assertEqual(send_until_end(server, chunk).end, RESET)

    def test_server_gone_in_mid_transfer(self) -> None:
        directory = self.directory()
        (directory / "large").write_bytes(bytes(512 * MIB))
        server, port = self.server("hostb", "http_server.py", str(directory))
        client = self.program("hosta", "curl", "--silent", "--fail",
                              self.url("hostb", port, "large"), stdout=subprocess.PIPE)
        size = 0
        while size < 8 * MIB:
            size += len(os.read(client.stdout.fileno(), 1 << 16))
        server.kill()
        server.wait()
        while data := os.read(client.stdout.fileno(), 1 << 16):
            size += len(data)
        # 18: fewer bytes than announced; 56: the connection was reset.
        self.assertIn(client.wait(60), (18, 56))
        self.assertLess(size, 512 * MIB)

    def test_reset_discards_what_was_queued(self) -> None:
        # The client does not read; the server fills every queue on the way and then aborts.
        client, server = self.pair(client_buffer=8192)
        server.settimeout(2)
        send_until_end(server, content(15, MIB // 4))
        abort(server)
        received = receive_all(client)
        self.assertEqual(received.end, RESET)
