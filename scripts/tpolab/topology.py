"""Who is where: names, devices and addresses of the lab. Plain data, touches nothing.

    hosta -- [routera] -- [switcha] -- tpoa -- wan -- tpob -- [switchb] -- [routerb] -- hostb

Both sites are on one layer 2 segment, 10.77.0.0/16 and fd77::/64, as hosts behind transparent
appliances are. With a router at one site, the host there moves to a network of its own behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDES = ("a", "b")

HOST_DEVICE = "eth0"
"""The host's only device."""
ROUTER_INSIDE = "inside"
"""The router's device towards its host."""
ROUTER_OUTSIDE = "outside"
"""The router's device towards the appliance."""
SWITCH_DEVICES = ("inside", "outside")
"""The switch's devices towards its host and towards the appliance."""
APPLIANCE_LAN = "lan0"
APPLIANCE_WAN = "wan0"
WAN_DEVICES = {"a": "wan-a", "b": "wan-b"}
"""The emulator's device towards each site."""

UDP_PORT = 4980
"""The appliances' UDP port."""

FIRST_HOST = 10
HOSTS_MAX = 200


@dataclass(frozen=True)
class Interface:
    """An address with the length of its on-link prefix."""

    address: str
    prefix_length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True)
class Site:
    """One side of the lab."""

    side: str
    hosts: int = 1
    """How many addresses of each family the host has."""
    routed: bool = False
    """Whether a router stands between the appliance and the host."""
    switched: bool = False
    """Whether a switch, which can lose frames, stands on the LAN in front of the appliance."""

    @property
    def number(self) -> int:
        """1 for side a, 2 for side b: the part of every address that names the site."""
        return SIDES.index(self.side) + 1

    @property
    def host(self) -> str:
        return f"host{self.side}"

    @property
    def appliance(self) -> str:
        return f"tpo{self.side}"

    @property
    def router(self) -> str:
        return f"router{self.side}"

    @property
    def switch(self) -> str:
        return f"switch{self.side}"

    @property
    def host_interfaces_ipv4(self) -> list[Interface]:
        """The host's IPv4 addresses, first the one it uses by itself."""
        last = range(FIRST_HOST, FIRST_HOST + self.hosts)
        if self.routed:
            return [Interface(f"10.78.{self.number}.{n}", 24) for n in last]
        return [Interface(f"10.77.{self.number}.{n}", 16) for n in last]

    @property
    def host_interfaces_ipv6(self) -> list[Interface]:
        """The host's IPv6 addresses, first the one it uses by itself.

        The last group is spelt as the IPv4 address's last byte: fd77::1:10 beside 10.77.1.10.
        """
        last = range(FIRST_HOST, FIRST_HOST + self.hosts)
        if self.routed:
            return [Interface(f"fd78:{self.number}::{n}", 64) for n in last]
        return [Interface(f"fd77::{self.number}:{n}", 64) for n in last]

    @property
    def address_ipv4(self) -> str:
        """The host's first IPv4 address."""
        return self.host_interfaces_ipv4[0].address

    @property
    def address_ipv6(self) -> str:
        """The host's first IPv6 address."""
        return self.host_interfaces_ipv6[0].address

    @property
    def lan_interfaces(self) -> list[Interface]:
        """The appliance's own addresses on its LAN side."""
        return [Interface(f"10.77.{self.number}.1", 16), Interface(f"fd77::{self.number}:1", 64)]

    @property
    def wan_interfaces(self) -> list[Interface]:
        """The appliance's own addresses on its WAN side."""
        return [Interface(f"10.77.{self.number}.2", 16), Interface(f"fd77::{self.number}:2", 64)]

    @property
    def endpoint(self) -> str:
        """Where the far appliance sends its UDP."""
        return f"{self.wan_interfaces[0].address}:{UDP_PORT}"

    @property
    def router_outside(self) -> list[Interface]:
        """The router's addresses on the segment of both sites."""
        return [Interface(f"10.77.{self.number}.254", 16), Interface(f"fd77::{self.number}:fe", 64)]

    @property
    def router_inside(self) -> list[Interface]:
        """The router's addresses on the network of its host."""
        return [Interface(f"10.78.{self.number}.1", 24), Interface(f"fd78:{self.number}::1", 64)]

    @property
    def routed_networks(self) -> list[str]:
        """The networks behind the router."""
        if not self.routed:
            return []
        return [f"10.78.{self.number}.0/24", f"fd78:{self.number}::/64"]

    @property
    def networks(self) -> list[str]:
        """All networks behind the appliance."""
        on_link = [f"10.77.{self.number}.0/24", f"fd77::{self.number}:0/112"]
        return on_link + self.routed_networks

    @property
    def gateways(self) -> list[str]:
        """The appliance's next hops for hosts that are not on-link."""
        return [interface.address for interface in self.router_outside] if self.routed else []


@dataclass(frozen=True)
class Cable:
    """A veth pair: one device in each of two namespaces."""

    node: str
    device: str
    far_node: str
    far_device: str


def cables(site: Site) -> list[Cable]:
    """The veth pairs of one site, host first."""
    ends = [(site.host, HOST_DEVICE)]
    if site.routed:
        ends += [(site.router, ROUTER_INSIDE), (site.router, ROUTER_OUTSIDE)]
    if site.switched:
        ends += [(site.switch, device) for device in SWITCH_DEVICES]
    ends += [(site.appliance, APPLIANCE_LAN), (site.appliance, APPLIANCE_WAN),
             ("wan", WAN_DEVICES[site.side])]
    return [Cable(*near, *far) for near, far in zip(ends[::2], ends[1::2])]


def nodes(sites: list[Site]) -> list[str]:
    """Every namespace of the lab, without its prefix."""
    names = ["wan"]
    for site in sites:
        names += [site.host, site.appliance]
        names += [site.router] if site.routed else []
        names += [site.switch] if site.switched else []
    return names
