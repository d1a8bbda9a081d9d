"""A ring of packets that is shared with the kernel: it fills blocks, we empty them.

A plain packet socket holds 200 KiB and loses nearly all of a burst while Python looks at the first packet. TPACKET_V3
(Linux, Documentation/networking/packet_mmap.rst) hands over blocks of megabytes, closed when full or after 60 ms, and
counts what found no room. The filter is attached before the socket is bound to its interface, so that not one foreign
packet can slip in. A VLAN tag that the network card has taken off is not put back.
"""

from __future__ import annotations

import fcntl
import mmap
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

from audit.capture.account import CaptureUnavailable
from audit.capture.filters import REFUSE_ALL, attach, tcp_filter
from audit.capture.pcap import packet_header

__all__ = ["BLOCK_BYTES", "Counts", "PacketRing"]

BLOCK_BYTES = 1 << 22
_FRAME_BYTES = 1 << 17  # the kernel wants a size that divides the block; version 3 packs packets as they come
_RETIRE_MS = 60

_SOL_PACKET = 263
_RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 5, 6, 10, 23  # of linux/if_packet.h
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_SIOCGIFHWADDR = 0x8927
_ETHERNET_HARDWARE, _LOOPBACK_HARDWARE = 1, 772
_OUTGOING = 4  # sll_pkttype

_block = struct.Struct("=8xIII")  # struct tpacket_block_desc: status, packets, offset of the first
_packet = struct.Struct("=IIIII4xH")  # struct tpacket3_hdr: next, time in s and ns, captured, length, where data begin
_PACKET_TYPE = 48 + 10  # in struct sockaddr_ll, which follows the 48 bytes of tpacket3_hdr
_frame = struct.Struct(">12xH6xH")  # Ethernet and IPv4: ethertype, fragment field
_IPV4, _IPV6 = 0x0800, 0x86DD
_IPV4_FRAGMENT, _IPV6_FRAGMENT = 0x3FFF, 44  # more fragments, or an offset; next header


@dataclass
class Counts:
    """What went through a ring so far."""

    packets: int = 0  # kept
    bytes: int = 0
    taken: int = 0  # out of the ring, with those that were not kept
    cut: int = 0
    fragments: int = 0
    accepted: int = 0  # by the kernel's filter, with those that were dropped
    dropped: int = 0
    freezes: int = 0
    interruptions: int = 0


class PacketRing:
    """Packets of one Ethernet-like interface (lo, veth, bridge, network card) that pass the filter for `port`.

    Raises `CaptureUnavailable` without privileges, where there is no such interface or it is down, and off Linux.
    """

    def __init__(self, interface: str, port: int, ring_bytes: int) -> None:
        if sys.platform != "linux":
            raise CaptureUnavailable(f"packets are captured on Linux only, and this is {sys.platform}")
        self.interface = interface
        self.counts = Counts()
        self._blocks = max(ring_bytes // BLOCK_BYTES, 2)
        self._current = 0
        self._socket = _open()
        try:
            self._loopback = _hardware(self._socket, interface) == _LOOPBACK_HARDWARE
            attach(self._socket, tcp_filter({port}))
            self._memory = self._map()
            self._view = memoryview(self._memory)
            self._bind()
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For polling: readable when a block is full, or 60 ms old."""
        return self._socket.fileno()

    def take(self) -> bytes | None:
        """The packets of the next closed block, as they stand in a pcap file; None if there is no closed block."""
        base = self._current * BLOCK_BYTES
        status, packets, at = _block.unpack_from(self._view, base)
        if not status & 1:
            return None
        pieces = self._pieces(base + at, packets)
        joined = b"".join(pieces)
        for piece in pieces:
            if isinstance(piece, memoryview):
                piece.release()
        struct.pack_into("=I", self._view, base + 8, 0)  # the block is the kernel's again
        self._current = (self._current + 1) % self._blocks
        return joined

    def _pieces(self, at: int, packets: int) -> list[bytes | memoryview]:
        view, counts, loopback = self._view, self.counts, self._loopback
        pieces: list[bytes | memoryview] = []
        for _ in range(packets):
            step, seconds, nanoseconds, captured, length, offset = _packet.unpack_from(view, at)
            start = at + offset
            # The loopback interface shows each packet twice, going out and coming in.
            if not (loopback and view[at + _PACKET_TYPE] == _OUTGOING):
                pieces.append(packet_header.pack(seconds, nanoseconds, captured, length))
                pieces.append(view[start : start + captured])
                counts.bytes += captured
                counts.cut += captured < length
                counts.fragments += captured >= 34 and _is_fragment(view, start)
            at += step
        counts.packets += len(pieces) // 2
        counts.taken += packets
        return pieces

    def refuse_all(self) -> None:
        """From now on the kernel puts nothing more into the ring; what is in it can still be taken."""
        attach(self._socket, REFUSE_ALL)

    def count(self) -> None:
        """Add the kernel's counters, which it sets to zero when they are read, to `counts`."""
        accepted, dropped, freezes = struct.unpack("=III", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self.counts.accepted += accepted
        self.counts.dropped += dropped
        self.counts.freezes += freezes
        self.counts.interruptions += self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def unread(self) -> int:
        """How many packets are still in the ring; `count` first."""
        return self.counts.accepted - self.counts.dropped - self.counts.taken

    def close(self) -> None:
        """Give the ring back; what is in it is lost."""
        self._socket.close()
        self._view.release()
        self._memory.close()

    def _map(self) -> mmap.mmap:
        size = self._blocks * BLOCK_BYTES
        request = (BLOCK_BYTES, self._blocks, _FRAME_BYTES, size // _FRAME_BYTES, _RETIRE_MS, 0, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            self._socket.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("=7I", *request))
            return mmap.mmap(self._socket.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            raise CaptureUnavailable(f"the kernel gives no ring of {size >> 20} MiB: {error.strerror}") from error

    def _bind(self) -> None:
        if self._loopback:
            with suppress(OSError):  # Linux 4.20: then the second copies take no room in the ring
                self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._socket.bind((self.interface, _ETH_P_ALL))
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise CaptureUnavailable(f"interface {self.interface} is down")


def _open() -> socket.socket:
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: deaf until it is bound
    except PermissionError as error:
        raise CaptureUnavailable("packets can be captured by root or with CAP_NET_RAW only") from error
    except OSError as error:
        raise CaptureUnavailable(f"this system gives no packet socket: {error.strerror}") from error


def _hardware(packet_socket: socket.socket, interface: str) -> int:
    """The interface's hardware type; refuses what does not put an Ethernet header before its packets."""
    known = [name for _, name in socket.if_nameindex()]
    if interface not in known:
        raise CaptureUnavailable(f"there is no interface {interface!r} here, only {', '.join(known)}")
    answer = fcntl.ioctl(packet_socket.fileno(), _SIOCGIFHWADDR, struct.pack("256s", interface.encode()))
    (hardware,) = struct.unpack_from("=16xH", answer)
    if hardware not in (_ETHERNET_HARDWARE, _LOOPBACK_HARDWARE):
        raise CaptureUnavailable(f"interface {interface} has no Ethernet frames (hardware type {hardware})")
    return int(hardware)


def _is_fragment(view: memoryview, start: int) -> bool:
    kind, field = _frame.unpack_from(view, start)
    if kind == _IPV4:
        return bool(field & _IPV4_FRAGMENT)
    return kind == _IPV6 and view[start + 20] == _IPV6_FRAGMENT
