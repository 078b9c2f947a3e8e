"""The labs of the suite: which kinds there are, and the one that is up.

In:  the name of a spec.
Out: a lab of that kind, shared by all cases that ask for it one after the other.
Never: keeps two labs up at once (two cores are enough for one), nor one in which a case failed.
"""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from tpolab import config, namespaces  # noqa: E402,F401
from tpolab.lab import Lab, LabOptions  # noqa: E402

from .streams import eventually  # noqa: E402

SEED = "7"
PEER_SECONDS_MAX = 20


WAN = ["--rate", "200mbit", "--delay", "20ms", "--seed", SEED]
"""The suite's link, 200 Mb/s and 40 ms of RTT. Cases set the loss they want."""

SHORT_LIVED = {"dead_after": "4s", "keepalive": "1s"}
"""A peer that is given up soon, so that cases need not wait for long."""

SPECS: dict[str, LabOptions] = {
    "pair": LabOptions(wan_arguments=WAN),
    "routed": LabOptions(wan_arguments=WAN, router="b"),
    "lan-loss": LabOptions(wan_arguments=WAN, lan_loss_per_mille=10),
    "short-lived-peer": LabOptions(wan_arguments=WAN, peer=SHORT_LIVED),
    "three": LabOptions(wan_arguments=WAN, switches=True),
    "three-edges": LabOptions(wan_arguments=WAN, switches=True, extra={"cores": {
        "port": 0, "edge": [0, 1], "aggregate": 1, "compress": 1, "transmit": 0,
        "decompress": 1}}),
    "clear": LabOptions(wan_arguments=WAN, peer={"encryption": "none"}),
    "fallback-pass": LabOptions(wan_arguments=WAN, appliances="none",
                                peer={**SHORT_LIVED, "encryption": "none"}),
    "fallback-refuse": LabOptions(wan_arguments=WAN, appliances="none",
                                  peer=SHORT_LIVED),
    "alone": LabOptions(appliances="none", wan="none"),
    "spread": LabOptions(wan_arguments=WAN, extra={"cores": {
        "port": 0, "edge": 1, "aggregate": 0, "compress": 1, "transmit": 0, "decompress": 1}}),
    "replicas": LabOptions(wan_arguments=WAN, extra={"cores": {
        "port": 0, "edge": 1, "aggregate": 1, "compress": [0, 1], "transmit": 0,
        "decompress": [0, 1]}}),
    "edges": LabOptions(wan_arguments=WAN, extra={"cores": {
        "port": 0, "edge": [0, 1], "aggregate": 1, "compress": 1, "transmit": 0,
        "decompress": 1}}),
}
"""Every kind of lab by its name. Where something is "none", the cases bring their own."""


def wait_for_peers(lab: Lab) -> None:
    """Returns when both appliances have a session with each other: until then flows may pass."""
    for side in "ab":
        eventually(f"the peer of tpo{side} is up", lambda side=side: peer_state(lab, side) == "up",
                   PEER_SECONDS_MAX)


def peer_state(lab: Lab, side: str) -> str:
    """What an appliance says of its peer."""
    return lab.tpoctl(side, "show", "peer")["peers"][0]["state"]


class Keeper:
    """Keeps one lab up and makes it the one that is asked for."""

    def __init__(self) -> None:
        self.appliances = "tpo"
        """What stands at the sites: "tpo", or "bridge" to try the cases without it."""
        self.wan = "wanem"
        self.driver = "af_xdp"
        self.programs: Path | None = None
        self.lab: Lab | None = None
        self._spec = ""
        self._loss = ""

    def options(self, spec: str) -> LabOptions:
        """The options of a lab of this kind, to be changed freely."""
        options = replace(copy.deepcopy(SPECS[spec]), driver=self.driver, programs=self.programs)
        if options.appliances != "none":
            options = replace(options, appliances=self.appliances)
        return options if options.wan == "none" else replace(options, wan=self.wan)

    def get(self, spec: str, loss: str, fresh: bool = False) -> Lab:
        """The lab of this kind, built if it is not up, its WAN losing that much in both directions.

        A `fresh` one is built for this case alone.
        """
        if fresh or self.lab is None or spec != self._spec:
            self.drop()
            lab = Lab(self.options(spec))
            lab.up()
            self.lab, self._spec, self._loss = lab, spec, ""
            if lab.options.appliances == "tpo":
                wait_for_peers(lab)
        if self.lab.options.wan == "wanem" and loss != self._loss:
            self.lab.wanem(f"set both loss {loss}")
            self._loss = loss
        return self.lab

    def drop(self) -> None:
        """Takes the lab away; an error if anything of it is left."""
        if self.lab is None:
            return
        lab, self.lab = self.lab, None
        lab.down()
        # One that a case has killed ended by SIGKILL as well, but not because it would not stop.
        bad = {name: program.exit_code for name, program in lab.programs.items()
               if program.killed or program.exit_code not in (0, -signal.SIGKILL)}
        if bad:
            raise AssertionError(f"did not stop in order: {bad}")
        left = lab.leftovers()
        if left:
            raise AssertionError(f"left of the lab: {', '.join(left)}")


keeper = Keeper()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for a case's files."""
    with tempfile.TemporaryDirectory(prefix="tpo-e2e-") as path:
        yield Path(path)
