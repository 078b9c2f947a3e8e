"""Where frames go: the ports and the core of the generator, those of the device under test.

In:  a file of perf/beds, or of the user's. Out: what both open, and how DPDK is told. Never: a port
     that is tried: whoever opens it says what is wrong with it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tpolab.errors import LabError

USUAL = Path("perf") / "beds" / "virtio.toml"
SCRATCH = "{scratch}"
"""In a device of a file: the folder of this run, where two processes can meet."""
PCI = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


@dataclass(frozen=True)
class End:
    """One of the two processes."""

    ports: tuple[str, str]
    """DPDK devices: PCI addresses, or virtual ones, each with its arguments."""
    core: int

    def devices(self, scratch: Path) -> list[str]:
        """Its two ports, for a run that has this folder."""
        return [port.replace(SCRATCH, str(scratch)) for port in self.ports]


def eal_arguments(devices: list[str], megabytes: int) -> list[str]:
    """How DPDK is told of these devices and of its memory: a NIC needs hugepages, and the bus."""
    is_pci = [bool(PCI.match(device)) for device in devices]
    words = [] if any(is_pci) else ["--no-huge", "--no-pci", "-m", str(megabytes), "--no-shconf"]
    for device, on_bus in zip(devices, is_pci, strict=True):
        words += ["--allow" if on_bus else "--vdev", device]
    return words


@dataclass(frozen=True)
class Bed:
    """Both of them."""

    says: str
    generator: End
    device: End

    @classmethod
    def load(cls, path: Path) -> Bed:
        """Reads a file; a slip in it is told."""
        try:
            read = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise LabError(f"{path} cannot be read: {error}") from error
        if unknown := set(read) - {"says", "generator", "device"}:
            raise LabError(f"{path}: {', '.join(sorted(unknown))}: only says, generator and device "
                           "are known")
        ends = [_end(path, read, name) for name in ("generator", "device")]
        if ends[0].core == ends[1].core:
            raise LabError(f"{path}: generator and device need a core each, not both "
                           f"{ends[0].core}")
        return cls(str(read.get("says", path.name)), *ends)

    @property
    def cores(self) -> tuple[int, int]:
        """Those that nobody else should use."""
        return self.generator.core, self.device.core


def _end(path: Path, read: dict, name: str) -> End:
    match read.get(name):
        case {"ports": [str(first), str(second)], "core": int(core), **more} \
                if not more and core >= 0:
            return End((first, second), core)
    raise LabError(f'{path}: [{name}] has to have ports = ["...", "..."] and core = N, and nothing '
                   "else")
