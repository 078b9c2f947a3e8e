"""An interactive session beside a bulk transfer, with the real ssh."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from support.case import Case
from support.streams import MIB, Reached, content, eventually, receive_all, send_until_end

LINES = 60


class Interactive(Case):
    """ssh at site a, sshd at site b."""

    def sshd(self) -> tuple[int, Path]:
        """Starts sshd on a port of its own with keys of its own; the port, and the client's key."""
        home = self.directory()
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)],
                           check=True)
        (home / "authorized_keys").write_text((home / "user_key.pub").read_text())
        with self.lab.open_socket("hostb", socket.AF_INET, socket.SOCK_STREAM) as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        config = home / "sshd_config"
        config.write_text("\n".join((
            f"Port {port}", f"ListenAddress {self.address('hostb')}",
            f"HostKey {home / 'host_key'}", f"AuthorizedKeysFile {home / 'authorized_keys'}",
            "PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password",
            "PasswordAuthentication no", "UseDNS no", "")))
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it; its service would make it
        self.program("hostb", "/usr/sbin/sshd", "-D", "-e", "-f", str(config),
                     stderr=subprocess.DEVNULL)
        eventually("sshd listens", lambda: str(port) in self.lab.run(
            "hostb", "ss", "-Hltn", f"sport = :{port}").stdout, 20)
        return port, home

    def test_ssh_under_bulk_load(self) -> None:
        port, home = self.sshd()
        sink, source = self.pair()
        flowing = Reached(8 * MIB)
        self.background(send_until_end, source, content(40, MIB))
        bulk = self.background(receive_all, sink, flowing)
        flowing.wait(60)
        session = self.program(
            "hosta", "ssh", "-F", "none", "-p", str(port), "-i", str(home / "user_key"),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "IPQoS=none", f"root@{self.address('hostb')}", "cat",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        waits_ms = []
        for number in range(LINES):
            line = f"line {number} of an interactive session\n"
            start = time.monotonic()
            session.stdin.write(line.encode())
            self.assertEqual(self.line_of(session, 60) + "\n", line)
            waits_ms.append((time.monotonic() - start) * 1000)
        self.assertFalse(bulk.done(), "the bulk transfer ended under the session")
        before = flowing.value
        eventually("bulk data still flows", lambda: flowing.value > before, 20)
        session.stdin.close()
        self.assertEqual(session.wait(60), 0)
        print(f"(echo p50 {sorted(waits_ms)[LINES // 2]:.0f} ms) ", end="")
