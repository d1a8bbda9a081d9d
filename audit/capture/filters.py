"""The kernel's own packet filter, written by hand: TCP of given ports, over IPv4 and IPv6.

Unwanted packets are refused before they take room in the ring. The filter decides for the audit what exists, so it
keeps whatever it cannot judge: later fragments (they carry no ports), what follows IPv6 extension headers, and frames
with a VLAN tag. What it refuses for good is another protocol, or TCP between other ports; tunnels (IP in IP, ESP) count
as another protocol. Classic BPF (McCanne and Jacobson, USENIX 1993) as in `linux/filter.h`; no libpcap is needed.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection
from typing import NamedTuple

from audit.capture.pcap import MAX_PACKET_BYTES

__all__ = ["REFUSE_ALL", "Instruction", "attach", "tcp_filter"]

_SO_ATTACH_FILTER = 26
_MAX_PORTS = 64  # a jump reaches over 255 instructions

_LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_INDEXED = 0x28, 0x30, 0x48
_INDEX, _INDEX_IPV4_HEADER = 0x01, 0xB1  # X = k; X = 4 × (low half of the byte at k), the length of an IPv4 header
_JUMP, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x05, 0x15, 0x45, 0x06

# Offsets from the start of the Ethernet frame.
_ETHERTYPE, _IP = 12, 14
_IPV4_FRAGMENT, _IPV4_PROTOCOL = _IP + 6, _IP + 9
_IPV6_NEXT, _IPV6_LENGTH = _IP + 6, 40

_TCP, _UDP, _ICMPV6 = 6, 17, 58
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = (0x8100, 0x88A8)
# Hop-by-hop, routing, fragment, authentication, destination, mobility, HIP, shim6, and two for experiments (IANA).
_IPV6_EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140, 253, 254)


class Instruction(NamedTuple):
    """One instruction of classic BPF: jumps skip `yes` or `no` instructions."""

    code: int
    yes: int
    no: int
    k: int


class _Line(NamedTuple):
    """An instruction before its jumps are numbers; an empty label is the next line."""

    code: int
    k: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


REFUSE_ALL = (Instruction(_RETURN, 0, 0, 0),)


def tcp_filter(ports: Collection[int]) -> tuple[Instruction, ...]:
    """The programme that keeps Ethernet frames with TCP from or to one of `ports`, and those it cannot judge.

    Raises `ValueError` for no port, more than 64, or one outside 1 to 65535.
    """
    if not 0 < len(ports) <= _MAX_PORTS or any(not 0 < port < 1 << 16 for port in ports):
        raise ValueError(f"ports {sorted(ports)}: not 1 to {_MAX_PORTS} numbers from 1 to 65535")
    numbers = sorted(ports)
    return _assemble(
        [
            _Line(_LOAD_HALF, _ETHERTYPE),
            _Line(_JUMP_EQUAL, _IPV4, "ipv4"),
            _Line(_JUMP_EQUAL, _IPV6, "ipv6"),
            *_any_of(_VLAN, otherwise="refuse"),
            _Line(_LOAD_BYTE, _IPV6_NEXT, label="ipv6"),
            _Line(_JUMP_EQUAL, _TCP, "ipv6 ports"),
            *_any_of(_IPV6_EXTENSIONS, found="extension", otherwise="refuse"),
            # An extension begins with the number of what follows it. Neighbour discovery ends here; more is not judged.
            _Line(_LOAD_BYTE, _IP + _IPV6_LENGTH, label="extension"),
            _Line(_JUMP_EQUAL, _UDP, "refuse"),
            _Line(_JUMP_EQUAL, _ICMPV6, "refuse", "keep"),
            _Line(_INDEX, _IPV6_LENGTH, label="ipv6 ports"),
            _Line(_JUMP, yes="ports"),
            _Line(_LOAD_BYTE, _IPV4_PROTOCOL, label="ipv4"),
            _Line(_JUMP_EQUAL, _TCP, no="refuse"),
            _Line(_LOAD_HALF, _IPV4_FRAGMENT),
            _Line(_JUMP_SET, 0x1FFF, "keep"),
            _Line(_INDEX_IPV4_HEADER, _IP),
            _Line(_LOAD_HALF_INDEXED, _IP, label="ports"),
            *_any_of(numbers),
            _Line(_LOAD_HALF_INDEXED, _IP + 2),
            *_any_of(numbers, otherwise="refuse"),
            _Line(_RETURN, MAX_PACKET_BYTES, label="keep"),
            _Line(_RETURN, 0, label="refuse"),
        ]
    )


def attach(packet_socket: socket.socket, programme: Collection[Instruction]) -> None:
    """Make the kernel filter what arrives at the socket from now on; raises `OSError` for a wrong programme."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in programme))
    # struct sock_fprog: the number of instructions and, aligned as C does, where they are.
    descriptor = struct.pack("@HP", len(programme), ctypes.addressof(code))
    packet_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


def _any_of(values: Collection[int], *, found: str = "keep", otherwise: str = "") -> list[_Line]:
    """Go on at `found` if the accumulator is one of `values`, at `otherwise` if not."""
    lines = [_Line(_JUMP_EQUAL, value, found) for value in values]
    return [*lines[:-1], lines[-1]._replace(no=otherwise)]


def _assemble(lines: list[_Line]) -> tuple[Instruction, ...]:
    places = {line.label: number for number, line in enumerate(lines) if line.label}

    def skip(number: int, label: str) -> int:
        return places[label] - number - 1 if label else 0

    return tuple(
        Instruction(line.code, 0, 0, skip(number, line.yes))  # the unconditional jump keeps its way in k
        if line.code == _JUMP
        else Instruction(line.code, skip(number, line.yes), skip(number, line.no), line.k)
        for number, line in enumerate(lines)
    )
