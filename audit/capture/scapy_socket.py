"""The ring as a socket of scapy's, for looking at live packets with its dissectors and sessions.

    with RingSocket("lo", 9092) as ring:
        sniff(opened_socket=ring, prn=show)

Scapy's own listening socket holds 64 KiB and drops the rest of a burst in silence; this one holds the ring and knows
what it lost. It listens only. The audit itself does not go this way: dissecting is fifty times slower than recording.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from scapy.data import MTU
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Dissected
from scapy.supersocket import SuperSocket

from audit.capture.packet_socket import PacketRing
from audit.capture.pcap import LINKTYPE_ETHERNET, Packet, PcapWriter, read_packets
from audit.capture.ring import RING_BYTES

__all__ = ["RingSocket"]


class RingSocket(SuperSocket):
    """Packets of `interface` from or to TCP `port`. Raises `CaptureUnavailable`."""

    desc = "packets of a TPACKET_V3 ring"

    def __init__(self, interface: str, port: int, *, ring_bytes: int = RING_BYTES) -> None:
        self.closed = True  # scapy closes even what could not be opened
        self._ring = PacketRing(interface, port, ring_bytes)
        self.closed = False
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None

    def fileno(self) -> int:
        """For polling: readable when a block of the ring is closed."""
        return self._ring.fileno()

    def recv_raw(self, x: int = MTU) -> tuple[type[Dissected] | None, bytes | None, float | None]:
        """The next packet and its Unix time, up to 60 ms after it was sent; nothing if none is there."""
        packet = self._next
        if packet is None and (taken := self._ring.take()) is not None:
            self._packets = read_packets(io.BytesIO(PcapWriter.header(LINKTYPE_ETHERNET) + taken))
            packet = next(self._packets, None)
        self._next = next(self._packets, None)
        return (None, None, None) if packet is None else (Ether, bytes(packet.data), packet.time_s)

    @staticmethod
    def select(sockets: list[SuperSocket], remain: float | None = None) -> list[SuperSocket]:
        """Those that can be received from: at once where packets of a block are left, else as the kernel says."""
        left: list[SuperSocket] = [each for each in sockets if isinstance(each, RingSocket) and each._next is not None]
        return left or SuperSocket.select(sockets, remain)

    def send(self, x: Any) -> int:
        """Refused: an audit only listens."""
        raise OSError("this socket only listens")

    def dropped(self) -> int:
        """Packets so far that found no room in the ring."""
        self._ring.count()
        return self._ring.counts.dropped

    def close(self) -> None:
        """Give the ring back."""
        if not self.closed:
            self.closed = True
            self._ring.close()
