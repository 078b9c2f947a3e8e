"""The lab itself: builds the two sites and the WAN, runs the programs, takes everything away.

    with Lab(LabOptions(wan_arguments=["--rate", "200mbit", "--delay", "40ms"])) as lab:
        lab.run("hosta", "ping", "-c", "3", lab.site("b").address_ipv4)

What a lab made is on record in its state directory before it is made, so that a later process can
remove a lab whose own process was killed. Nothing outside its namespaces is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import config, keys, namespaces, record, signals, topology
from .capture import Capture
from .errors import LabError
from .namespaces import InterfaceCounters
from .processes import STOP_SECONDS_MAX, Program
from .record import Record
from .topology import Site

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / (os.environ.get("CARGO_TARGET_DIR") or "target")
"""Where cargo puts what it builds."""

APPLIANCES = ("tpo", "bridge", "none")
WANS = ("wanem", "bridge", "none")
DRIVERS = ("af_xdp", "af_packet")
WAN_PRIORITY = 10
"""Of the emulator, among real-time processes."""
CONTROL_SECONDS_MAX = 10.0


@dataclass
class LabOptions:
    """What kind of lab."""

    name: str = ""
    """Tells labs on one machine apart; a unique one is made up if empty."""
    appliances: str = "tpo"
    """What stands at each site: two `tpo`, Linux bridges (the direct path), or nothing."""
    wan: str = "wanem"
    """What connects the sites: the emulator, a Linux bridge, or nothing."""
    wan_arguments: list[str] = field(default_factory=list)
    """Options of wanem: `["--rate", "200mbit", "--delay", "40ms"]`."""
    driver: str = "af_xdp"
    """How the programs get at the veth devices."""
    mtu: int = 1500
    """MTU of every device, in IP bytes."""
    hosts: int = 1
    """Addresses of each family per host."""
    router: str | None = None
    """The side, `a` or `b`, whose host is behind a router."""
    lan_loss_per_mille: int = 0
    """Frames of a thousand that each LAN loses in each direction."""
    switches: bool = False
    """Whether a switch stands in front of each appliance even if it loses nothing."""
    rate: str = "200mbit"
    """What each appliance may send to the other."""
    rules: list[dict[str, Any]] | None = None
    """Rules of both appliances in place of the default ones."""
    first_rules: list[dict[str, Any]] = field(default_factory=list)
    """Rules of both appliances before those."""
    peer: dict[str, Any] = field(default_factory=dict)
    """Laid over the peer's part of both appliances' configuration."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Laid over both appliances' configuration."""
    tpo_arguments: list[str] = field(default_factory=list)
    """Further options of both tpo."""
    programs: Path | None = None
    """Where tpo, tpoctl and wanem are; if not given, what was built last."""

    def check(self) -> None:
        """A LabError for what cannot be."""
        for value, known in ((self.appliances, APPLIANCES), (self.wan, WANS),
                             (self.driver, DRIVERS), (self.router, (None, *topology.SIDES))):
            if value not in known:
                raise LabError(f"{value!r} is not one of {', '.join(map(str, known))}")
        if not 0 <= self.lan_loss_per_mille <= 1000:
            raise LabError(f"per mille are 0 to 1000, not {self.lan_loss_per_mille}")
        if not 1 <= self.hosts <= topology.HOSTS_MAX:
            raise LabError(f"hosts must be 1 to {topology.HOSTS_MAX}, not {self.hosts}")
        if self.name:
            record.check_name(self.name)


