"""The command line of scripts/lab."""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import record
from .errors import LabError
from .lab import APPLIANCES, DRIVERS, WANS, Lab, LabOptions, wanem_command
from .topology import SIDES

DEFAULT_NAME = "lab"


def main(arguments: list[str] | None = None) -> int:
    """Does what the arguments say; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.action(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    lab = Lab(LabOptions(
        name=options.name, appliances=options.appliances, wan=options.wan,
        wan_arguments=options.wan_argument, driver=options.driver, mtu=options.mtu,
        hosts=options.hosts, router=options.router, rate=options.rate))
    lab.up(owned=False)
    print(f"lab {lab.name} is up; its files are in {lab.directory}")
    for side in SIDES:
        site = lab.site(side)
        print(f"  {site.host}: {site.address_ipv4}  {site.address_ipv6}")
    print(f"try: scripts/lab exec --name {lab.name} hosta ping -c 3 {lab.site('b').address_ipv4}")
    return 0


def _down(options: argparse.Namespace) -> int:
    if options.stale:
        names = [name for name, stale in record.labs().items() if stale]
    elif record.leftovers(options.name):
        names = [options.name]
    else:
        raise LabError(f"there is no lab {options.name!r}; `scripts/lab list` lists them")
    for name in names:
        record.remove(name)
        print(f"lab {name} is gone")
    return 0


def _exec(options: argparse.Namespace) -> int:
    if options.name not in record.labs():
        raise LabError(f"there is no lab {options.name!r}; `scripts/lab up --name {options.name}` "
                       "makes one")
    nodes = record.nodes(options.name)
    if options.node not in nodes:
        raise LabError(f"lab {options.name!r} has no node {options.node!r}, but {', '.join(nodes)}")
    namespace = record.namespace(options.name, options.node)
    words = options.command or [os.environ.get("SHELL", "sh")]
    command = ["ip", "netns", "exec", namespace, *words]
    sys.stdout.flush()
    os.execvp(command[0], command)


def _wan(options: argparse.Namespace) -> int:
    path = record.STATE_ROOT / options.name / "wanem.sock"
    print(json.dumps(wanem_command(path, " ".join(options.command)), indent=2))
    return 0


def _list(_: argparse.Namespace) -> int:
    for name, stale in record.labs().items():
        print(f"{name}{'  (stale: the process that made it is gone)' if stale else ''}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description="Two sites and a WAN in network namespaces, for work by hand.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: object, text: str, *,
                named: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        if named:
            sub.add_argument("--name", default=DEFAULT_NAME,
                             help="which lab (default: %(default)s)")
        return sub

    up = command("up", _up, "Builds a lab and leaves it running.")
    up.add_argument("--appliances", choices=APPLIANCES, default="tpo",
                    help="what stands at each site")
    up.add_argument("--wan", choices=WANS, default="wanem", help="what connects the sites")
    up.add_argument("--driver", choices=DRIVERS, default="af_xdp")
    up.add_argument("--mtu", type=int, default=1500)
    up.add_argument("--hosts", type=int, default=1, help="addresses of each family per host")
    up.add_argument("--router", choices=SIDES, help="side whose host is behind a router")
    up.add_argument("--rate", default="200mbit", help="what each tpo may send to the other")
    up.add_argument("wan_argument", nargs="*", metavar="-- WANEM_OPTION",
                    help="options of wanem: -- --rate 200mbit --delay 40ms --loss 0.5%%")
    down = command("down", _down, "Removes a lab.")
    down.add_argument("--stale", action="store_true",
                      help="remove all labs whose maker was killed instead")
    execute = command("exec", _exec, "Runs a command (a shell if none) in a namespace of a lab.")
    execute.add_argument("node", help="hosta, hostb, tpoa, tpob, wan, routera or routerb")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    wan = command("wan", _wan, "Sends a command to the running emulator: stats, down, up, set ...")
    wan.add_argument("command", nargs=argparse.REMAINDER)
    command("list", _list, "Lists the labs of this machine.", named=False)
    return parser
