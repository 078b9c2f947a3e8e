"""The emulator in the lab: what it does to real frames, and how it is told to."""

import json
import os
import re
import signal
import socket
import subprocess
import unittest

from tpolab import topology
from tpolab.errors import LabError
from tpolab.lab import DRIVERS, Lab, LabOptions

FRAME_SECONDS_MAX = 10.0


def emulated(*arguments: str, **options: object) -> Lab:
    """A lab with the emulator between bridges."""
    return Lab(LabOptions(**{"appliances": "bridge", "wan_arguments": list(arguments), **options}))


class Emulator(unittest.TestCase):
    """Each test has a lab of its own, with what it needs."""

    def up(self, *arguments: str, **options: object) -> Lab:
        self.lab = emulated(*arguments, **options)
        # Clean-ups run last to first: this one after the lab is down.
        self.addCleanup(lambda: self.assertEqual(self.lab.leftovers(), []))
        return self.enterContext(self.lab)

    def ping(self, *, expect: bool = True) -> float:
        """One ping from a to b; its round trip in ms."""
        done = self.lab.run("hosta", "ping", "-c", "1", "-W", "3" if expect else "1",
                            self.lab.site("b").address_ipv4, check=False)
        self.assertEqual(done.returncode == 0, expect, done.stdout + self.log())
        return float(re.search(r"time=([\d.]+)", done.stdout)[1]) if expect else 0.0

    def log(self) -> str:
        return self.lab.programs["wanem"].output()

    def test_frames_pass_bit_for_bit_with_both_drivers(self) -> None:
        header = bytes.fromhex("020000000002" "020000000001" "88b5")
        sent = [header + os.urandom(length) for length in (46, 47, 100, 777, 1499, 1500)]
        sent += [header[:12] + bytes.fromhex(ethertype) + os.urandom(100)
                 for ethertype in ("0800", "86dd", "0806")]
        for driver in DRIVERS:
            with self.subTest(driver=driver), emulated(driver=driver) as lab, \
                    lab.capture("hostb") as capture:
                with lab.open_socket("hosta", socket.AF_PACKET, socket.SOCK_RAW) as out:
                    out.bind((topology.HOST_DEVICE, 0))
                    for frame in sent:
                        out.send(frame)
                capture.wait_for(len(sent), FRAME_SECONDS_MAX)
            received = [frame for frame in capture.frames if frame[:12] == header[:12]]
            self.assertEqual(received, sent)

    def test_ip_fragments_pass_as_such(self) -> None:
        lab = self.up()
        with lab.capture("hostb") as capture:
            lab.run("hosta", "ping", "-c", "1", "-W", "5", "-s", "3000", lab.site("b").address_ipv4)
        fragments = [frame for frame in capture.frames if frame[12:14] == b"\x08\x00"]
        self.assertEqual(len(fragments), 3)

    def test_delay_applies_to_each_direction_by_itself(self) -> None:
        lab = self.up("--delay", "20ms", "--b-to-a", "delay=50ms")
        self.ping()
        self.assertGreaterEqual(self.ping(), 69.9)
        lab.wanem("set both delay 0")
        # The best of some: the machine may be busy.
        self.assertLess(min(self.ping() for _ in range(5)), 20)

    def test_the_link_can_be_cut_and_restored(self) -> None:
        lab = self.up()
        self.ping()
        for cut, restore, counter in (("down", "up", "drop_down_packets"),
                                      ("blackhole on", "blackhole off", "drop_black_hole_packets")):
            with self.subTest(cut=cut):
                lab.wanem(cut)
                self.ping(expect=False)
                self.assertGreater(lab.wanem("stats")["a_to_b"]["counters"][counter], 0)
                lab.wanem(restore)
                self.ping()

    def test_faults_are_done_and_counted(self) -> None:
        faults = ("loss=20%", "duplicate=20%", "corrupt=20%")
        lab = self.up(*(word for fault in faults for word in ("--a-to-b", fault)), "--seed", "7")
        for node in ("hosta", "hostb"):
            # Nothing but the test's own packets may meet the faults.
            lab.sysctl(node, "net.ipv6.conf.all.disable_ipv6", "1")
        payloads = [bytes([number]) * 300 for number in range(200)]
        far = lab.site("b")
        with lab.capture("hostb") as capture, \
                lab.open_socket("hosta", socket.AF_INET, socket.SOCK_DGRAM) as out:
            self.learn_neighbour(out, far.address_ipv4)
            before = lab.wanem("stats")["a_to_b"]["counters"]
            seen = len(capture.frames)
            for payload in payloads:
                out.sendto(payload, (far.address_ipv4, 9))
            self.wait_until_empty(before["packets_in"] + len(payloads))
        after = lab.wanem("stats")
        self.assertTrue(after["adds_up"])
        done = {key: value - before[key] for key, value in after["a_to_b"]["counters"].items()}
        packets = [frame[14:] for frame in capture.frames[seen:]
                   if frame[12:14] == b"\x08\x00" and len(frame) == 14 + 328]
        whole = [packet for packet in packets if packet[28:] in payloads]
        self.assertEqual(len(packets), 200 - done["drop_loss_packets"] + done["packets_duplicated"])
        for fault in ("drop_loss_packets", "packets_duplicated", "packets_corrupted"):
            self.assertIn(done[fault], range(15, 70), fault)
        # One bit of 328 bytes is flipped: in most cases it hits the payload.
        self.assertLessEqual(len(packets) - len(whole), done["packets_corrupted"])
        self.assertGreater(len(packets) - len(whole), done["packets_corrupted"] // 2)
        for packet in packets:
            number = max(set(packet[28:]), key=packet[28:].count)
            wrong = [byte ^ number for byte in packet[28:] if byte != number]
            self.assertLessEqual(sum(byte.bit_count() for byte in wrong), 1)

    def learn_neighbour(self, out: socket.socket, address: str) -> None:
        """A datagram may get lost or damaged here, but ARP never is."""
        out.sendto(b"", (address, 9))
        self.wait_until_empty(2)

    def wait_until_empty(self, packets: int) -> None:
        """Until the emulator has seen that many packets from a to b and holds none."""
        while True:
            way = self.lab.wanem("stats")["a_to_b"]
            if way["counters"]["packets_in"] >= packets and way["held"]["packets"] == 0:
                return

    def test_wrong_commands_change_nothing_and_say_why(self) -> None:
        lab = self.up("--loss", "1%")
        for command, reason in (("set both loss 300%", "share"),
                                ("set both speed 1mbit", "known are"), ("jump", "commands are")):
            with self.subTest(command=command), self.assertRaisesRegex(LabError, reason):
                lab.wanem(command)
        self.assertEqual(lab.wanem("stats")["a_to_b"]["config"]["loss_probability"], 0.01)

    def test_it_ends_on_signals_with_its_statistics_and_without_leftovers(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number=number), emulated() as lab:
                program = lab.programs["wanem"]
                program.send_signal(number)
                self.assertEqual(program.wait(10), 0)
                lines = program.output().splitlines()
                stats = json.loads(next(line for line in lines if line.startswith("{")))
                self.assertTrue(stats["adds_up"])
                self.assertFalse(lab.socket_path("wanem").exists())

    def test_wrong_options_are_one_clear_sentence(self) -> None:
        wanem = str(Lab().binary("wanem"))
        ports = ["--port-a", "net_null0", "--port-b", "net_null1"]
        for arguments, reason in ((["--loss", "120%"], "loss: \"120%\" is not a share"),
                                  (["--a-to-b", "speed=1"], "known are"),
                                  (["--control", "/nowhere/x"], "control socket /nowhere/x")):
            with self.subTest(arguments=arguments):
                done = subprocess.run([wanem, *ports, *arguments], capture_output=True, text=True,
                                      check=False)
                self.assertEqual(done.returncode, 1)
                said = [line for line in done.stderr.splitlines() if line.startswith("wanem: ")]
                self.assertEqual(len(said), 1)
                self.assertIn(reason, said[0])

    def test_a_device_that_does_not_exist_is_named(self) -> None:
        done = subprocess.run(
            [str(Lab().binary("wanem")), "--port-a", "net_af_packet0,iface=nowhere",
             "--port-b", "net_null1"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        said = [line for line in done.stderr.splitlines() if line.startswith("wanem: ")]
        self.assertEqual(len(said), 1, done.stderr)
        self.assertRegex(said[0], "nowhere|net_af_packet0")


if __name__ == "__main__":
    unittest.main()
