"""The base of every case: the lab it runs in, the ends it moves data between, and what must not be
left after it.

In:  a spec (which lab) and the lab that the runner keeps for it.
Out: sockets, background calls and programs that are ended with the case, whatever happened in it.
Never: decides by wall time. Timeouts only bound how long a failure takes to show.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from . import leftovers, labs

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"

SOCKET_SECONDS_MAX = 60
"""How long a socket of a case waits for anything before the case fails."""
PROGRAM_SECONDS_MAX = 120
"""How long a program of a case may take."""

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


def both_families(method: Callable[..., None]) -> Callable[..., None]:
    """Marks a test method that takes a `family`: it becomes a test over IPv4 and one over IPv6."""
    method.both_families = True
    return method


def needs_tpo(method: Callable[..., None]) -> Callable[..., None]:
    """Marks a case about tpo itself, which says nothing when Linux bridges stand in for it."""

    @functools.wraps(method)
    def wrapped(self: Case, *arguments: Any) -> None:
        if labs.keeper.appliances != "tpo":
            self.skipTest("is about tpo itself")
        method(self, *arguments)

    wrapped.both_families = getattr(method, "both_families", False)
    return wrapped


class Case(unittest.TestCase):
    """Cases that share a lab."""

    spec = "pair"
    """The name of the lab in `labs.SPECS`."""
    loss = "0.5%"
    """What the WAN loses in each direction."""
    fresh = False
    """Whether each case needs a lab that nothing has happened in."""
    may_pass = False
    """Whether TCP of this case may pass tpo without being split."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, method in list(vars(cls).items()):
            if getattr(method, "both_families", False):
                delattr(cls, name)
                for label, family in FAMILIES.items():
                    setattr(cls, f"{name}_{label}", _for_family(method, family))

    def setUp(self) -> None:
        self.lab = labs.keeper.get(self.spec, self.loss, self.fresh)
        # Registered first, so it runs last: the case's own sockets are closed by then.
        self.addCleanup(self._check_leftovers, leftovers.snapshot(self.lab))

    def _check_leftovers(self, before: leftovers.Snapshot) -> None:
        # After a failure the lab is thrown away; what is left in it explains nothing new.
        if not _failed(self):
            leftovers.check(self.lab, before, self.may_pass)

    # Who is where.

    def address(self, node: str, family: int = socket.AF_INET) -> str:
        """The first address of `hosta` or `hostb`."""
        site = self.lab.site(node[-1])
        return site.address_ipv6 if family == socket.AF_INET6 else site.address_ipv4

    def url(self, node: str, port: int, path: str, family: int = socket.AF_INET) -> str:
        """A URL on a host of the lab."""
        address = self.address(node, family)
        return f"http://{f'[{address}]' if ':' in address else address}:{port}/{path}"

    # Sockets.

    def new_socket(self, node: str, family: int = socket.AF_INET,
               kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket of a host, closed with the case."""
        made = self.lab.open_socket(node, family, kind, protocol)
        self.addCleanup(_close, made)
        made.settimeout(SOCKET_SECONDS_MAX)
        return made

    def listen(self, node: str, family: int = socket.AF_INET, port: int = 0, *,
               receive_buffer: int = 0, backlog: int = 128) -> socket.socket:
        """A listening socket of a host, on a free port if none is given."""
        made = self.new_socket(node, family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.bind((self.address(node, family), port))
        made.listen(backlog)
        return made

    def connect(self, node: str, listener: socket.socket, *,
                receive_buffer: int = 0) -> socket.socket:
        """A connection from a host to a listening socket of the other one."""
        made = self.new_socket(node, listener.family)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect(listener.getsockname()[:2])
        return made

    def accept(self, listener: socket.socket) -> socket.socket:
        """The next connection, closed with the case."""
        made, _ = listener.accept()
        self.addCleanup(_close, made)
        made.settimeout(SOCKET_SECONDS_MAX)
        return made

    def pair(self, client_node: str = "hosta", server_node: str = "hostb",
             family: int = socket.AF_INET, *,
             client_buffer: int = 0, server_buffer: int = 0,
             ) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new connection: the client's and the server's."""
        listener = self.listen(server_node, family, receive_buffer=server_buffer)
        client = self.connect(client_node, listener, receive_buffer=client_buffer)
        server = self.accept(listener)
        listener.close()
        return client, server

    # Things that go on beside.

    def background(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Future:
        """Calls `action` in a thread; its result or error is in the future."""
        future: Future = Future()

        def call() -> None:
            try:
                future.set_result(action(*arguments, **options))
            except BaseException as error:  # whoever asks for the result gets it
                future.set_exception(error)

        threading.Thread(target=call, name=action.__name__, daemon=True).start()
        return future

    def program(self, node: str, *command: str, **options: Any) -> subprocess.Popen:
        """Starts a program on a host; killed with the case if it still runs."""
        process = self.lab.popen(node, *command, **{"stdin": subprocess.DEVNULL, **options})
        self.addCleanup(_end, process)
        return process

    def server(self, node: str, script: str, *arguments: str) -> tuple[subprocess.Popen, int]:
        """Starts one of our server scripts on a host; the process, and the port it names."""
        process = self.program(node, sys.executable, str(PROGRAMS / script), *arguments,
                               stdout=subprocess.PIPE)
        return process, int(self.line_of(process))

    def line_of(self, process: subprocess.Popen, seconds_max: float = 20) -> str:
        """The next line that a program prints into its pipe, which nobody else reads."""
        line = bytearray()
        deadline = time.monotonic() + seconds_max
        while not line.endswith(b"\n"):
            left = max(0, deadline - time.monotonic())
            if not select.select([process.stdout], [], [], left)[0]:
                raise TimeoutError(f"{process.args}: no line within {seconds_max} s, only {line!r}")
            byte = os.read(process.stdout.fileno(), 1)
            if not byte:
                raise EOFError(f"{process.args} ended with {process.wait()} after {line!r}")
            line += byte
        return line.decode().rstrip("\n")

    def curl(self, node: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs curl on a host to its end; unless told not to, the case fails when curl does."""
        command = ("curl", "--silent", "--show-error", "--fail", *arguments)
        done = self.lab.run(node, *command, check=False, timeout=PROGRAM_SECONDS_MAX)
        if check:
            self.assertEqual(done.returncode, 0, f"{' '.join(command)}\n{done.stderr}")
        return done

    def directory(self) -> Path:
        """An empty directory that goes with the case."""
        if not hasattr(self, "_directory"):
            self._directory = self.enterContext(labs.scratch())
        return self._directory


def _for_family(method: Callable[..., None], family: int) -> Callable[[Case], None]:
    @functools.wraps(method)
    def test(self: Case) -> None:
        method(self, family)

    del test.both_families
    return test


def _close(end: socket.socket) -> None:
    """Closes a socket for good, even if a thread still waits in it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _failed(case: unittest.TestCase) -> bool:
    outcome = case._outcome  # pylint: disable=protected-access
    return outcome is not None and not outcome.success
