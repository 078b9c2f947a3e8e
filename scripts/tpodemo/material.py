"""What the demonstration sends: files found on this machine, and bytes that nothing can compress.

In:  a directory, a size, a seed.
Out: one file per set, and shorter files cut from the beginning of a set.
"""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

SOURCES = ("/usr/share/doc", "/usr/share", "/usr/lib", "/usr/bin", "/etc")
"""Where files are found, in this order, until there are enough."""
FILE_BYTES_MAX = 8 << 20
"""Larger files are left out, so that the set is a mixture."""
CHUNK = 1 << 20


class NotEnough(Exception):
    """The machine has too few files."""


def compressible(directory: Path, size: int) -> Path:
    """An archive of files found on this machine, at least `size` bytes long."""
    path = directory / "files.tar"
    with tarfile.open(path, "w") as archive:
        for found in _files():
            try:
                archive.add(found, recursive=False)
            except OSError:
                continue  # gone, or not to be read: the next one will do
            if archive.offset >= size:
                return path
    raise NotEnough(f"only {path.stat().st_size} bytes of files below {', '.join(SOURCES)}")


def incompressible(directory: Path, size: int, seed: int) -> Path:
    """`size` random bytes, the same for the same seed."""
    path = directory / "random.bin"
    generator = random.Random(seed)
    with path.open("wb") as file:
        for at in range(0, size, CHUNK):
            file.write(generator.randbytes(min(CHUNK, size - at)))
    return path


def cut(source: Path, size: int) -> Path:
    """The first `size` bytes of a set as a file of their own."""
    path = source.with_name(f"{source.stem}-{size}{source.suffix}")
    with source.open("rb") as whole, path.open("wb") as part:
        left = size
        while left and (data := whole.read(min(CHUNK, left))):
            part.write(data)
            left -= len(data)
    return path


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files() -> Iterator[Path]:
    """Regular files in a fixed order, each once."""
    seen: set[tuple[int, int]] = set()
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                if path.is_symlink() or not path.is_file():
                    continue
                status = path.stat()
                identity = status.st_dev, status.st_ino
                if status.st_size <= FILE_BYTES_MAX and identity not in seen:
                    seen.add(identity)
                    yield path
