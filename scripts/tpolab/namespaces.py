"""Network namespaces, veth pairs and sockets inside them: thin, stateless, by name.

Every function takes full names. Nothing here remembers what it made; the lab does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, TypeVar

from . import signals
from .errors import LabError

NETNS_DIRECTORY = Path("/run/netns")
BRIDGE_FILTER = Path("/proc/sys/net/bridge")
CLONE_NEWNET = 0x40000000

# Frames in the lab are what a wire would carry: no checksum left to a NIC that does not exist, no
# segment longer than the MTU, no coalescing on receipt.
OFFLOADS = ("rx", "tx", "sg", "tso", "gso", "gro", "rxvlan", "txvlan")

T = TypeVar("T")


def run(*command: str) -> str:
    """Runs a system command to its end; its output, or a LabError with what it said."""
    try:
        # In a session of its own: a Ctrl-C in the middle of cleaning up is not for it.
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              start_new_session=True)
    except FileNotFoundError as missing:
        raise LabError(f"{command[0]} is not installed") from missing
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def names() -> set[str]:
    """All named network namespaces of this machine."""
    return set(os.listdir(NETNS_DIRECTORY)) if NETNS_DIRECTORY.is_dir() else set()


def create(name: str) -> None:
    """A namespace with its loopback up and IPv6 addresses usable at once."""
    # Not killed half-way: its name would be there, and no namespace behind it.
    with signals.held():
        run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    for scope in ("all", "default"):
        sysctl(name, f"net.ipv6.conf.{scope}.accept_dad", "0")
        sysctl(name, f"net.ipv6.conf.{scope}.accept_ra", "0")


def delete(name: str) -> None:
    """Removes the devices of a namespace, then the namespace.

    The devices go first because the kernel takes its time over those of a namespace that is gone.
    """
    # Where only the name is left of it, it has no devices to show.
    with contextlib.suppress(LabError):
        for link in json.loads(run("ip", "-n", name, "-j", "link", "show") or "[]"):
            if link["ifname"] != "lo":
                # The far end may have gone with a pair removed a moment ago.
                subprocess.run(["ip", "-n", name, "link", "delete", link["ifname"]],
                               capture_output=True, check=False)
    run("ip", "netns", "delete", name)


def connect(name: str, device: str, far_name: str, far_device: str, mtu: int) -> None:
    """A veth pair between two namespaces, offloads off, both ends up."""
    run("ip", "link", "add", device, "mtu", str(mtu), "netns", name, "type", "veth",
        "peer", "name", far_device, "mtu", str(mtu), "netns", far_name)
    for owner, end in ((name, device), (far_name, far_device)):
        switches = [word for offload in OFFLOADS for word in (offload, "off")]
        run("ip", "netns", "exec", owner, "ethtool", "-K", end, *switches)
        run("ip", "-n", owner, "link", "set", end, "up")


def bridge(name: str, device: str, *members: str) -> None:
    """A transparent bridge over devices that are already in the namespace.

    Where the kernel has br_netfilter, bridges look into IP packets and drop damaged ones: not here.
    """
    for protocol in ("ip", "ip6", "arp"):
        if inside(name, BRIDGE_FILTER.is_dir):
            sysctl(name, f"net.bridge.bridge-nf-call-{protocol}tables", "0")
    run("ip", "-n", name, "link", "add", device, "type", "bridge",
        "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
    for member in members:
        run("ip", "-n", name, "link", "set", member, "master", device)
    run("ip", "-n", name, "link", "set", device, "up")


def lose(name: str, device: str, per_mille: int) -> None:
    """Drops that share of the frames that come in at a device, at random; needs nftables."""
    run("ip", "netns", "exec", name, "nft",
        f"add table netdev lose-{device}; add chain netdev lose-{device} in "
        f"{{ type filter hook ingress device {device} priority 0; }}; "
        f"add rule netdev lose-{device} in numgen random mod 1000 < {per_mille} counter drop")


def add_address(name: str, device: str, interface: str) -> None:
    """An address with its prefix length, without duplicate address detection."""
    no_detection = ["nodad"] if ":" in interface else []
    run("ip", "-n", name, "address", "add", interface, "dev", device, *no_detection)


def add_route(name: str, destination: str, gateway: str) -> None:
    """A route by way of a gateway."""
    run("ip", "-n", name, "route", "add", destination, "via", gateway)


def congestion_control(name: str, algorithm: str) -> None:
    """Makes TCP in the namespace use an algorithm of the kernel: `cubic`, `bbr`.

    By way of the routes, as the kernel lets namespaces choose their default only among what
    net.ipv4.tcp_allowed_congestion_control names, which belongs to the whole machine.
    """
    for family in ("-4", "-6"):
        for line in run("ip", "-n", name, family, "route", "show").splitlines():
            words = line.split()
            if "congctl" in words:
                at = words.index("congctl")
                del words[at:at + 2]
            run("ip", "-n", name, family, "route", "change", *words, "congctl", algorithm)


def sysctl(name: str, key: str, value: str) -> None:
    """Sets a kernel parameter of the namespace."""
    path = "/proc/sys/" + key.replace(".", "/")
    inside(name, lambda: Path(path).write_text(value, encoding="ascii"))


def processes(name: str) -> list[int]:
    """Ids of the processes in the namespace."""
    return [int(word) for word in run("ip", "netns", "pids", name).split()]


def inside(name: str, action: Callable[[], T]) -> T:
    """Calls `action` in a thread of its own that has entered the namespace.

    Sockets opened there stay there; the caller may use them from anywhere.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_act() -> None:
        try:
            _enter(name)
            results.append(action())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=enter_and_act, name=f"in {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def open_socket(name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket that belongs to the namespace."""
    return inside(name, lambda: socket.socket(family, kind, protocol))


@dataclass(frozen=True)
class InterfaceCounters:
    """What passed through a device, as the kernel counts it: whole Ethernet frames without FCS."""

    rx_packets: int
    rx_bytes: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int

    ETHERNET_HEADER_BYTES = 14

    @property
    def rx_ip_bytes(self) -> int:
        """Bytes received without Ethernet headers (ARP counts as if it were IP)."""
        return self.rx_bytes - self.rx_packets * self.ETHERNET_HEADER_BYTES

    @property
    def tx_ip_bytes(self) -> int:
        """Bytes sent without Ethernet headers (ARP counts as if it were IP)."""
        return self.tx_bytes - self.tx_packets * self.ETHERNET_HEADER_BYTES

    def __sub__(self, before: InterfaceCounters) -> InterfaceCounters:
        """What passed since `before`."""
        return InterfaceCounters(
            self.rx_packets - before.rx_packets, self.rx_bytes - before.rx_bytes,
            self.rx_dropped - before.rx_dropped, self.tx_packets - before.tx_packets,
            self.tx_bytes - before.tx_bytes, self.tx_dropped - before.tx_dropped)


def counters(name: str, device: str) -> InterfaceCounters:
    """The counters of a device."""
    link = json.loads(run("ip", "-n", name, "-s", "-j", "link", "show", "dev", device))[0]
    rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
    return InterfaceCounters(rx["packets"], rx["bytes"], rx["dropped"],
                             tx["packets"], tx["bytes"], tx["dropped"])


def hardware_address(name: str, device: str) -> str:
    """The MAC address of a device."""
    return json.loads(run("ip", "-n", name, "-j", "link", "show", "dev", device))[0]["address"]


def _enter(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(NETNS_DIRECTORY / name, "rb") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter namespace {name}: {os.strerror(code)}")
