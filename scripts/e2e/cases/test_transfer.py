"""Whole files through real programs: what arrives is what was sent, however many go at once."""

from __future__ import annotations

import concurrent.futures
import hashlib
import random
import socket
from pathlib import Path

from support.case import Case, both_families
from support.streams import MIB, content, digest, text

LARGE = 48 * MIB


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Transfers(Case):
    """An HTTP server at site b, curl at site a."""

    def serve(self) -> int:
        """Starts the server on a directory of the case's own; its port."""
        self.files = self.directory() / "served"
        self.files.mkdir()
        self.got = self.directory() / "got"
        self.got.mkdir()
        return self.server("hostb", "http_server.py", str(self.files))[1]

    def write(self, name: str, seed: int, size: int) -> str:
        """A file of the server; its digest."""
        data = content(seed, size)
        (self.files / name).write_bytes(data)
        return digest(data)

    def download(self, port: int, name: str, family: int) -> None:
        """Fetches a file and compares it."""
        self.curl("hosta", "-o", str(self.got / name), self.url("hostb", port, name, family))
        self.assertEqual(file_digest(self.got / name), file_digest(self.files / name))

    def upload(self, port: int, name: str, family: int) -> None:
        """Sends a file; the server must have seen all of it."""
        done = self.curl("hosta", "-T", str(self.files / name),
                         self.url("hostb", port, "upload", family))
        expected = f"{file_digest(self.files / name)} {(self.files / name).stat().st_size}"
        self.assertEqual(done.stdout.strip(), expected)

    @both_families
    def test_large_download(self, family: int) -> None:
        port = self.serve()
        self.write("large", 1, LARGE)
        self.download(port, "large", family)

    @both_families
    def test_large_upload(self, family: int) -> None:
        port = self.serve()
        self.write("large", 2, LARGE)
        self.upload(port, "large", family)

    def test_compressible_download(self) -> None:
        port = self.serve()
        (self.files / "log").write_bytes(text(500_000))
        self.download(port, "log", socket.AF_INET)

    def test_both_directions_at_once(self) -> None:
        port = self.serve()
        self.write("down", 3, LARGE // 2)
        self.write("up", 4, LARGE // 2)
        up = self.background(self.upload, port, "up", socket.AF_INET)
        self.download(port, "down", socket.AF_INET)
        up.result()

    @both_families
    def test_fifty_connections_at_once(self, family: int) -> None:
        port = self.serve()
        digests = {f"part{n}": self.write(f"part{n}", 100 + n, MIB // 2 + n) for n in range(50)}
        done = self.curl("hosta", "--parallel", "--parallel-immediate", "--parallel-max", "50",
                         "--globoff", "-w", "%{num_connects}\\n",
                         *(word for name in digests for word in
                           ("-o", str(self.got / name), self.url("hostb", port, name, family))))
        self.assertEqual(done.stdout.split(), ["1"] * 50)
        self.assertEqual({name: file_digest(self.got / name) for name in digests}, digests)

    def test_thousand_short_connections(self) -> None:
        listener = self.listen("hostb", backlog=1024)
        count, seed = 1000, random.Random(5)
        requests = [seed.randbytes(seed.randint(1, 3000)) for _ in range(count)]

        def answer() -> None:
            for _ in range(count):
                pool.submit(self.answer_with_digest, listener.accept()[0])

        def ask(request: bytes) -> str:
            with self.connect("hosta", listener) as client:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                return client.makefile("rb").read().decode()

        with concurrent.futures.ThreadPoolExecutor(64) as pool, \
                concurrent.futures.ThreadPoolExecutor(64) as clients:
            answering = self.background(answer)
            answers = list(clients.map(ask, requests))
            answering.result()
        self.assertEqual(answers, [digest(request) for request in requests])

    def answer_with_digest(self, server: socket.socket) -> None:
        """Reads to the end of a request, answers with its SHA-256 and closes."""
        with server:
            server.settimeout(60)
            server.sendall(digest(server.makefile("rb").read()).encode())

    def test_http_keep_alive(self) -> None:
        port = self.serve()
        digests = {f"page{n}": self.write(f"page{n}", 200 + n, 20_000 + n) for n in range(20)}
        done = self.curl("hosta", "-w", "%{num_connects} %{local_port}\\n",
                         *(word for name in digests for word in
                           ("-o", str(self.got / name), self.url("hostb", port, name))))
        connects, ports = zip(*(line.split() for line in done.stdout.splitlines()))
        self.assertEqual(list(connects), ["1"] + ["0"] * 19)
        self.assertEqual(len(set(ports)), 1)
        self.assertEqual({name: file_digest(self.got / name) for name in digests}, digests)
