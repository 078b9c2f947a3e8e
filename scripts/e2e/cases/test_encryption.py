"""What is on the wire between the appliances, and what happens when the two ends do not say the same."""

from __future__ import annotations

import os

from support.case import Case, needs_tpo
from support.labs import peer_state
from support.streams import MIB, eventually
from support.traffic import Traffic


def peer(case: Case, side: str) -> dict:
    """What an appliance shows of its peer."""
    return case.lab.tpoctl(side, "show", "peer")["peers"][0]


class Encrypted(Case):
    """The default."""

    @needs_tpo
    def test_shown_with_its_cipher_and_key(self) -> None:
        for side in "ab":
            shown = peer(self, side)
            self.assertIn(shown["encryption"], ("AES-256-GCM", "ChaCha20-Poly1305"))
            self.assertEqual(len(shown["public_key"]), 44)
            self.assertIsNone(shown["warning"])

    @needs_tpo
    def test_key_that_others_can_read_is_refused(self) -> None:
        path = self.lab.key_path("a")
        os.chmod(path, 0o644)
        self.addCleanup(os.chmod, path, 0o600)
        done = self.lab.run("hosta", str(self.lab.binary("tpo")), "--check", "--config",
                            str(self.lab.write_config("a")), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"tpoa\.toml:\d+: key_file: .*tpoa\.key: .*chmod 600")


class Clear(Case):
    """`encryption = "none"` at both ends."""

    spec = "clear"

    @needs_tpo
    def test_said_loudly_and_carries_everything(self) -> None:
        for side in "ab":
            self.assertEqual(peer(self, side)["encryption"], "none")
        Traffic.start(self, 8 * MIB).check_whole()


class OneEndOnly(Case):
    """`encryption = "none"` at one end."""

    spec = "fallback-refuse"
    fresh = True

    @needs_tpo
    def test_no_session_and_both_ends_say_why(self) -> None:
        tree = self.lab.tpo_config("b")
        del tree["peer"][0]["public_key"]
        tree["peer"][0]["encryption"] = "none"
        self.lab.start_tpo("a")
        self.lab.start_tpo("b", tree)
        for side, words in (("a", "in the clear"), ("b", "wants to encrypt")):
            eventually(f"site {side} says so",
                       lambda side=side, words=words: words in (peer(self, side)["warning"] or ""),
                       20)
            self.assertNotEqual(peer_state(self.lab, side), "up")
