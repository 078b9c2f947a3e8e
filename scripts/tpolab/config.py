"""The configuration of the lab's appliances, as `tpo --config` reads it: written here only.

The format is described in docs/operations.md.
"""

from __future__ import annotations

import json
import os
from typing import Any

from . import topology
from .topology import Site

ENDPOINT_FAMILIES = ("ipv4", "ipv6")

OPTIMIZE_ALL = [{"protocol": protocol, "action": "optimize"}
                for protocol in ("tcp", "udp", "icmp", "icmpv6")]
"""Rules that take all TCP, UDP and ICMP that a peer's networks can answer."""


DRIVER_ARGUMENTS = {
    # Without busy polling, looking for frames where there are none costs no system call.
    "af_xdp": ",busy_budget=0",
    "af_packet": "",
}


def device(driver: str, number: int, interface: str) -> str:
    """The DPDK device that drives a kernel interface: `net_af_xdp0,iface=lan0`, and options."""
    return f"net_{driver}{number},iface={interface}{DRIVER_ARGUMENTS[driver]}"


def core(number: int) -> int:
    """The core of this process with that number, counted round."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


def default_rules(site: Site, far: Site) -> list[dict[str, Any]]:
    """Everything between the networks of the two sites, except between the appliances."""
    appliances = [f"{interface.address}/{128 if ':' in interface.address else 32}"
                  for interface in far.lan_interfaces + far.wan_interfaces]
    passed = {"name": "appliances", "destination": appliances, "action": "pass"}
    return [passed] + [{**rule, "name": rule["protocol"], "source": site.networks,
                        "destination": far.networks} for rule in OPTIMIZE_ALL]


def appliance(site: Site, far: Site, *, driver: str, control_socket: str, mtu: int,
              rate: str, key_file: str, public_key: str, rules: list[dict[str, Any]] | None = None,
              first_rules: list[dict[str, Any]] | None = None, peer: dict[str, Any] | None = None,
              extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configuration of one appliance as a tree.

    `key_file` is its own key, `public_key` that of the other. `rules` replace the default ones,
    `first_rules` go before either, `peer` is laid over the peer's keys, and `extra` over the whole
    tree, table by table (`{"limits": {"flows": 64}}`).
    """
    tree: dict[str, Any] = {
        "name": f"site-{site.side}",
        "mode": "inline",
        "control_socket": control_socket,
        "key_file": key_file,
        "lan": {
            "device": device(driver, 0, topology.APPLIANCE_LAN),
            "addresses": [str(interface) for interface in site.lan_interfaces],
            "gateways": site.gateways,
            "networks": site.networks,
            "mtu": mtu,
        },
        "wan": {
            "device": device(driver, 1, topology.APPLIANCE_WAN),
            "addresses": [str(interface) for interface in site.wan_interfaces],
            "port": topology.UDP_PORT,
            "mtu": mtu,
        },
        "peer": [{
            "name": f"site-{far.side}",
            "endpoint": far.endpoint,
            "networks": far.networks,
            "rate": rate,
            "public_key": public_key,
            **(peer or {}),
        }],
        "rule": [*(first_rules or []), *(default_rules(site, far) if rules is None else rules)],
        # Each appliance has a core of its own, as far as there are cores.
        "cores": {"port": core(site.number - 1)},
    }
    for row in tree["peer"]:
        if row.get("encryption") == "none":
            row.pop("public_key", None)
    for key, value in (extra or {}).items():
        both = isinstance(value, dict) and isinstance(tree.get(key), dict)
        tree[key] = {**tree[key], **value} if both else value
    return tree


def to_toml(tree: dict[str, Any]) -> str:
    """A tree of tables, arrays of tables and values as TOML."""
    plain = {key: value for key, value in tree.items() if not _is_table(value)}
    parts = [_keys(plain)]
    for key, value in tree.items():
        if isinstance(value, dict):
            parts.append(f"[{key}]\n{_keys(value)}")
        elif _is_table(value):
            parts += [f"[[{key}]]\n{_keys(row)}" for row in value]
    return "\n".join(part for part in parts if part)


def _is_table(value: Any) -> bool:
    rows = isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
    return isinstance(value, dict) or rows


def _keys(table: dict[str, Any]) -> str:
    # Strings, numbers, booleans and arrays of them are spelt alike in TOML and JSON.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
