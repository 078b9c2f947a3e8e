"""One run of the load generator through two tpo, or through testpmd alone.

In:  what is carried, over which devices. Out: what arrived, how long it took, how busy each process
     was, how much of both cores others took. Never: a run with a byte that differs, or with flows
     that only passed.

The generator has the hosts of both LANs and core 0; both appliances share core 1:

    load (net_vhost) - site A (net_virtio_user, net_vhost) - site B (net_virtio_user) - load (net_vhost)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.bed import Bed, End
from tpolab import keys
from tpolab.config import to_toml
from tpolab.errors import LabError
from tpolab.processes import Program

from .measure_forward import (DESCRIPTORS, READY_S_MAX, STEAL_FIELD, Place, Testpmd, ask,
                              forget_sockets)
from .measure_processes import cpu_s

SITES = ("a", "b")
NETWORKS = {"a": "10.1.0.0/16", "b": "10.2.0.0/16"}
LAN_ADDRESSES = {"a": "10.1.255.1/8", "b": "10.2.255.1/8"}
WAN_ADDRESSES = {"a": "192.168.7.1", "b": "192.168.7.2"}
WAN_DESCRIPTORS = 8192
"""Of the rings between the appliances: while one has their core, which may be for 4 ms, the other takes
nothing, and what the first sends has to lie somewhere."""
FRAMES = 65_536
GENERATOR_CORE = 0
FORWARDER_CORE = 1
CORES = (GENERATOR_CORE, FORWARDER_CORE)
BUSY_FIELDS = (1, 2, 3, 6, 7)
"""In the lines of /proc/stat, the name included: user, nice, system, irq, softirq."""
BETWEEN = "two tpo"
ALONE = "testpmd io"


@dataclass(frozen=True)
class Devices:
    """How the virtual devices are."""

    packed: bool = False
    mergeable: bool = True
    tso: bool = False
    """Whether net_vhost offers segmentation and checksum offload of both sides."""

    def vhost(self, number: int, path: Path) -> str:
        """The end with the rings of another process."""
        return f"net_vhost{number},iface={path},queues=1,tso={int(self.tso)}"

    def virtio(self, number: int, path: Path, descriptors: int = DESCRIPTORS) -> str:
        """The end that makes the rings."""
        return (f"net_virtio_user{number},path={path},queue_size={descriptors},"
                f"packed_vq={int(self.packed)},mrg_rxbuf={int(self.mergeable)}")


@dataclass(frozen=True)
class Case:
    """One row: what is carried, and how."""

    name: str
    load: Sequence[str]
    """Options of the generator."""
    encrypted: bool = True
    compression: str = "none"
    devices: Devices = field(default_factory=Devices)
    alone: Sequence[str] = ()
    """Further options of the generator without appliances."""


@dataclass(frozen=True)
class Run:
    """What came of it."""

    between: str
    report: dict[str, Any]
    """What the generator says."""
    busy: dict[str, float]
    """Share of a core that each process used."""
    disturbed: float
    """What others took of both cores, as a share of one."""

    @property
    def gbps(self) -> float:
        """Bytes of streams, as a rate."""
        return self.report["gbps"]

    def delay_us(self, percentile: float) -> float:
        """Since a request was meant to be sent until its answer was there."""
        return dict(map(tuple, self.report["delay_us"]))[percentile]


class Others:
    """What others take of both cores from here on."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._began = self._now()

    def shares(self) -> tuple[dict[str, float], float]:
        """Each process's share of a core since then, and that of everything else together."""
        (at, own, used), (at_now, own_now, used_now) = self._began, self._now()
        elapsed = at_now - at
        busy = {name: (own_now[name] - own[name]) / elapsed for name in own}
        return busy, max(0.0, (used_now - used) / elapsed - sum(busy.values()))

    def _now(self) -> tuple[float, dict[str, float], float]:
        used = used_s(Path("/proc/stat").read_text(encoding="ascii"), CORES)
        return time.monotonic(), {name: cpu_s(pid) for name, pid in self._pids.items()}, used


def used_s(stat: str, cores: Sequence[int]) -> float:
    """Time for which these cores were not idle, or stolen, from the text of /proc/stat."""
    names = tuple(f"cpu{core} " for core in cores)
    lines = [line.split() for line in stat.splitlines() if line.startswith(names)]
    ticks = sum(int(line[each]) for line in lines for each in (*BUSY_FIELDS, STEAL_FIELD))
    return ticks / os.sysconf("SC_CLK_TCK")


