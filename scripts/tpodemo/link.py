"""The link of the demonstration, and how much plain TCP can be expected to get through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

SEGMENT_BITS = 1448 * 8
DIRECT_SECONDS = 12
"""How long a direct transfer is meant to take."""
DIRECT_BYTES_MIN = 1 << 20
CUBIC_FACTOR = 1.22
"""Goodput of loss-based TCP: segment / round trip x 1.22 / sqrt(loss) (Mathis and others, 1997)."""
SHARE = 0.85
"""What is left of the rate when there is nothing else to lose it to."""


@dataclass(frozen=True)
class Link:
    """Rate, round trip and loss of the emulated WAN."""

    rate_mbps: float
    rtt_ms: float
    loss_percent: float
    seed: int

    def wanem_arguments(self) -> list[str]:
        """Options of the emulator."""
        return ["--rate", f"{self.rate_mbps * 1e6:.0f}bit", "--delay", f"{self.rtt_ms / 2:g}ms",
                "--loss", f"{self.loss_percent:g}%", "--seed", str(self.seed)]

    def __str__(self) -> str:
        return (f"{self.rate_mbps:g} Mb/s, {self.rtt_ms:g} ms round trip, "
                f"{self.loss_percent:g} % of the packets lost")

    def direct_bytes(self, congestion: str, size_max: int) -> int:
        """How much to send directly so that it takes about `DIRECT_SECONDS`, at most `size_max`."""
        rate_bps = self.rate_mbps * 1e6 * SHARE
        if congestion != "bbr" and self.loss_percent:
            loss, rtt_s = self.loss_percent / 100, max(self.rtt_ms, 0.1) / 1000
            rate_bps = min(rate_bps, CUBIC_FACTOR * SEGMENT_BITS / rtt_s / math.sqrt(loss))
        size = int(rate_bps / 8 * DIRECT_SECONDS)
        return min(size_max, max(DIRECT_BYTES_MIN, size))
