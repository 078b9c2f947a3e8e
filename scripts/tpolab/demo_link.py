"""The link of the demonstration, and what can be expected to get through it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

SEGMENT_BITS = 1448 * 8
"""Payload of a full TCP segment at an MTU of 1500."""
MATHIS_FACTOR = 1.22
"""Goodput of loss-based TCP: segment / RTT x 1.22 / sqrt(loss) (Mathis et al., 1997)."""
PAYLOAD_SHARE = 1438 / 1500
"""Of a full packet through tpo, what is data."""
SHARE = 0.9
"""Of the rate, what a transfer may reach: headers and the beginning are taken off."""

UNITS = {
    "rate": ({"kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}, "200mbit"),
    "time": ({"us": 1e-3, "ms": 1.0, "s": 1e3}, "80ms"),
    "share": ({"%": 1.0}, "0.5%"),
}
"""Of a kind of value: its units, an example."""


def value(kind: str, text: str) -> float:
    """`200mbit` as Mb/s, `80ms` as ms, `0.5%` as percent; a ValueError that says what is wrong."""
    units, example = UNITS[kind]
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z%]*)", text.strip().lower())
    if not found or found[2] and found[2] not in units:
        raise ValueError(f"{text!r} is not a {kind} such as {example}")
    number = float(found[1])
    # Nothing is nothing in every unit; else a guess would be a link that nobody asked for.
    if not found[2] and number:
        raise ValueError(f"{text!r} has no unit: write {' or '.join(found[1] + u for u in units)}")
    return number * units.get(found[2], 1.0)


@dataclass(frozen=True)
class Link:
    """The emulated WAN; rate and loss hold for each direction."""

    rate_mbps: float
    """IP bytes that fit through, in Mb/s."""
    rtt_ms: float
    loss_percent: float
    seed: int

    @property
    def wanem_arguments(self) -> list[str]:
        """Options of the emulator."""
        return ["--rate", self.rate, "--delay", f"{self.rtt_ms / 2:.3f}ms",
                "--loss", f"{self.loss_percent:.6g}%", "--seed", str(self.seed)]

    @property
    def rate(self) -> str:
        """The rate as configurations spell it."""
        return f"{self.rate_mbps * 1e3:.0f}kbit"

    def expected_mbps(self, congestion: str | None) -> float:
        """About the goodput of one flow: `cubic` is at the mercy of loss, others are not."""
        whole = self.rate_mbps * SHARE
        if congestion != "cubic" or not self.loss_percent or not self.rtt_ms:
            return whole
        limit_bps = (MATHIS_FACTOR * SEGMENT_BITS / (self.rtt_ms / 1e3)
                     / math.sqrt(self.loss_percent / 100))
        return min(whole, limit_bps / 1e6)

    @property
    def possible_mbps(self) -> float:
        """The most that can arrive of data that do not compress."""
        return self.rate_mbps * (1 - self.loss_percent / 100) * PAYLOAD_SHARE

    def __str__(self) -> str:
        return (f"{self.rate_mbps:g} Mb/s, {self.rtt_ms:g} ms round trip, "
                f"{self.loss_percent:g} % of all packets lost")