def config(site: str, case: Case, scratch: Path, rate: str) -> dict[str, Any]:
    """The configuration of one appliance."""
    far = SITES[1 - SITES.index(site)]
    first, second = sockets(scratch)
    wan = scratch / "wan"
    devices = case.devices
    lan_device = devices.virtio(0, first if site == "a" else second)
    # What carries datagrams is as it is by default, so that a row changes one thing.
    wan_device = Devices().vhost(0, wan) if site == "a" else Devices().virtio(1, wan, WAN_DESCRIPTORS)
    peer = {"name": f"site-{far}", "endpoint": f"{WAN_ADDRESSES[far]}:4980",
            "networks": [NETWORKS[far]], "rate": rate, "fallback": "refuse",
            "compression": case.compression}
    keys.private_key(scratch / f"{site}.key")
    if case.encrypted:
        peer["public_key"] = keys.public_key(keys.private_key(scratch / f"{far}.key"))
    else:
        peer["encryption"] = "none"
    return {
        "name": f"load-{site}-{os.getpid()}", "mode": "inline",
        "control_socket": str(scratch / f"{site}.sock"), "key_file": str(scratch / f"{site}.key"),
        "lan": {"device": lan_device, "addresses": [LAN_ADDRESSES[site]],
                "networks": [NETWORKS[site]]},
        "wan": {"device": wan_device, "addresses": [f"{WAN_ADDRESSES[site]}/24"]},
        "peer": [peer],
        "rule": [{"name": "tcp", "protocol": "tcp", "action": "optimize", "source": [NETWORKS[site]],
                  "destination": [NETWORKS[far]]}],
        "limits": {"frames": FRAMES},
        "cores": {"port": FORWARDER_CORE},
    }


def run(between: str, case: Case, seconds: float, programs: Path, scratch: Path, rate: str) -> Run:
    """Starts all processes, measures, stops them."""
    forget_sockets(scratch)
    with ExitStack() as running:
        generator = _generator(between, case, seconds, programs, scratch)
        running.callback(generator.stop)
        generator.wait_ready("ready")
        pids = {"load": generator.pid}
        if between == BETWEEN:
            for site in SITES:
                program = _tpo(site, case, programs, scratch, rate)
                running.callback(program.stop)
                program.wait_ready()
                pids[site] = program.pid
        else:
            testpmd = Testpmd(Place(programs, scratch, _alone(scratch)), "io")
            running.callback(testpmd.stop)
            pids["testpmd"] = testpmd.pid
        generator.wait_ready("measuring", 2 * READY_S_MAX)
        others = Others(pids)
        generator.wait_ready("measured", seconds + READY_S_MAX)
        busy, disturbed = others.shares()
        if between == BETWEEN:
            _check_split(scratch)
        code = generator.wait(READY_S_MAX)
        if code != 0:
            raise LabError(f"{case.name}, {between}: the generator failed:\n{generator.output()}")
    return Run(between, json.loads(generator.output().splitlines()[-1]), busy, disturbed)


def sockets(scratch: Path) -> tuple[Path, Path]:
    """Where generator and appliances meet, one for each LAN."""
    return scratch / "first", scratch / "second"


def _alone(scratch: Path) -> Bed:
    """The generator's devices and those of what stands in the place of both appliances."""
    first, second = sockets(scratch)
    devices = Devices()
    return Bed("load", End((devices.vhost(0, first), devices.vhost(1, second)), GENERATOR_CORE),
               End((devices.virtio(0, first), devices.virtio(1, second)), FORWARDER_CORE))


def _generator(between: str, case: Case, seconds: float, programs: Path, scratch: Path) -> Program:
    log = scratch / "load.log"
    log.unlink(missing_ok=True)
    first, second = sockets(scratch)
    more = [] if between == BETWEEN else case.alone
    command = ["taskset", "-c", str(GENERATOR_CORE), str(programs / "load"),
               "--core", str(GENERATOR_CORE), "--seconds", str(seconds),
               "--clients", case.devices.vhost(0, first),
               "--servers", case.devices.vhost(1, second), *case.load, *more]
    return Program("load", command, log)


def _tpo(site: str, case: Case, programs: Path, scratch: Path, rate: str) -> Program:
    file = scratch / f"{site}.toml"
    file.write_text(to_toml(config(site, case, scratch, rate)), encoding="utf-8")
    log = scratch / f"{site}.log"
    log.unlink(missing_ok=True)
    # All of its threads: the generator has its core alone.
    command = ["taskset", "-c", str(FORWARDER_CORE), str(programs / "tpo"), "--config", str(file),
               "--rxd", str(WAN_DESCRIPTORS), "--txd", str(WAN_DESCRIPTORS)]
    return Program(f"tpo {site}", command, log)


def _check_split(scratch: Path) -> None:
    """Whether what was measured went through a session, and not past it."""
    for site in SITES:
        peer = ask(scratch / f"{site}.sock", "show peer")["peers"][0]
        if not (peer["state"] == "up" and peer["to_peer"]["lan_bytes"] > 0):
            raise LabError(f"site {site} has carried nothing: {peer}")

