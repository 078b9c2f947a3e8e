"""The lab carries frames unchanged between its hosts, and leaves nothing behind."""

import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

from tpolab import config, keys, namespaces, record, topology
from tpolab.errors import LabError
from tpolab.lab import Lab, LabOptions
from tpolab.processes import ProcessId, Program

SCRIPTS = Path(__file__).resolve().parents[2]
FRAME_SECONDS_MAX = 5.0


def direct(**options: object) -> LabOptions:
    """Bridges in place of the appliances and of the emulator."""
    return LabOptions(**{"appliances": "bridge", "wan": "bridge", **options})


def maker(*, body: str) -> subprocess.Popen:
    """Another process that makes a direct lab, prints its name, and does `body`."""
    program = "\n".join((
        "import os, signal, sys",
        "from tpolab.lab import Lab, LabOptions",
        "with Lab(LabOptions(appliances='bridge', wan='bridge')) as lab:",
        "    lab.popen('hosta', 'tail', '-f', '/dev/null')",
        "    print(lab.name, flush=True)",
        f"    {body}"))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True,
                            env={**os.environ, "PYTHONPATH": str(SCRIPTS)})


class DirectPath(unittest.TestCase):
    """One lab with two addresses per host, for what only looks."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = cls.enterClassContext(Lab(direct(hosts=2)))

    def test_hosts_reach_each_other_in_both_families(self) -> None:
        far = self.lab.site("b")
        for interface in far.host_interfaces_ipv4 + far.host_interfaces_ipv6:
            with self.subTest(interface=interface):
                self.lab.run("hosta", "ping", "-c", "1", "-W", "5", interface.address)

    def test_frames_pass_bit_for_bit(self) -> None:
        # Unicast of an unknown protocol, of several lengths up to the MTU, and IP that is none.
        header = bytes.fromhex("020000000002" "020000000001" "88b5")
        sent = [header + os.urandom(length) for length in (46, 47, 100, 777, 1499, 1500)]
        sent += [header[:12] + bytes.fromhex(ethertype) + os.urandom(100)
                 for ethertype in ("0800", "86dd", "0806")]
        with self.lab.capture("hostb") as capture, \
                self.lab.open_socket("hosta", socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((topology.HOST_DEVICE, 0))
            for frame in sent:
                out.send(frame)
            capture.wait_for(len(sent), FRAME_SECONDS_MAX)
        received = [frame for frame in capture.frames if frame[:12] == header[:12]]
        self.assertEqual(received, sent)

    def test_tcp_frames_are_no_longer_than_the_mtu_and_their_checksums_are_finished(self) -> None:
        far = self.lab.site("b").address_ipv4
        data = os.urandom(200_000)
        with self.lab.capture("hostb") as capture, \
                self.lab.open_socket("hostb", socket.AF_INET, socket.SOCK_STREAM) as listener, \
                self.lab.open_socket("hosta", socket.AF_INET, socket.SOCK_STREAM) as client:
            listener.bind((far, 0))
            listener.listen()
            client.settimeout(FRAME_SECONDS_MAX)
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            client.sendall(data)
            client.close()
            with server, server.makefile("rb") as stream:
                self.assertEqual(stream.read(), data)
        segments = [frame[14:] for frame in capture.frames if frame[12:14] == b"\x08\x00"]
        self.assertGreater(sum(map(len, segments)), len(data))
        for packet in segments:
            self.assertLessEqual(len(packet), 1500)
            pseudo_header = packet[12:20] + b"\0\x06" + (len(packet) - 20).to_bytes(2, "big")
            self.assertEqual(ones_complement_sum(pseudo_header + packet[20:]), 0xFFFF)

    def test_counters_count_ip_bytes(self) -> None:
        far = self.lab.site("b").address_ipv4
        with self.lab.open_socket("hosta", socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.connect((far, 9))
            out.send(b"")  # the neighbour is known from here on
            self.lab.run("hosta", "ping", "-c", "1", "-W", "5", far)
            before = self.lab.counters("hosta")
            for _ in range(100):
                try:
                    out.send(bytes(972))
                except ConnectionRefusedError:
                    out.send(bytes(972))  # the error was about an earlier one
            passed = self.lab.counters("hosta") - before
        self.assertGreaterEqual(passed.tx_ip_bytes, 100 * 1000)
        self.assertLess(passed.tx_ip_bytes, 101 * 1000)

    def test_congestion_control_holds_for_either_end_in_both_families(self) -> None:
        client_site, far = self.lab.site("a"), self.lab.site("b")
        for node in (client_site.host, far.host):
            self.lab.congestion_control(node, "bbr")
            self.lab.congestion_control(node, "reno")  # once more, over an earlier choice
        for family, address in ((socket.AF_INET, far.address_ipv4),
                                (socket.AF_INET6, far.address_ipv6)):
            with self.lab.open_socket("hostb", family, socket.SOCK_STREAM) as listener, \
                    self.lab.open_socket("hosta", family, socket.SOCK_STREAM) as client:
                listener.bind((address, 0))
                listener.listen()
                client.connect(listener.getsockname()[:2])
                server, _ = listener.accept()
                with server:
                    for end in (client, server):
                        name = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                        self.assertEqual(name.rstrip(b"\0"), b"reno")

    def test_unknown_node_is_refused(self) -> None:
        with self.assertRaisesRegex(LabError, "no 'routera'"):
            self.lab.run("routera", "true")

    def test_a_name_is_taken_only_once(self) -> None:
        with self.assertRaisesRegex(LabError, "already is a lab"):
            Lab(direct(name=self.lab.name)).up()
        self.lab.run("hosta", "true")


class Router(unittest.TestCase):
    """A host behind a router."""

    def test_either_host_can_be_behind_a_router(self) -> None:
        for side in topology.SIDES:
            with self.subTest(side=side), Lab(direct(router=side)) as lab:
                far = lab.site("b")
                for address in (far.address_ipv4, far.address_ipv6):
                    lab.run("hosta", "ping", "-c", "1", "-W", "5", address)
                trace = lab.run("hosta", "ping", "-c", "1", "-W", "5", "-t", "1", far.address_ipv4,
                                check=False)
                self.assertIn("Time to live exceeded", trace.stdout)


class NothingLeft(unittest.TestCase):
    """Labs end without leftovers, however they end."""

    def assert_gone(self, name: str) -> None:
        self.assertEqual(record.leftovers(name), [])

    def test_after_the_block_and_after_an_exception(self) -> None:
        with Lab(direct()) as lab:
            process = lab.popen("hosta", "sleep", "1000")
            self.assertNotEqual(lab.leftovers(), [])
        self.assertEqual(lab.leftovers(), [])
        self.assertEqual(process.returncode, -signal.SIGTERM)
        with self.assertRaises(ZeroDivisionError), Lab(direct()) as lab:
            print(1 // 0)
        self.assertEqual(lab.leftovers(), [])

    def test_after_a_program_that_does_not_start(self) -> None:
        lab = Lab(direct(wan="wanem", programs=Path("/nowhere")))
        with self.assertRaisesRegex(LabError, "wanem is not built"):
            lab.up()
        self.assertEqual(lab.leftovers(), [])

    def test_after_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number), maker(body="signal.pause()") as process:
                name = process.stdout.readline().strip()
                self.assertNotEqual(record.leftovers(name), [])
                process.send_signal(number)
                self.assertNotEqual(process.wait(30), 0)
                self.assert_gone(name)

    def test_a_killed_lab_is_stale_and_can_be_removed(self) -> None:
        with maker(body="os.kill(os.getpid(), signal.SIGKILL)") as process:
            name = process.stdout.readline().strip()
            process.wait(30)
        self.assertTrue(record.labs()[name])
        subprocess.run([SCRIPTS / "lab", "down", "--name", name], check=True, capture_output=True)
        self.assert_gone(name)

    def test_a_namespace_that_was_made_half_way_is_removed(self) -> None:
        name = f"tpo{os.getpid()}-half"
        namespaces.NETNS_DIRECTORY.mkdir(exist_ok=True)
        (namespaces.NETNS_DIRECTORY / name).touch()
        namespaces.delete(name)
        self.assertNotIn(name, namespaces.names())

    def test_a_lab_with_a_longer_name_is_not_touched(self) -> None:
        with Lab(direct()) as short, Lab(direct(name=f"{short.name}-x")) as long:
            short.down()
            self.assert_gone(short.name)
            long.run("hosta", "ping", "-c", "1", "-W", "5", long.site("b").address_ipv4)


class Programs(unittest.TestCase):
    """Starting and stopping, without a lab."""

    def program(self, script: str) -> Program:
        log = Path(self.enterContext(tempfile.TemporaryDirectory())) / "log"
        program = Program("script", ["sh", "-c", script], log)
        self.addCleanup(program.stop)
        return program

    def test_ready_is_a_line_of_its_own(self) -> None:
        program = self.program("echo not ready; read x < /dev/zero; echo ready; exec sleep 1000")
        with self.assertRaisesRegex(LabError, "did not say"):
            program.wait_ready(seconds_max=0.2)
        program = self.program("echo not ready; echo ready; exec sleep 1000")
        program.wait_ready()
        self.assertEqual(program.stop(), -signal.SIGTERM)

    def test_a_program_that_ends_first_is_reported_with_its_last_words(self) -> None:
        with self.assertRaisesRegex(LabError, "exit code 7:\nno such device"):
            self.program("echo no such device; exit 7").wait_ready()

    def test_what_ignores_sigterm_is_killed(self) -> None:
        program = self.program("trap '' TERM; echo ready; while :; do read x < /dev/zero; done")
        program.wait_ready()
        identity = program.id
        self.assertEqual(program.stop(seconds_max=0.2), -signal.SIGKILL)
        self.assertTrue(program.killed)
        self.assertFalse(identity.alive)

    def test_a_later_process_of_the_same_number_is_left_alone(self) -> None:
        program = self.program("echo ready; exec sleep 1000")
        program.wait_ready()
        ProcessId(program.pid, program.id.start_time - 1).stop()
        self.assertTrue(program.running)


class Appliances(unittest.TestCase):
    """How tpo is started, with a stand-in that says what it was given."""

    STAND_IN = """#!/bin/sh
