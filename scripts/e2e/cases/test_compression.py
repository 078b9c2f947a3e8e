"""Compression as a peer's section says, changed while the appliances run."""

from __future__ import annotations

from support import counters
from support.case import Case, needs_tpo
from support.streams import EOF, MIB, content, digest, receive_all, send_all, text

TEXT = text(500_000)
SLOW = "10mbit"
TRIED_IN_VAIN_MAX = 0.2
"""Of the buffers with random bytes, so many are tried at most: the first ones, then ever fewer."""


class Compression(Case):
    """What goes from site a to site b, by what a was told of compression."""

    def configure(self, key: str, value: str) -> None:
        """Has the peer's section of a say this for the rest of the case."""
        tree = self.lab.tpo_config("a")
        tree["peer"][0][key] = value
        self.addCleanup(self.reload, self.lab.tpo_config("a"))
        self.reload(tree)

    def reload(self, tree: dict) -> None:
        """Gives a this configuration."""
        self.lab.tpoctl("a", "reload", str(self.lab.write_config("a", tree)))

    def send(self, data: bytes) -> tuple[counters.Counter, counters.Counter]:
        """What both appliances counted while this went from a to b, and came as it was."""
        before = [counters.look(self.lab, side) for side in "ab"]
        near, far = self.pair()
        sending = self.background(send_all, near, data, True)
        whole = receive_all(far)
        self.assertEqual((whole.size, whole.sha256, whole.end), (len(data), digest(data), EOF))
        self.assertEqual(sending.result().end, EOF)
        after = [counters.look(self.lab, side) for side in "ab"]
        return after[0] - before[0], after[1] - before[1]

    def check_halved(self, near: counters.Counter) -> None:
        """Most was compressed, to less than half."""
        self.assertLess(near["compression", "bytes_out"], near["compression", "bytes_in"] / 2,
                        {name: count for (stage, name), count in near.items()
                         if stage == "compression"})

    @needs_tpo
    def test_text_goes_by_what_pays(self) -> None:
        # So slow that the core has time for the strong levels, whatever else it does.
        self.configure("rate", SLOW)
        near, far = self.send(text(100_000))
        levels = counters.smaller(near)
        self.assertTrue(any(level.startswith("zstd") for level in levels), levels)
        self.assertEqual(far["decompression", "buffers_decompressed"], sum(levels.values()))
        self.check_halved(near)

    @needs_tpo
    def test_text_goes_by_lz4_alone(self) -> None:
        self.configure("compression", "lz4")
        near, far = self.send(TEXT)
        levels = counters.smaller(near)
        self.assertEqual(list(levels), ["lz4"])
        self.assertEqual(far["decompression", "buffers_decompressed"], levels["lz4"])
        self.check_halved(near)

    @needs_tpo
    def test_nothing_is_compressed(self) -> None:
        self.configure("compression", "none")
        near, far = self.send(TEXT)
        self.assertEqual(counters.smaller(near), {})
        self.assertEqual(near["compression", "bytes_out"], near["compression", "bytes_in"])
        self.assertEqual(far["decompression", "buffers_decompressed"], 0)

    @needs_tpo
    def test_random_bytes_do_not_grow(self) -> None:
        near, _ = self.send(content(11, 16 * MIB))
        self.assertEqual(counters.smaller(near), {})
        self.assertEqual(near["compression", "bytes_out"], near["compression", "bytes_in"])
        tried = near["compression", "buffers_incompressible"]
        self.assertLess(tried, near["compression", "buffers_in"] * TRIED_IN_VAIN_MAX)
