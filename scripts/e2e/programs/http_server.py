"""An HTTP server with keep-alive: GET serves the files of a directory, PUT answers with the
SHA-256 of what it got.

Usage: http_server.py DIRECTORY

Prints the port it listens on, on one line, once it does. Listens on every address of both
families.
"""

from __future__ import annotations

import hashlib
import http.server
import socket
import sys

CHUNK = 1 << 16


class Handler(http.server.SimpleHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Takes a body and answers `SHA-256 SIZE`; a body that ends early gets no answer."""
        left = int(self.headers["Content-Length"])
        hasher, size = hashlib.sha256(), 0
        while left and (data := self.rfile.read(min(left, CHUNK))):
            hasher.update(data)
            size += len(data)
            left -= len(data)
        if left:
            self.close_connection = True
            return
        answer = f"{hasher.hexdigest()} {size}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what matters is what the client got."""


class Server(http.server.ThreadingHTTPServer):
    """Both families on one port."""

    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is the case's business."""


def main() -> None:
    """Serves until killed."""
    directory = sys.argv[1]
    server = Server(("::", 0), lambda *given: Handler(*given, directory=directory))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
