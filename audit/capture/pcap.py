"""Capture files: packets out of pcap and pcapng as a stream, and into nanosecond pcap.

A capture is evidence that may come from anyone, so the reader trusts no length in it: memory is bounded by one window
and one packet, whatever the file claims, and the first thing that is wrong ends the reading with its place and reason.
Packets before it have been yielded by then; that the rest is missing must end in INCOMPLETE, never in silence.

Sources: draft-ietf-opsawg-pcap (classic pcap, both byte orders, micro- and nanoseconds) and draft-ietf-opsawg-pcapng
(sections, several interfaces, enhanced, simple and obsolete packet blocks, resolution and offset of times).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = [
    "CAPTURE_HEADS",
    "LINKTYPE_ETHERNET",
    "MAX_PACKET_BYTES",
    "CaptureFormatError",
    "Packet",
    "PcapWriter",
    "packet_header",
    "read_packets",
]

LINKTYPE_ETHERNET = 1
MAX_PACKET_BYTES = 1 << 20  # the largest packet of Linux, with "big TCP", is half of it
_MAX_BLOCK_BYTES = 1 << 24
_MAX_INTERFACES = 1 << 16
_WINDOW_BYTES = 1 << 20

# Magic number as it lies in the file: byte order, and fractions of a second per second.
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 10**6),
    b"\xa1\xb2\xc3\xd4": (">", 10**6),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9),
    b"\xa1\xb2\x3c\x4d": (">", 10**9),
}
_SECTION = b"\x0a\x0d\x0d\x0a"
CAPTURE_HEADS = frozenset({*_MAGIC, _SECTION})
"""With which four bytes a capture begins."""
_INTERFACE_BLOCK, _OBSOLETE_BLOCK, _SIMPLE_BLOCK, _ENHANCED_BLOCK = 1, 2, 3, 6
_RESOLUTION, _OFFSET = 9, 14  # options of an interface

# Head of one packet in the files that we write: seconds, nanoseconds, captured and original length.
packet_header = struct.Struct("<IIII")


class CaptureFormatError(Exception):
    """A capture file that cannot be read on. `what`: the part and its place; `why`: what is wrong with it."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class Packet(NamedTuple):
    """One captured packet. A tuple and no dataclass, because a capture has millions."""

    time_s: float  # Unix time; 0 where the file gives none (simple packet blocks)
    link_type: int  # LINKTYPE_ number of tcpdump.org: what `data` begins with
    data: memoryview  # of immutable bytes: stays valid for as long as it is held
    wire_length: int  # bytes on the wire; more than `data` where the capture cut the packet


class PcapWriter:
    """Writes little-endian nanosecond pcap; the caller owns the stream."""

    def __init__(self, stream: BinaryIO, link_type: int) -> None:
        self._stream = stream
        self._stream.write(self.header(link_type))

    @staticmethod
    def header(link_type: int) -> bytes:
        """The file's first 24 bytes."""
        return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, MAX_PACKET_BYTES, link_type)

    def write(self, time_ns: int, data: bytes | memoryview, wire_length: int | None = None) -> None:
        """Add one packet. `time_ns`: Unix time; `wire_length`: where `data` is only its beginning."""
        if len(data) > MAX_PACKET_BYTES:
            raise ValueError(f"packet of {len(data)} bytes, over {MAX_PACKET_BYTES}")
        seconds, fraction = divmod(time_ns, 10**9)
        self._stream.write(packet_header.pack(seconds, fraction, len(data), wire_length or len(data)))
        self._stream.write(data)


def read_packets(source: Path | BinaryIO) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file, in its order.

    Raises `CaptureFormatError` where the file is neither, is cut off, or contradicts itself; `OSError` as usual.
    """
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as stream:
            yield from read_packets(stream)
        return
    window = _Window(source)
    head = bytes(window.at_least(4)[:4])
    if head in _MAGIC:
        yield from _read_pcap(window, *_MAGIC[head])
    elif head == _SECTION:
        yield from _read_pcapng(window)
    else:
        raise CaptureFormatError("file", "empty" if not head else f"neither pcap nor pcapng: begins with {head.hex()}")


class _Window:
    """The part of the file in memory: consumed from the front, and read on in pieces of `_WINDOW_BYTES`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._view = memoryview(b"")
        self.start = 0  # where in the file the view begins

    def at_least(self, needed: int, *, consumed: int = 0) -> memoryview:
        """What follows the first `consumed` bytes of the last view: `needed` bytes or more, fewer at the file's end."""
        rest = self._view[consumed:]
        pieces: list[bytes | memoryview] = [rest]
        size = len(rest)
        while size < needed and (piece := self._stream.read(max(_WINDOW_BYTES, needed - size))):
            pieces.append(piece)
            size += len(piece)
        self.start += consumed
        self._view = memoryview(b"".join(pieces)) if len(pieces) > 1 else rest
        return self._view


