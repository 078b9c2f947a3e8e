"""Connections that are busy in every way at once, for cases that cut something under them.

In:  a case and the two hosts of its lab.
Out: a connection that uploads, one that downloads and one that is idle, each with what its
     receiver must have got.
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from dataclasses import dataclass

from .case import Case
from .streams import EOF, MIB, RESET, Reached, content, digest, end_of, receive_all, send_all

FLOWING_BYTES = 2 * MIB
FLOWING_SECONDS_MAX = 60


@dataclass
class Flow:
    """One direction of a connection that is busy."""

    name: str
    data: bytes
    sending: Future
    listening: Future
    """The end of what the sender receives, which is nothing."""
    receiving: Future
    progress: Reached


@dataclass
class Traffic:
    """All of it."""

    case: Case
    flows: list[Flow]
    idle: tuple[socket.socket, socket.socket]
    idle_ends: list[Future]

    @classmethod
    def start(cls, case: Case, size: int, family: int = socket.AF_INET) -> Traffic:
        """Opens the connections and returns when data flows on all that are busy."""
        flows = [_busy(case, *kind, size, family) for kind in
                 (("upload", "hosta", "hostb", 70), ("download", "hostb", "hosta", 71))]
        idle = case.pair(family=family)
        traffic = cls(case, flows, idle, [case.background(end_of, end) for end in idle])
        for flow in flows:
            flow.progress.wait(FLOWING_SECONDS_MAX)
        return traffic

    def check_whole(self) -> None:
        """Everything arrived; the idle connection is still there and ends in order."""
        for flow in self.flows:
            received = flow.receiving.result()
            self.case.assertEqual((flow.name, received.size, received.sha256, received.end),
                                  (flow.name, len(flow.data), digest(flow.data), EOF))
            self.case.assertEqual(flow.sending.result().end, EOF)
        self.case.assertFalse(any(end.done() for end in self.idle_ends), "the idle one ended")
        for end in self.idle:
            end.shutdown(socket.SHUT_WR)
        self.case.assertEqual([end.result() for end in self.idle_ends], [EOF, EOF])

    def check_cut(self) -> None:
        """Both hosts of every connection saw a reset, and nobody got anything but a beginning."""
        for flow in self.flows:
            received = flow.receiving.result()
            self.case.assertEqual((flow.name, received.end), (flow.name, RESET))
            self.case.assertLess(received.size, len(flow.data), "the transfer was over too early")
            self.case.assertEqual(received.sha256, digest(flow.data[:received.size]))
            # The kernel tells of a reset once: to the one who writes, or to the one who reads.
            self.case.assertIn(RESET, (flow.sending.result().end, flow.listening.result()))
        self.case.assertEqual([end.result() for end in self.idle_ends], [RESET, RESET])


def _busy(case: Case, name: str, sender: str, receiver: str, seed: int, size: int,
          family: int) -> Flow:
    # The client is always at site a: once it sends, once it only receives.
    ends = dict(zip(("hosta", "hostb"), case.pair(family=family)))
    data, progress = content(seed, size), Reached(FLOWING_BYTES)
    return Flow(name, data,
                sending=case.background(send_all, ends[sender], data, True),
                listening=case.background(end_of, ends[sender]),
                receiving=case.background(receive_all, ends[receiver], progress),
                progress=progress)
