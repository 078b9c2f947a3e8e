"""Hosts that read slowly, not at all, or say nothing for a while."""

from __future__ import annotations

import socket
import time

from support import frames
from support.case import Case
from support.streams import (EOF, MIB, content, digest, eventually, receive_all,
                             receive_exactly, send_all, silent_for)

ZERO_WINDOW_SECONDS = 30


class Patience(Case):
    """Flow control through the pair."""

    loss = "0"

    def test_slow_reader_beside_fast_ones(self) -> None:
        slow_reader, slow_sender = self.pair(client_buffer=16384)
        slow_data = content(20, 24 * MIB)
        slow_sending = self.background(send_all, slow_sender, slow_data, True)
        head = receive_exactly(slow_reader, 1000)
        # From here on the slow one takes nothing until all the fast ones are through.
        fast = []
        for number in range(9):
            client, server = self.pair()
            data = content(21 + number, 4 * MIB)
            fast.append((self.background(receive_all, client), digest(data)))
            self.background(send_all, server, data, True)
        for receiving, expected in fast:
            self.assertEqual((receiving.result().sha256, receiving.result().end), (expected, EOF))
        self.assertFalse(slow_sending.done(), "24 MiB fit between the hosts: back-pressure is lost")
        rest = receive_all(slow_reader)
        self.assertEqual((rest.sha256, rest.end), (digest(slow_data[len(head):]), EOF))
        self.assertEqual(slow_sending.result().end, EOF)

    def test_zero_window_for_thirty_seconds(self) -> None:
        # Both directions at once, so that the time is spent only once.
        size = 24 * MIB
        to_client, to_server = content(30, size), content(31, size)
        one, other = self.pair(client_buffer=16384), self.pair(server_buffer=16384)
        sends = [self.background(send_all, one[1], to_client, True),
                 self.background(send_all, other[0], to_server, True)]
        time.sleep(ZERO_WINDOW_SECONDS)  # the absence of reading has no event
        self.assertFalse(any(send.done() for send in sends))
        readers = [self.background(receive_all, end) for end in (one[0], other[1])]
        for reader, data in zip(readers, (to_client, to_server)):
            self.assertEqual((reader.result().size, reader.result().sha256, reader.result().end),
                             (size, digest(data), EOF))
        self.assertEqual([send.result().end for send in sends], [EOF, EOF])

    def test_keepalive(self) -> None:
        client, server = self.pair()
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1),
                              (socket.TCP_KEEPCNT, 3)):
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        port = client.getsockname()[1]
        with self.lab.capture("hosta") as answers:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

            eventually("five answers to keepalive probes", lambda: 5 <= sum(
                1 for frame in answers.frames if (segment := frames.read_tcp(frame))
                and segment.destination_port == port and not segment.payload), 30)
        client.sendall(b"still here")
        self.assertEqual(receive_exactly(server, 10), b"still here")

    def test_idle_connection_carries_nothing(self) -> None:
        client, server = self.pair()
        client.sendall(b"x")
        receive_exactly(server, 1)
        self.assertTrue(silent_for(server, 2))
        server.sendall(b"y")
        self.assertEqual(receive_exactly(client, 1), b"y")
