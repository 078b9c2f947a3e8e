"""What the demonstration sends: files found on this machine, and bytes that nothing can compress.

In:  a directory, a size in bytes, a seed.
Out: one file per set, and shorter ones cut from the beginning of a set.
"""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from .errors import LabError

SOURCES = ("/usr/lib", "/usr/share")
"""Where files are found, in this order, until there are enough."""
FILE_BYTES_MAX = 8_000_000
"""Larger files are left out, so that the set is a mixture."""
CHUNK_BYTES = 1 << 20


def compressible(path: Path, size: int) -> Path:
    """Writes an archive of files of this machine, cut to `size` bytes."""
    with tarfile.open(path, "w") as archive:
        for found in _files():
            try:
                archive.add(found, recursive=False)
            except OSError:
                continue  # gone meanwhile, or not to be read
            if archive.offset >= size:
                break
    if path.stat().st_size < size:
        raise LabError(f"there are not {size / 1e6:.0f} MB of files below {' and '.join(SOURCES)}; "
                       "give a smaller --size")
    os.truncate(path, size)
    return path


def incompressible(path: Path, size: int, seed: int) -> Path:
    """Writes `size` random bytes, the same for the same seed."""
    generator = random.Random(seed)
    with path.open("wb") as file:
        for at in range(0, size, CHUNK_BYTES):
            file.write(generator.randbytes(min(CHUNK_BYTES, size - at)))
    return path


def cut(source: Path, size: int) -> Path:
    """The first `size` bytes of a set as a file of their own, beside it."""
    path = source.with_name(f"{source.stem}-{size}{source.suffix}")
    with source.open("rb") as whole, path.open("wb") as part:
        left = size
        while left and (data := whole.read(min(CHUNK_BYTES, left))):
            part.write(data)
            left -= len(data)
    return path


def sha256(path: Path) -> str:
    """The digest of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files() -> Iterator[Path]:
    """Regular files in the order of their names."""
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                if (not path.is_symlink() and path.is_file()
                        and path.stat().st_size <= FILE_BYTES_MAX):
                    yield path
