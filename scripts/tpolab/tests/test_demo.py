"""The demonstration ends cleanly wherever it is interrupted, and its parts say what is true."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tpolab import demo, demo_link, demo_payload, demo_report, namespaces, record
from tpolab.demo_link import Link
from tpolab.demo_transfer import Transfer, steady_mbps
from tpolab.lab import Lab

SCRIPTS = Path(__file__).resolve().parents[2]
LINK = Link(rate_mbps=200, rtt_ms=80, loss_percent=0.5, seed=1)


def transfer(**changed: object) -> Transfer:
    """A transfer through tpo of a tenth of a set."""
    return Transfer(**{"path": "tpo", "congestion": None, "payload": "random", "bytes": 10_000_000,
                       "seconds": 1.0, "goodput_mbps": 80.0, "steady_mbps": None, "lan_bytes": 11_000_000,
                       "wan_bytes": 12_000_000, "sha256_ok": True, **changed})


class Parts(unittest.TestCase):
    """What needs no lab."""

    def test_values_have_units(self) -> None:
        for kind, text, expected in (("rate", "200 Mbit", 200), ("rate", "1.5gbit", 1500),
                                     ("time", "80ms", 80), ("time", "0.1s", 100), ("time", "0", 0),
                                     ("share", "0.5%", 0.5), ("share", "0", 0)):
            self.assertAlmostEqual(demo_link.value(kind, text), expected)
        for kind, text in (("rate", "fast"), ("rate", "200ms"), ("time", "-1"), ("share", "")):
            with self.assertRaisesRegex(ValueError, "is not a"):
                demo_link.value(kind, text)

    def test_a_number_without_a_unit_is_not_guessed_at(self) -> None:
        for kind, text, said in (("rate", "200", "200kbit or 200mbit or 200gbit"),
                                 ("time", "80", "80us or 80ms or 80s"), ("share", "0.5", "0.5%")):
            with self.assertRaisesRegex(ValueError, f"'{text}' has no unit: write {said}$"):
                demo_link.value(kind, text)

    def test_direct_files_shrink_with_what_cubic_can_carry(self) -> None:
        whole = 110_000_000
        self.assertEqual(demo.direct_bytes(LINK, "bbr", whole), whole)
        cubic = demo.direct_bytes(LINK, "cubic", whole)
        self.assertLess(cubic, whole // 5)
        worse = Link(rate_mbps=200, rtt_ms=80, loss_percent=5, seed=1)
        self.assertLess(demo.direct_bytes(worse, "cubic", whole), cubic // 2)
        lossless = Link(rate_mbps=200, rtt_ms=80, loss_percent=0, seed=1)
        self.assertEqual(demo.direct_bytes(lossless, "cubic", whole), whole)

    def test_sets_have_their_size_and_seed(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory)
            sets = [demo_payload.incompressible(path / f"{number}", 3_000_001, seed)
                    for number, seed in enumerate((1, 1, 2))]
            digests = [demo_payload.sha256(each) for each in sets]
            self.assertEqual(digests[0], digests[1])
            self.assertNotEqual(digests[0], digests[2])
            found = demo_payload.compressible(path / "files.tar", 2_000_003)
            self.assertEqual([each.stat().st_size for each in (*sets, found)],
                             [3_000_001] * 3 + [2_000_003])
            part = demo_payload.cut(sets[0], 1_500_000)
            self.assertEqual(part.read_bytes(), sets[0].read_bytes()[:1_500_000])

    def test_the_table_tells_how_full_the_link_was(self) -> None:
        said = demo_report.table([transfer(goodput_mbps=179.0, steady_mbps=188.0)], 1, LINK)
        self.assertIn("Of the 190.8 Mb/s", said)
        self.assertIn("0.938 with connecting", said)
        self.assertIn("0.985 without the first three seconds", said)
        self.assertNotIn("first three", demo_report.table([transfer()], 1, LINK))

    def test_the_beginning_is_three_seconds(self) -> None:
        megabyte = 1_000_000
        slow = [(100.0 + second, second * megabyte) for second in range(4)]
        fast = [(103.0 + second, (3 + 10 * second) * megabyte) for second in range(1, 3)]
        self.assertEqual(steady_mbps(slow + fast), 80.0)
        self.assertIsNone(steady_mbps(slow))
        self.assertIsNone(steady_mbps(slow[:2]))

    def test_the_table_tells_damage(self) -> None:
        self.assertIn("intact", demo_report.table([transfer()], 100_000_000, LINK))
        self.assertIn("DAMAGED", demo_report.table([transfer(sha256_ok=False)], 100_000_000, LINK))

    def test_the_table_compares(self) -> None:
        slow = transfer(path="direct", congestion="cubic", goodput_mbps=4.0, seconds=20.0)
        said = demo_report.table([slow, transfer()], 100_000_000, LINK)
        self.assertIn("20.0 times as fast as with cubic; the WAN carried 9% more", said)
        self.assertIn("3 min 20 s", said)


class Whole(unittest.TestCase):
    """The program itself, on small files."""

    def setUp(self) -> None:
        self.programs = Lab().binary("tpo").parent
        self.scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.namespaces = namespaces.names()

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [str(SCRIPTS / "demo"), "--programs", str(self.programs), "--size", "60", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": str(self.scratch), "PYTHONUNBUFFERED": "1"})

    def assert_nothing_left(self, process: subprocess.Popen) -> None:
        self.assertEqual(list(self.scratch.iterdir()), [])
        mine = [name for name in record.labs() if name.startswith(f"{process.pid}-")]
        self.assertEqual(mine, [])
        prefix = f"tpo{process.pid}-"
        self.assertEqual([name for name in namespaces.names() if name.startswith(prefix)], [])
        paths = (Path("/proc") / name / "cmdline" for name in os.listdir("/proc") if name.isdigit())
        for path in paths:
            try:
                self.assertNotIn(f"{record.STATE_ROOT}/{process.pid}-".encode(), path.read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                pass

    def test_interrupted_in_every_phase(self) -> None:
        # What it says is done when the signal is sent; what comes next is under way.
        phases = ("", "The link", "collecting files", "two sites and a WAN",
                  "files of this machine, directly, bbr", "random bytes, directly, bbr",
                  "two sites and a WAN, a tpo at each site", "files of this machine, through tpo")
        for number, said in enumerate(phases):
            for delay_s in (0.0, 0.3):
                with self.subTest(after=said, delay_s=delay_s):
                    self.interrupt(said, delay_s, (signal.SIGINT, signal.SIGTERM)[number % 2])

    def interrupt(self, said: str, delay_s: float, number: int) -> None:
        # Without loss, everything is quick.
        process = self.start("--loss", "0")
        stream = process.stdout if said == "The link" else process.stderr
        heard = ""
        while said and heard.rpartition("\n")[2].split(":")[0].strip() != said:
            line = stream.readline()
            if not line:
                self.fail(f"it ended before it said {said!r}: {heard}")
            heard += "\n" + line.rstrip()
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            pass
        os.killpg(process.pid, number)
        os.killpg(process.pid, number)
        _, rest = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0, heard + rest)
        self.assert_nothing_left(process)

    def test_a_failure_is_told_and_leaves_nothing(self) -> None:
        process = self.start("--loss", "0")
        for line in process.stderr:
            if line.startswith("files of this machine, through tpo"):
                break
        name, = (name for name in record.labs() if name.startswith(f"{process.pid}-"))
        for pid in namespaces.processes(record.namespace(name, "tpob")):
            os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 1)
        self.assertIn("demo: ", said)
        self.assert_nothing_left(process)

    def test_needs_root(self) -> None:
        program = ("import os, sys; from tpolab.demo import main; os.setuid(65534); "
                   "sys.exit(main([]))")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"^demo: needs root.*\n$")


if __name__ == "__main__":
    unittest.main()
