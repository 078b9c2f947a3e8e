"""How long connections, exchanges and pings take between two hosts of the lab.

In:  a lab. Out: seconds of each one, in the order they were made.
Never: in the process that measures; the ends are programs of their own, these:
`measure_latency.py answer ADDRESS PORT`, `measure_latency.py connect ADDRESS PORT COUNT`,
`measure_latency.py exchange ADDRESS PORT CONNECTIONS COUNT`.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpolab.lab import Lab

PROGRAM = Path(__file__).resolve()
PORT = 9003
MESSAGE_BYTES = 200
"""Of a request, and of the response to it."""
TIMEOUT_S = 10.0
PING_INTERVAL_S = 0.0237
"""Not a multiple of anything in an appliance, so that pings meet it at any point of its sleep."""
PING_TIME = re.compile(r" time=([0-9.]+) ms")


def connects(lab: Lab, count: int) -> list[float]:
    """Connects from host A to host B, one connection after the other."""
    with _answering(lab) as address:
        return _run(lab, "connect", address, PORT, count)


def exchanges(lab: Lab, connections: int, count: int, *, port: int = PORT) -> list[float]:
    """Requests and responses of 200 bytes, `count` of them one by one on each connection."""
    with _answering(lab, port) as address:
        return _run(lab, "exchange", address, port, connections, count)


def pings(lab: Lab, count: int) -> list[float]:
    """Round trips of pings from host A to host B; fewer than `count` if some were lost."""
    said = lab.run("hosta", "ping", "-n", "-i", str(PING_INTERVAL_S), "-c", str(count),
                   lab.site("b").address_ipv4).stdout
    return [float(milliseconds) / 1000 for milliseconds in PING_TIME.findall(said)]


@contextlib.contextmanager
def _answering(lab: Lab, port: int = PORT) -> Iterator[str]:
    address = lab.site("b").address_ipv4
    server = lab.popen("hostb", sys.executable, str(PROGRAM), "answer", address, str(port),
                       stdout=subprocess.PIPE, text=True)
    try:
        if not server.stdout.readline():
            raise subprocess.CalledProcessError(server.wait(), server.args)
        yield address
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def _run(lab: Lab, *words: object) -> list[float]:
    command = [sys.executable, str(PROGRAM), *map(str, words)]
    return json.loads(lab.run("hosta", *command, stdout=subprocess.PIPE).stdout)


# The programs.


def _answer(address: str, port: int) -> None:
    """Sends back every byte, on any number of connections."""
    with socket.create_server((address, port), backlog=1024) as listener:
        print("listening", flush=True)
        ready = selectors.DefaultSelector()
        ready.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(connection, selectors.EVENT_READ)
                elif data := key.fileobj.recv(1 << 16):
                    key.fileobj.sendall(data)
                else:
                    ready.unregister(key.fileobj)
                    key.fileobj.close()


def _connect(address: str, port: int, count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.monotonic()
        with socket.create_connection((address, port), TIMEOUT_S):
            times.append(time.monotonic() - start)
    return times


def _exchange(address: str, port: int, connections: int, count: int) -> list[float]:
    request = bytes(MESSAGE_BYTES)
    times: list[float] = []
    ready = selectors.DefaultSelector()
    left, began, missing = {}, {}, {}
    for _ in range(connections):
        connection = socket.create_connection((address, port), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(connection, selectors.EVENT_READ)
        left[connection], missing[connection] = count, 0
    # Only when all are connected: a response that comes while this waits for a connection would
    # be seen late.
    for connection in left:
        time.sleep(0.011)  # requests of several connections do not go out at once
        began[connection] = time.monotonic()
        missing[connection] = MESSAGE_BYTES
        connection.sendall(request)
    while left:
        events = ready.select(TIMEOUT_S)
        if not events:
            raise TimeoutError(f"no response for {TIMEOUT_S} s")
        for key, _ in events:
            connection = key.fileobj
            received = len(connection.recv(MESSAGE_BYTES))
            if not received:
                raise EOFError("the server ended too early")
            missing[connection] -= received
            if missing[connection]:
                continue
            now = time.monotonic()
            times.append(now - began[connection])
            left[connection] -= 1
            if not left[connection]:
                del left[connection]
                ready.unregister(connection)
                connection.close()
                continue
            began[connection], missing[connection] = time.monotonic(), MESSAGE_BYTES
            connection.sendall(request)
    return times


if __name__ == "__main__":
    what, host, number, *rest = sys.argv[1:]
    if what == "answer":
        _answer(host, int(number))
    elif what == "connect":
        print(json.dumps(_connect(host, int(number), int(rest[0]))))
    else:
        print(json.dumps(_exchange(host, int(number), int(rest[0]), int(rest[1]))))
