"""Byte streams with known content, and the two ends that move them.

In:  connected sockets and a seed or bytes.
Out: digests, counts, and the way a stream ended: `EOF`, `RESET` or `TIMEOUT`. A stream that ends
     by anything but EOF is never reported as whole.
Never: sleeps; every wait is a blocking call with the socket's own timeout.
"""

from __future__ import annotations

import errno
import hashlib
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

EOF = "eof"
RESET = "reset"
TIMEOUT = "timeout"

CHUNK = 1 << 16
MIB = 1 << 20

_RESETS = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}


def content(seed: int, size: int) -> bytes:
    """`size` bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def text(lines: int) -> bytes:
    """So many lines of a log, which compress."""
    line = b"2026-11-22 16:30:00 host tpo[%d]: forwarded %d frames of the flow\n"
    return b"".join(line % (number % 97, number) for number in range(lines))


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Received:
    """What came out of a socket, and how the stream ended."""

    size: int
    sha256: str
    end: str


@dataclass
class Sent:
    """How many bytes the kernel took, and `EOF` when that was all of them."""

    size: int
    end: str


def ending(error: OSError) -> str:
    """The end of a stream that an error stands for; errors that are no end are raised again."""
    if isinstance(error, TimeoutError):
        return TIMEOUT
    if error.errno in _RESETS:
        return RESET
    if error.errno == errno.ETIMEDOUT:
        return TIMEOUT
    raise error


def send_all(sock: socket.socket, data: bytes, shut: bool = False) -> Sent:
    """Writes all of `data`; with `shut`, a FIN after it."""
    sent = 0
    view = memoryview(data)
    try:
        while sent < len(data):
            sent += sock.send(view[sent : sent + CHUNK])
        if shut:
            sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        return Sent(sent, ending(error))
    return Sent(sent, EOF)


def send_until_end(sock: socket.socket, chunk: bytes) -> Sent:
    """Writes `chunk` over and over until the stream ends under it."""
    sent = 0
    try:
        while True:
            sent += sock.send(chunk)
    except OSError as error:
        return Sent(sent, ending(error))


def receive_all(
    sock: socket.socket,
    progress: Callable[[int], None] | None = None,
) -> Received:
    """Reads until the stream ends. `progress` is told the bytes so far after every read."""
    hasher = hashlib.sha256()
    size = 0
    try:
        while data := sock.recv(CHUNK):
            hasher.update(data)
            size += len(data)
            if progress:
                progress(size)
    except OSError as error:
        return Received(size, hasher.hexdigest(), ending(error))
    return Received(size, hasher.hexdigest(), EOF)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """Reads exactly `size` bytes; a stream that ends before is an error."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(CHUNK, size - len(data)))
        if not piece:
            raise EOFError(f"the stream ended after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def end_of(sock: socket.socket) -> str:
    """Waits for the end of a stream that has no more data, and says which end it was."""
    received = receive_all(sock)
    if received.size:
        raise AssertionError(f"{received.size} bytes after the last expected one")
    return received.end


def abort(sock: socket.socket) -> None:
    """Closes with a reset instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Reached:
    """A mark that a counter passes: `progress` feeds it, `wait` waits for it."""

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.value = 0
        self._event = threading.Event()

    def __call__(self, value: int) -> None:
        self.value = value
        if value >= self.mark:
            self._event.set()

    def wait(self, timeout_s: float) -> None:
        """Returns when the mark was passed; an error after `timeout_s`."""
        if not self._event.wait(timeout_s):
            raise TimeoutError(f"{self.value} of {self.mark} after {timeout_s} s")


def silent_for(sock: socket.socket, seconds: float) -> bool:
    """Whether nothing becomes readable for that long (absence has no event to wait for)."""
    return not select.select([sock], [], [], seconds)[0]


def eventually(what: str, probe: Callable[[], object], timeout_s: float,
               pause_s: float = 0.05) -> object:
    """Asks `probe` until it answers something true, for states that can only be asked for."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s; the last answer was {answer!r}")
        time.sleep(pause_s)


class Nothing:
    """True when there is nothing in a collection; otherwise it shows what there is."""

    def __init__(self, found: list | dict) -> None:
        self._found = found

    def __bool__(self) -> bool:
        return not self._found

    def __repr__(self) -> str:
        return repr(self._found)
