"""The programs that are measured, built.

In:  the repository. Out: where its programs are, built as users build them. Never: those of a
build elsewhere: where cargo puts them is said, not guessed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tpolab.errors import LabError
from tpolab.lab import TARGET


def build_programs(repository: Path, *what: str, profile: str = "release") -> Path:
    """Builds what these arguments of cargo name; the directory that it is in then."""
    command = ["cargo", "build", "--quiet", "--profile", profile, "--target-dir", str(TARGET),
               *what]
    try:
        code = subprocess.run(command, cwd=repository, check=False).returncode
    except FileNotFoundError as error:
        raise LabError("cargo is not in PATH: install a Rust toolchain (https://rustup.rs), or "
                       "add its directory, ~/.cargo/bin as a rule") from error
    if code != 0:
        raise LabError(f"`{' '.join(command)}` failed in {repository}: what it says is above")
    return TARGET / profile
