"""Reload under load, and what tpo says about configurations and machines that are wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from support.case import Case, needs_tpo
from support.labs import config
from support.streams import MIB, eventually, receive_exactly
from support.traffic import Traffic

WRONG = '''name = "site-a"
mode = "sideways"
colour = "green"

[lan]
device = "net_null0"
addresses = ["10.77.1.1/33"]
networks = ["10.77.1.0/24"]

[wan]
device = "net_null1"
addresses = ["10.77.1.2/16"]
port = 70000

[[peer]]
name = "site-b"
endpoint = "somewhere"
networks = ["10.77.2.0/24"]
rate = "200"

[[rule]]
protocol = "tcp"
action = "optimise"
peer = "site-c"
destination_ports = ["90-80"]

[limits]
flows = 0
buffer_memory = "lots"
'''
"""One file with a dozen errors; which line each is on, and what must be said of it."""

WRONG_LINES = {2: "mode", 3: "colour", 7: "33", 13: "port", 17: "endpoint", 19: "rate",
               23: "action", 24: "site-c", 25: "90-80", 28: "flows", 29: "lots"}


class Reload(Case):
    """A new configuration under load."""

    def rules(self, side: str) -> list[str]:
        """The names of an appliance's rules."""
        return [rule["name"] for rule in self.lab.tpoctl(side, "show", "rule")["rules"]]

    def with_rule(self, name: str) -> dict:
        """The lab's configuration for site a with one more rule in front."""
        tree = self.lab.tpo_config("a")
        extra = {"name": name, "protocol": "tcp", "destination_ports": ["7"], "action": "pass"}
        return {**tree, "rule": [extra, *tree["rule"]]}

    @needs_tpo
    def test_reload_under_load(self) -> None:
        self.addCleanup(self.lab.tpoctl, "a", "reload", str(self.lab.write_config("a")))
        traffic = Traffic.start(self, 48 * MIB)
        before = self.drops()
        for number in range(10):
            path = self.lab.write_config("a", self.with_rule(f"extra-{number}"))
            self.lab.tpoctl("a", "reload", str(path))
            self.assertEqual(self.rules("a")[0], f"extra-{number}")
        traffic.check_whole()
        self.assertEqual(self.drops(), before, "frames were lost")

    def drops(self) -> dict[str, int]:
        """What site a dropped of the frames that came, before anybody looked into them."""
        return {f"{drop['stage']}.{drop['name']}": drop["count"]
                for drop in self.lab.tpoctl("a", "show", "drops")["drops"]
                if drop["stage"] in ("lan_device", "wan_device", "port", "interceptor")}

    @needs_tpo
    def test_reload_by_signal(self) -> None:
        self.addCleanup(self.lab.tpoctl, "a", "reload", str(self.lab.write_config("a")))
        client, server = self.pair()
        self.lab.write_config("a", self.with_rule("by-signal"))
        self.lab.programs["tpoa"].send_signal(signal.SIGHUP)
        eventually("the new rule", lambda: self.rules("a")[0] == "by-signal", 10)
        client.sendall(b"still here")
        self.assertEqual(receive_exactly(server, 10), b"still here")

    @needs_tpo
    def test_wrong_configuration_is_refused_whole(self) -> None:
        rules = self.rules("a")
        path = self.directory() / "wrong.toml"
        path.write_text(WRONG)
        done = subprocess.run([self.lab.binary("tpoctl"), "--socket", self.lab.socket_path("tpoa"),
                               "reload", str(path)], capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 1)
        check_every_error(self, done.stdout + done.stderr, path)
        self.assertEqual(self.rules("a"), rules)

    @needs_tpo
    def test_rule_for_new_flows_only(self) -> None:
        listener = self.listen("hostb")
        port = str(listener.getsockname()[1])
        self.addCleanup(self.lab.tpoctl, "a", "reload", str(self.lab.write_config("a")))
        old = self.connect("hosta", listener)
        old_server = self.accept(listener)
        tree = self.lab.tpo_config("a")
        tree["rule"] = [{"name": "no-more", "protocol": "tcp", "destination_ports": [port],
                         "action": "drop"}, *tree["rule"]]
        self.lab.tpoctl("a", "reload", str(self.lab.write_config("a", tree)))
        new = self.new_socket("hosta")
        new.settimeout(2)
        self.assertRaises(TimeoutError, new.connect, listener.getsockname())
        old.sendall(b"as before")
        self.assertEqual(receive_exactly(old_server, 9), b"as before")


