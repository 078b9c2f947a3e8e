"""Connections that are busy in every way at once, for cases that cut something under them.

In:  a case and the two hosts of its lab.
Out: a connection that uploads, one that downloads and one that is idle, each with what its receiver must have got.
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from dataclasses import dataclass, field

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
    reading: Future
    receiving: Future
    progress: Reached


@dataclass
class Traffic:
    """All of it."""

    case: Case
    flows: list[Flow] = field(default_factory=list)
    idle: list[Future] = field(default_factory=list)

    @classmethod
    def start(cls, case: Case, size: int, family: int = socket.AF_INET) -> Traffic:
        """Opens the connections and returns when data flows on all that are busy."""
        traffic = cls(case)
        for seed, (name, sender, receiver) in enumerate((
                ("upload", "hosta", "hostb"), ("download", "hostb", "hosta"))):
            # The client is always at site a: once it sends, once it only receives.
            ends = dict(zip(("hosta", "hostb"), case.pair(family=family)))
            data, progress = content(70 + seed, size), Reached(FLOWING_BYTES)
            receiving = case.background(receive_all, ends[receiver], progress)
            sending = case.background(send_all, ends[sender], data, True)
            # The sender reads as well: that is where it learns of a reset when all is written.
            reading = case.background(end_of, ends[sender])
            traffic.flows.append(Flow(name, data, sending, reading, receiving, progress))
        for end in case.pair(family=family):
            traffic.idle.append(case.background(end_of, end))
        for flow in traffic.flows:
            flow.progress.wait(FLOWING_SECONDS_MAX)
        return traffic

    def check_whole(self) -> None:
        """Everything arrived; the idle connection is still there."""
        for flow in self.flows:
            received = flow.receiving.result()
            self.case.assertEqual((flow.name, received.size, received.sha256, received.end),
                                  (flow.name, len(flow.data), digest(flow.data), EOF))
            self.case.assertEqual(flow.sending.result().end, EOF)

    def check_cut(self) -> None:
        """Both hosts of every connection saw a reset, and nobody got anything but a beginning."""
        for flow in self.flows:
            received = flow.receiving.result()
            self.case.assertEqual((flow.name, received.end), (flow.name, RESET))
            self.case.assertLess(received.size, len(flow.data), "the transfer was over too early")
            self.case.assertEqual(received.sha256, digest(flow.data[:received.size]))
            # A reset is told once: to the thread that writes, or to the one that reads.
            self.case.assertIn(RESET, (flow.sending.result().end, flow.reading.result()))
        self.case.assertEqual([end.result() for end in self.idle], [RESET] * len(self.idle))