test "$1" = --config || exit 2
cat "$2"; ls /sys/class/net
echo ready
exec sleep 1000
"""

    def test_each_starts_in_its_namespace_with_its_configuration_and_is_stopped(self) -> None:
        programs = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (programs / "tpo").write_text(self.STAND_IN, encoding="ascii")
        (programs / "tpo").chmod(0o755)
        with Lab(LabOptions(wan="bridge", programs=programs)) as lab:
            for side in topology.SIDES:
                program = lab.programs[f"tpo{side}"]
                words = program.output().split()
                self.assertIn(f'"site-{side}"', words)
                self.assertLessEqual({"lan0", "wan0"}, set(words))
            killed = lab.programs["tpoa"]
            killed.kill()
            again = lab.start_tpo("a")
            self.assertNotEqual(again.pid, killed.pid)
        self.assertEqual(lab.leftovers(), [])
        for program in (again, lab.programs["tpob"]):
            self.assertEqual(program.exit_code, -signal.SIGTERM)


class Configuration(unittest.TestCase):
    """What tpo is given."""

    def test_the_file_says_what_the_tree_says(self) -> None:
        lab = Lab(LabOptions(router="b", driver="af_packet", extra={"limits": {"flows": 64}},
                             peer={"fallback": "refuse"}))
        for side in topology.SIDES:
            tree = lab.tpo_config(side)
            self.assertEqual(tomllib.loads(config.to_toml(tree)), tree)
        self.assertEqual(tree["lan"]["device"], "net_af_packet0,iface=lan0")
        self.assertEqual(tree["lan"]["gateways"], ["10.77.2.254", "fd77::2:fe"])
        self.assertIn("10.78.2.0/24", lab.tpo_config("a")["peer"][0]["networks"])
        self.assertEqual(tree["peer"][0]["fallback"], "refuse")
        self.assertEqual(tree["limits"], {"flows": 64})


class Keys(unittest.TestCase):
    """The keys of the lab's appliances."""

    def test_the_public_key_is_that_of_rfc_7748(self) -> None:
        private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        self.assertEqual(base64.b64decode(keys.public_key(private)), public)

    def test_a_key_file_is_made_once_and_for_its_owner_only(self) -> None:
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "a.key"
        private = keys.private_key(path)
        self.assertEqual(keys.private_key(path), private)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)


def ones_complement_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071), carries added."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


if __name__ == "__main__":
    unittest.main()