class Lab:
    """A lab: a context manager that is up inside its block and leaves nothing behind."""

    def __init__(self, options: LabOptions | None = None) -> None:
        self.options = options or LabOptions()
        self.options.check()
        self.name = self.options.name or f"{os.getpid()}-{secrets.token_hex(2)}"
        self.sites = {side: Site(side, self.options.hosts, self.options.router == side,
                                 self.options.switches or self.options.lan_loss_per_mille > 0)
                      for side in topology.SIDES}
        self.directory = record.STATE_ROOT / self.name
        self.programs: dict[str, Program] = {}
        self._keys: dict[str, bytes] = {}
        self._record: Record | None = None
        self._others: list[subprocess.Popen[Any]] = []
        self._exit = contextlib.ExitStack()

    # Life.

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as undo:
            undo.enter_context(signals.raised())
            self.up()
            undo.callback(self.down)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def up(self, *, owned: bool = True) -> None:
        """Builds everything and starts the programs; on failure takes all of it away again.

        A lab that is not `owned` is meant to outlive this process, and only `down` ends it.
        """
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes network namespaces")
        self._record = Record(self.name, self._nodes, owned=owned)
        try:
            self._build()
            if self.options.wan == "wanem":
                self.start_wan()
            if self.options.appliances == "tpo":
                # Both come up at once: neither waits for the other.
                starting = [self.start_tpo(side, ready=False) for side in topology.SIDES]
                for program in starting:
                    program.wait_ready()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Stops the programs in order and removes namespaces and files."""
        with signals.held():
            record.remove(self.name, self._stop_programs)

    def leftovers(self) -> list[str]:
        """What is left after `down`; empty if nothing is."""
        alive = [program for program in self.programs.values() if program.running]
        return record.leftovers(self.name) + [f"process {program.pid}" for program in alive]

    # Who is where.

    def site(self, side: str) -> Site:
        """The site of side `a` or `b`."""
        return self.sites[side]

    def namespace(self, node: str) -> str:
        """The full name of a node's namespace: `hosta` of lab `x` is `tpox-hosta`."""
        if node not in self._nodes:
            raise LabError(f"this lab has no {node!r}, only {', '.join(self._nodes)}")
        return record.namespace(self.name, node)

    def socket_path(self, program: str) -> Path:
        """The control socket of `wanem`, `tpoa` or `tpob`."""
        return self.directory / f"{program}.sock"

    def log_path(self, program: str) -> Path:
        """What a program printed."""
        return self.directory / f"{program}.log"

    # Programs.

    def start_wan(self, *arguments: str) -> Program:
        """Starts the emulator, with these options in place of the lab's if there are any."""
        devices = [word for number, side in enumerate(topology.SIDES) for word in (
            f"--port-{side}",
            config.device(self.options.driver, number, topology.WAN_DEVICES[side]))]
        program = self._start("wanem", "wan", [
            str(self.binary("wanem")), *devices,
            "--control", str(self.socket_path("wanem")),
            *(arguments or self.options.wan_arguments)])
        # A wire does not wait for a CPU. Where this is not allowed, delays vary more under load.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(program.pid, os.SCHED_FIFO, os.sched_param(WAN_PRIORITY))
        return program

    def start_tpo(self, side: str, tree: dict[str, Any] | None = None, *,
                  ready: bool = True) -> Program:
        """Starts the appliance of one side, with this configuration in place of the lab's."""
        node = self.site(side).appliance
        path = self.write_config(side, tree)
        return self._start(node, node, [
            str(self.binary("tpo")), "--config", str(path), *self.options.tpo_arguments],
            ready=ready)

    def start_third(self, side: str, tree: dict[str, Any]) -> Program:
        """Starts one more appliance in the place of the switch of one side, as `tpoc`."""
        node = self.site(side).switch
        namespaces.run("ip", "-n", self.namespace(node), "link", "delete", "br0")
        path = self.directory / "tpoc.toml"
        path.write_text(config.to_toml(tree), encoding="utf-8")
        return self._start("tpoc", node, [
            str(self.binary("tpo")), "--config", str(path), *self.options.tpo_arguments])

    def tpo_config(self, side: str) -> dict[str, Any]:
        """The lab's configuration for the appliance of one side."""
        far = self.site("b" if side == "a" else "a")
        return config.appliance(
            self.site(side), far, driver=self.options.driver, mtu=self.options.mtu,
            control_socket=str(self.socket_path(self.site(side).appliance)),
            rate=self.options.rate, rules=self.options.rules,
            first_rules=self.options.first_rules, peer=self.options.peer, extra=self.options.extra,
            key_file=str(self.key_path(side)),
            public_key=keys.public_key(self._private_key(far.side)))

    def key_path(self, side: str) -> Path:
        """Where the private key of the appliance of one side is, while the lab is up."""
        return self.directory / f"{self.site(side).appliance}.key"

    def _private_key(self, side: str) -> bytes:
        """The key of one side; of a lab that is not up, one that is forgotten with it."""
        if self.directory.is_dir():
            return keys.private_key(self.key_path(side))
        return self._keys.setdefault(side, secrets.token_bytes(keys.KEY_BYTES))

    def write_config(self, side: str, tree: dict[str, Any] | None = None) -> Path:
        """Writes the configuration file of the appliance of one side; its path."""
        self._private_key(side)
        path = self.directory / f"{self.site(side).appliance}.toml"
        path.write_text(config.to_toml(tree or self.tpo_config(side)), encoding="utf-8")
        return path

    def tpoctl(self, side: str, *command: str) -> Any:
        """What a running appliance answers to a command, from its JSON."""
        return json.loads(namespaces.run(
            str(self.binary("tpoctl")), "--socket",
            str(self.socket_path(self.site(side).appliance)), "--json", *command))

    def wanem(self, command: str) -> Any:
        """What the running emulator answers to a command, from its JSON."""
        return wanem_command(self.socket_path("wanem"), command)

    def binary(self, program: str) -> Path:
        """Where a program of this project is."""
        directories = ([self.options.programs] if self.options.programs
                       else [TARGET / profile for profile in ("release", "debug")])
        found = [path for directory in directories if (path := directory / program).is_file()]
        if not found:
            raise LabError(f"{program} is not built (looked in {', '.join(map(str, directories))}): "
                           "run `cargo build --release -p control -p perf`")
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    # Hand and eye.

    def command(self, node: str, *words: str) -> list[str]:
        """The command line that runs `words` in a node's namespace, under the same process id."""
        return ["ip", "netns", "exec", self.namespace(node), *words]

    def run(self, node: str, *words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Runs a command in a namespace to its end: `subprocess.run` with its options.

        By default text is captured, and an exit code that is not 0 raises CalledProcessError.
        """
        if not {"stdout", "stderr", "capture_output"} & options.keys():
            options["capture_output"] = True
        return subprocess.run(self.command(node, *words),
                              **{"check": True, "text": True, **options})

    def popen(self, node: str, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Starts a command in a namespace: `subprocess.Popen` with its options.

        What still runs when the lab goes down is stopped.
        """
        process = subprocess.Popen(self.command(node, *words), **options)
        self._others.append(process)
        return process

    def open_socket(self, node: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in a node's namespace, to be used from here."""
        return namespaces.open_socket(self.namespace(node), family, kind, protocol)

    def sysctl(self, node: str, key: str, value: str) -> None:
        """Sets a kernel parameter in a node's namespace: `net.ipv4.tcp_rmem`."""
        namespaces.sysctl(self.namespace(node), key, value)

    def congestion_control(self, node: str, algorithm: str) -> None:
        """Makes a node's TCP use `cubic`, `bbr` or what else the kernel has."""
        namespaces.congestion_control(self.namespace(node), algorithm)

    def counters(self, node: str, device: str = topology.HOST_DEVICE) -> InterfaceCounters:
        """The kernel's counters of a device."""
        return namespaces.counters(self.namespace(node), device)

    def capture(self, node: str, device: str = topology.HOST_DEVICE, *,
                outgoing: bool = False) -> Capture:
        """Collects the frames that a device receives, and sends too if asked."""
        return Capture(self.namespace(node), device, outgoing=outgoing)

    # Inside.

    @property
    def _nodes(self) -> list[str]:
        return topology.nodes(list(self.sites.values()))

    def _build(self) -> None:
        for node in self._nodes:
            namespaces.create(self.namespace(node))
        silent = [node for node in self._nodes if not node.startswith(("host", "router"))]
        for node in silent:
            # The kernel has no say where frames only pass.
            for scope in ("all", "default"):
                namespaces.sysctl(self.namespace(node), f"net.ipv6.conf.{scope}.disable_ipv6", "1")
        for site in self.sites.values():
            for cable in topology.cables(site):
                namespaces.connect(self.namespace(cable.node), cable.device,
                                   self.namespace(cable.far_node), cable.far_device,
                                   self.options.mtu)
            if site.switched:
                self._build_switch(site)
            if self.options.appliances == "bridge":
                namespaces.bridge(self.namespace(site.appliance), "br0",
                                  topology.APPLIANCE_LAN, topology.APPLIANCE_WAN)
        if self.options.wan == "bridge":
            namespaces.bridge(self.namespace("wan"), "br0", *topology.WAN_DEVICES.values())
        for site in self.sites.values():
            self._address(site)

    def _build_switch(self, site: Site) -> None:
        switch = self.namespace(site.switch)
        namespaces.bridge(switch, "br0", *topology.SWITCH_DEVICES)
        for device in topology.SWITCH_DEVICES if self.options.lan_loss_per_mille else ():
            namespaces.lose(switch, device, self.options.lan_loss_per_mille)

    def _address(self, site: Site) -> None:
        host = self.namespace(site.host)
        for interface in site.host_interfaces_ipv4 + site.host_interfaces_ipv6:
            namespaces.add_address(host, topology.HOST_DEVICE, str(interface))
        far = self.site("b" if site.side == "a" else "a")
        for network, gateway in zip(far.routed_networks, far.gateways):
            namespaces.add_route(host, network, gateway)
        if not site.routed:
            return
        router = self.namespace(site.router)
        for device, interfaces in ((topology.ROUTER_OUTSIDE, site.router_outside),
                                   (topology.ROUTER_INSIDE, site.router_inside)):
            for interface in interfaces:
                namespaces.add_address(router, device, str(interface))
        namespaces.sysctl(router, "net.ipv4.ip_forward", "1")
        namespaces.sysctl(router, "net.ipv6.conf.all.forwarding", "1")
        for interface in site.router_inside:
            namespaces.add_route(host, "default", interface.address)

    def _start(self, name: str, node: str, command: list[str], *, ready: bool = True) -> Program:
        # DPDK keeps its files below this directory instead of /run/dpdk.
        environment = {"RUNTIME_DIRECTORY": str(self.directory)}
        program = Program(name, self.command(node, *command), self.log_path(name),
                          environment=environment)
        self.programs[name] = program
        if self._record is not None:
            self._record.add_program(program.id)
        if ready:
            program.wait_ready()
        return program

    def _stop_programs(self) -> None:
        for process in self._others:
            if process.poll() is None:
                process.terminate()
        for process in self._others:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in ("tpoc", "tpoa", "tpob", "wanem"):
            if name in self.programs:
                self.programs[name].stop()


def wanem_command(path: Path, command: str) -> Any:
    """Sends one line to a running emulator; what it answers, or a LabError if it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(CONTROL_SECONDS_MAX)
        try:
            control.connect(str(path))
        except OSError as error:
            raise LabError(f"no wanem listens at {path}: {error}; `scripts/lab down` and `up` make the "
                           "lab anew") from error
        control.sendall(command.encode() + b"\n")
        answer = json.loads(control.makefile("rb").readline() or b'{"error": "no answer"}')
    if "error" in answer:
        raise LabError(f"wanem: {answer['error']}")
    return answer