def _read_pcap(window: _Window, order: str, units: int) -> Iterator[Packet]:
    view = window.at_least(24)
    if len(view) < 24:
        raise CaptureFormatError("pcap header", f"cut off after {len(view)} of 24 bytes")
    major, minor, _, _, _, network = struct.unpack_from(order + "HHiIII", view, 4)
    if (major, minor) != (2, 4):
        raise CaptureFormatError("pcap header", f"version {major}.{minor}, not 2.4")
    link_type = network & 0xFFFF  # above it: whether a frame check sequence follows each packet
    unpack = struct.Struct(order + "IIII").unpack_from
    at, size = 24, len(view)
    while True:
        if size - at < 16:
            view, at = window.at_least(16, consumed=at), 0
            size = len(view)
            if size == 0:
                return
            if size < 16:
                raise CaptureFormatError(_place("packet header", window, at), f"cut off after {size} of 16 bytes")
        seconds, fraction, captured, length = unpack(view, at)
        if fraction >= units or captured > length or captured > MAX_PACKET_BYTES:
            raise CaptureFormatError(_place("packet", window, at), _absurd(fraction, units, captured, length))
        end = at + 16 + captured
        if end > size:
            view, at = window.at_least(16 + captured, consumed=at), 0
            size, end = len(view), 16 + captured
            if end > size:
                why = f"cut off after {size - 16} of {captured} bytes"
                raise CaptureFormatError(_place("packet", window, at), why)
        yield Packet(seconds + fraction / units, link_type, view[at + 16 : end], length)
        at = end


def _absurd(fraction: int, units: int, captured: int, length: int) -> str:
    if captured > MAX_PACKET_BYTES:
        return f"claims {captured} captured bytes, over {MAX_PACKET_BYTES}"
    if captured > length:
        return f"claims {captured} captured bytes of {length}"
    return f"its time has {fraction} of {units} parts of a second"


def _place(part: str, window: _Window, at: int) -> str:
    return f"{part} at byte {window.start + at}"


class _Interface(NamedTuple):
    link_type: int
    snap_length: int  # 0: no limit
    units: int  # of time, per second
    offset_s: int


def _read_pcapng(window: _Window) -> Iterator[Packet]:
    order = "<"
    interfaces: list[_Interface] = []
    view, at = window.at_least(12), 0
    while True:
        if len(view) - at < 12:
            view, at = window.at_least(12, consumed=at), 0
            if len(view) == 0:
                return
            if len(view) < 12:
                raise CaptureFormatError(_place("block", window, at), f"cut off after {len(view)} of 12 bytes")
        if view[at : at + 4] == _SECTION:
            order, interfaces = _byte_order(view, at, window), []
        kind, length = struct.unpack_from(order + "II", view, at)
        place = _place("block", window, at)
        if length < 12 or length % 4 or length > _MAX_BLOCK_BYTES:
            raise CaptureFormatError(place, f"claims {length} bytes: not a multiple of 4 from 12 to {_MAX_BLOCK_BYTES}")
        if at + length > len(view):
            view, at = window.at_least(length, consumed=at), 0
            if len(view) < length:
                raise CaptureFormatError(place, f"cut off after {len(view)} of {length} bytes")
        if view[at + 4 : at + 8] != view[at + length - 4 : at + length]:
            raise CaptureFormatError(place, "its lengths at front and back differ")
        body = view[at + 8 : at + length - 4]
        try:
            if kind == _INTERFACE_BLOCK:
                interfaces.append(_interface(body, order))
                if len(interfaces) > _MAX_INTERFACES:
                    raise CaptureFormatError(place, f"over {_MAX_INTERFACES} interfaces")
            elif kind in (_ENHANCED_BLOCK, _SIMPLE_BLOCK, _OBSOLETE_BLOCK):
                yield _packet(kind, body, order, interfaces)
        except (struct.error, _BadBlock) as error:
            raise CaptureFormatError(place, str(error)) from None
        at += length


class _BadBlock(Exception):
    """What is wrong inside a block; its place is known one level up."""


def _byte_order(view: memoryview, at: int, window: _Window) -> str:
    match bytes(view[at + 8 : at + 12]):
        case b"\x4d\x3c\x2b\x1a":
            return "<"
        case b"\x1a\x2b\x3c\x4d":
            return ">"
        case other:
            raise CaptureFormatError(_place("section", window, at), f"byte order {other.hex()} is none")


def _interface(body: memoryview, order: str) -> _Interface:
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    units, offset_s, at = 10**6, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if len(value) < size:
            raise _BadBlock(f"option {code} of an interface is cut off")
        if code == 0:
            break
        if code == _RESOLUTION and size == 1:
            base, exponent = (2, value[0] & 0x7F) if value[0] & 0x80 else (10, value[0])
            units = base**exponent
        elif code == _OFFSET and size == 8:
            (offset_s,) = struct.unpack(order + "q", value)
        at += 4 + (size + 3) // 4 * 4
    return _Interface(link_type, snap_length, units, offset_s)


def _packet(kind: int, body: memoryview, order: str, interfaces: list[_Interface]) -> Packet:
    index = high = low = 0
    if kind == _SIMPLE_BLOCK:
        (length,) = struct.unpack_from(order + "I", body)
        captured, start = length, 4
    else:
        # The obsolete block has 16 bits of interface and 16 of dropped packets where the enhanced one has 32.
        shape = "IIIII" if kind == _ENHANCED_BLOCK else "HxxIIII"
        index, high, low, captured, length = struct.unpack_from(order + shape, body)
        start = 20
    if index >= len(interfaces):
        raise _BadBlock(f"its interface {index} was not declared")
    interface = interfaces[index]
    if kind == _SIMPLE_BLOCK:
        captured = min(length, interface.snap_length or length)
    if captured > length or captured > MAX_PACKET_BYTES or start + captured > len(body):
        raise _BadBlock(f"claims {captured} captured bytes of {length}, in {len(body) - start}")
    time_s = 0.0 if kind == _SIMPLE_BLOCK else (high << 32 | low) / interface.units + interface.offset_s
    return Packet(time_s, interface.link_type, body[start : start + captured], length)
