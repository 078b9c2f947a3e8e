"""Keys of the lab's appliances: made for one lab, in files that only their owner can read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

PRIME = 2**255 - 19
KEY_BYTES = 32


def private_key(path: Path) -> bytes:
    """The key in a file, which is made if it is not there."""
    if not path.exists():
        text = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii") + "\n"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w",
                       encoding="ascii") as file:
            file.write(text)
    return base64.b64decode(path.read_text(encoding="ascii"))


def public_key(private: bytes) -> str:
    """What `tpo pubkey` prints for a key: its point on Curve25519, in base64."""
    point = _multiplied(_clamped(private), 9)
    return base64.b64encode(point.to_bytes(KEY_BYTES, "little")).decode("ascii")


def _clamped(private: bytes) -> int:
    scalar = bytearray(private)
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return int.from_bytes(scalar, "little")


def _multiplied(scalar: int, u: int) -> int:
    """The Montgomery ladder of RFC 7748 section 5; not in constant time: for labs only."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        swap = scalar >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, u * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, PRIME - 2, PRIME) % PRIME