def check_every_error(case: Case, said: str, path: Path) -> None:
    """Each wrong line of WRONG is named with its file, and with what is wrong there."""
    for line, word in WRONG_LINES.items():
        case.assertRegex(said, re.compile(rf"^.*{re.escape(str(path))}:{line}\b.*{re.escape(word)}",
                                          re.MULTILINE))


class Refusals(Case):
    """tpo started where it cannot run: one sentence, exit code 1."""

    def start(self, *command: str) -> subprocess.CompletedProcess:
        """Runs a program that is expected to end by itself in the network of site a's appliance."""
        return self.lab.run("tpoa", *command, check=False, timeout=30)

    def check_sentence(self, done: subprocess.CompletedProcess, *words: str) -> None:
        """One sentence of ours, last on standard error, that has these words in it.

        What DPDK and its drivers print before it is theirs.
        """
        said = [line for line in done.stderr.splitlines() if line.strip()]
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertFalse([line for line in said[:-1] if line.startswith("tpo: ")], done.stderr)
        for word in words:
            self.assertRegex(said[-1], word)
        self.assertNotIn("ready", done.stdout)

    def config(self, name: str, **changes: object) -> str:
        """A configuration like the lab's, for devices that any machine has; its path."""
        tree = self.lab.tpo_config("a")
        tree["lan"]["device"], tree["wan"]["device"] = "net_null0", "net_null1"
        tree["control_socket"] = str(self.directory() / "tpo.sock")
        for key, value in changes.items():
            tree[key] = {**tree[key], **value} if isinstance(value, dict) else value
        path = self.directory() / name
        path.write_text(config.to_toml(tree))
        return str(path)

    @needs_tpo
    def test_every_configuration_error_at_once(self) -> None:
        path = self.directory() / "wrong.toml"
        path.write_text(WRONG)
        for options in (["--check"], []):
            done = self.start(str(self.lab.binary("tpo")), *options, "--config", str(path))
            self.assertEqual(done.returncode, 1)
            check_every_error(self, done.stderr, path)

    @needs_tpo
    def test_no_encryption_must_be_said(self) -> None:
        tree = self.lab.tpo_config("a")
        del tree["peer"][0]["public_key"]
        path = self.directory() / "silent.toml"
        path.write_text(config.to_toml(tree))
        done = self.start(str(self.lab.binary("tpo")), "--check", "--config", str(path))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"silent\.toml:\d+.*encryption.*none")

    @needs_tpo
    def test_good_configuration_is_checked_without_starting(self) -> None:
        done = self.start(str(self.lab.binary("tpo")), "--check", "--config",
                          self.config("good.toml"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("ready", done.stdout)

    @needs_tpo
    def test_file_that_does_not_exist(self) -> None:
        path = str(self.directory() / "nowhere.toml")
        self.check_sentence(self.start(str(self.lab.binary("tpo")), "--config", path), path)

    @needs_tpo
    def test_device_that_does_not_exist(self) -> None:
        path = self.config("device.toml", lan={"device": "net_af_xdp0,iface=nosuch0"})
        self.check_sentence(self.start(str(self.lab.binary("tpo")), "--config", path), "nosuch0")

    @needs_tpo
    def test_address_in_use(self) -> None:
        path = self.config("used.toml", control_socket=str(self.lab.socket_path("tpoa")))
        done = self.start(str(self.lab.binary("tpo")), "--config", path)
        self.check_sentence(done, re.escape(str(self.lab.socket_path("tpoa"))), "use|running")
        self.lab.tpoctl("a", "show", "peer")  # the one that has the address still does

    @needs_tpo
    def test_missing_privilege(self) -> None:
        program = self.directory() / "tpo"
        shutil.copy(self.lab.binary("tpo"), program)
        path = self.config("nobody.toml", lan={"device": "net_af_xdp0,iface=lan0"})
        os.chmod(self.directory(), 0o777)
        done = self.start("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                          "--bounding-set=-all", str(program), "--config", path)
        self.check_sentence(done, "(?i)root|privilege|permission|capabilit")
