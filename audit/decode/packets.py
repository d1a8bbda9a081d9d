"""From a captured packet to its TCP segment: link layer, IPv4 or IPv6, TCP.

Nothing here raises: a packet is a segment, or it is not TCP (`Other`: ARP, UDP; nothing that we audit), or it cannot be
read (`Unreadable`, with the rule of the blind spot that it makes). Captures on the sending machine hold packets
that the network card would have cut and check-summed later: lengths of zero and unfinished checksums are normal there,
so checksums prove nothing and are not looked at; what protects the content is TLS's authentication.

Sources: tcpdump.org link types, IEEE 802.1Q, RFC 791, RFC 8200 section 4 (extension headers), RFC 9293 section 3.1.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

__all__ = ["ACK", "FIN", "RST", "SYN", "Other", "Segment", "Unreadable", "read_segment"]

FIN, SYN, RST, ACK = 1, 2, 4, 16

_ETHERNET, _NULL, _LOOP, _SLL, _SLL2 = 1, 0, 108, 113, 276
_RAW = frozenset({12, 14, 101, 228, 229})  # IP without a link layer; the version is in its first four bits
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = frozenset({0x8100, 0x88A8, 0x9100})
_TCP, _FRAGMENT, _AUTHENTICATION = 6, 44, 51
_EXTENSIONS = frozenset(
    {0, 43, 60, 135, 139, 140}
)  # headers of the common form: next, length in 8 bytes after the first
_ENCRYPTED = 50

_tcp_head = Struct(">HHIIBB").unpack_from


class Segment(NamedTuple):
    """One TCP segment. A tuple and no dataclass, because a capture has millions."""

    source: bytes  # address and port as on the wire: 6 bytes for IPv4, 18 for IPv6
    target: bytes
    source_port: int
    target_port: int
    sequence: int
    acknowledged: int
    flags: int
    payload: memoryview
    cut: int  # bytes of the payload that the capture did not keep


class Other(NamedTuple):
    """A packet without TCP."""


class Unreadable(NamedTuple):
    """A packet in which there may be TCP that we cannot see."""

    rule: str
    why: str


_OTHER = Other()


def read_segment(link_type: int, data: memoryview, wire_length: int) -> Segment | Other | Unreadable:
    """The segment in one packet. `wire_length`: bytes on the wire, more than `data` where the capture cut it."""
    if link_type == _ETHERNET:
        if len(data) < 14:
            return Unreadable("packet/malformed", "an Ethernet frame of less than 14 bytes")
        at, kind = 14, data[12] << 8 | data[13]
        while kind in _VLAN:
            if len(data) < at + 4:
                return Unreadable("packet/malformed", "a VLAN tag that is cut off")
            kind = data[at + 2] << 8 | data[at + 3]
            at += 4
    elif link_type in _RAW:
        at, kind = 0, _of_version(data, 0)
    elif link_type in (_NULL, _LOOP):
        at, kind = 4, _of_version(data, 4)  # the family before it has the capturing machine's byte order
    elif link_type in (_SLL, _SLL2):
        at, where = (16, 14) if link_type == _SLL else (20, 0)
        if len(data) < at:
            return Unreadable("packet/malformed", "a cooked header that is cut off")
        kind = data[where] << 8 | data[where + 1]
    else:
        return Unreadable("packet/link-type", f"link type {link_type} is not one that we read")
    if kind == _IPV4:
        return _ipv4(data, at, wire_length)
    if kind == _IPV6:
        return _ipv6(data, at, wire_length)
    return _OTHER


def _of_version(data: memoryview, at: int) -> int:
    version = data[at] >> 4 if len(data) > at else 0
    return {4: _IPV4, 6: _IPV6}.get(version, 0)


def _ipv4(data: memoryview, at: int, wire_length: int) -> Segment | Other | Unreadable:
    if len(data) < at + 20:
        return Unreadable("packet/malformed", "an IPv4 header that is cut off")
    head = (data[at] & 15) * 4
    if data[at] >> 4 != 4 or head < 20:
        return Unreadable("packet/malformed", "an IPv4 header that contradicts itself")
    if data[at + 9] != _TCP:
        return _OTHER
    if (data[at + 6] << 8 | data[at + 7]) & 0x3FFF:
        return Unreadable("packet/fragment", "an IPv4 fragment")
    total = data[at + 2] << 8 | data[at + 3] or wire_length - at  # zero: larger than 64 KiB, not cut yet
    return _tcp(data, at + head, at + total, bytes(data[at + 12 : at + 16]), bytes(data[at + 16 : at + 20]))


def _ipv6(data: memoryview, at: int, wire_length: int) -> Segment | Other | Unreadable:
    if len(data) < at + 40:
        return Unreadable("packet/malformed", "an IPv6 header that is cut off")
    if data[at] >> 4 != 6:
        return Unreadable("packet/malformed", "an IPv6 header that contradicts itself")
    length = data[at + 4] << 8 | data[at + 5]
    end = at + 40 + length if length else wire_length
    following, inner = data[at + 6], at + 40
    while following in _EXTENSIONS or following == _AUTHENTICATION:
        if len(data) < inner + 8:
            return Unreadable("packet/malformed", "an IPv6 extension header that is cut off")
        units = data[inner + 1]
        step = (units + 2) * 4 if following == _AUTHENTICATION else (units + 1) * 8
        following, inner = data[inner], inner + step
    if following == _FRAGMENT:
        return Unreadable("packet/fragment", "an IPv6 fragment")
    if following == _ENCRYPTED:
        return Unreadable("packet/encrypted", "an IPv6 packet under IPsec")
    if following != _TCP:
        return _OTHER
    return _tcp(data, inner, end, bytes(data[at + 8 : at + 24]), bytes(data[at + 24 : at + 40]))


def _tcp(data: memoryview, at: int, end: int, source: bytes, target: bytes) -> Segment | Unreadable:
    if at + 20 > end or at + 20 > len(data):
        return Unreadable("packet/malformed", "a TCP header that is cut off")
    source_port, target_port, sequence, acknowledged, offset, flags = _tcp_head(data, at)
    begin = at + (offset >> 4) * 4
    if begin < at + 20 or begin > end:
        return Unreadable("packet/malformed", "a TCP header that contradicts itself")
    return Segment(
        source + bytes(data[at : at + 2]),
        target + bytes(data[at + 2 : at + 4]),
        source_port,
        target_port,
        sequence,
        acknowledged,
        flags,
        data[begin:end],
        max(0, end - max(begin, len(data))),
    )
