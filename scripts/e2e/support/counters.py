"""What the counters of an appliance say.

In:  a lab and a side.
Out: counters by stage and name, and what compression did between two looks.
"""

from __future__ import annotations

from collections import Counter
from tpolab.lab import Lab

LEVELS = ("lz4_fast", "lz4", "zstd_1", "zstd_3", "zstd_6")
"""Of compression, as counters call them."""


def look(lab: Lab, side: str) -> Counter[tuple[str, str]]:
    """All counters of the appliance of one side."""
    counters = lab.tpoctl(side, "show", "counters")["counters"]
    return Counter({(each["stage"], each["name"]): each["value"] for each in counters})


def smaller(counters: Counter[tuple[str, str]]) -> dict[str, int]:
    """Buffers that left smaller, by the level that made them so; without those of none."""
    by_level = {level: counters["compression", f"buffers_{level}"] for level in LEVELS}
    return {level: count for level, count in by_level.items() if count}
