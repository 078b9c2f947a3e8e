"""What passed on a device: a raw socket that collects frames."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading

from . import namespaces
from .errors import LabError

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 << 20
FRAME_BYTES_MAX = 65536

AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, lengths, offsets, and the VLAN tag (value, type)."""
TP_STATUS_VLAN_VALID = 1 << 4
MAC_ADDRESSES_BYTES = 12


class Capture:
    """Collects every frame that a device receives (and sends, if asked) until closed.

    Frames that an AF_XDP program takes never get to the kernel: capture at the other end of the
    cable, or use the af_packet driver.
    """

    def __init__(self, namespace: str, device: str, *, outgoing: bool = False) -> None:
        self._frames: list[bytes] = []
        self._changed = threading.Condition()
        self._socket = namespaces.open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        if not outgoing:
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.bind((device, ETH_P_ALL))
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._collect, name=f"capture {device}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def frames(self) -> list[bytes]:
        """The frames read so far, in order of arrival; after `close`, all of them."""
        with self._changed:
            return list(self._frames)

    def wait_for(self, count: int, seconds_max: float) -> list[bytes]:
        """The frames, once there are `count` of them or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) >= count, seconds_max)
            return list(self._frames)

    def close(self) -> None:
        """Ends the capture; a LabError if the kernel had to drop frames."""
        if self._socket.fileno() < 0:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()
        os.close(self._stop)
        if dropped:
            raise LabError(f"the capture lost {dropped} frames")

    def _collect(self) -> None:
        while True:
            readable, _, _ = select.select([self._socket, self._stop], [], [])
            if self._socket not in readable:
                return  # stopped, and nothing is left to read
            frame = _read(self._socket)
            with self._changed:
                self._frames.append(frame)
                self._changed.notify_all()


def _read(source: socket.socket) -> bytes:
    """A frame as it was on the wire: the kernel takes a VLAN tag out and hands it over beside it."""
    frame, notes, _, _ = source.recvmsg(FRAME_BYTES_MAX, socket.CMSG_SPACE(AUXDATA.size))
    for _, kind, note in notes:
        status, *_, tag, tag_type = AUXDATA.unpack(note)
        if kind == PACKET_AUXDATA and status & TP_STATUS_VLAN_VALID:
            header = struct.pack("!HH", tag_type, tag)
            return frame[:MAC_ADDRESSES_BYTES] + header + frame[MAC_ADDRESSES_BYTES:]
    return frame
