"""audit/capture/filters.py: the programme in a small interpreter against scapy's packets, and in the kernel itself."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from audit.capture.filters import REFUSE_ALL, Instruction, attach, tcp_filter

PORTS = (443, 9092, 60_001)
PROGRAMME = tcp_filter(PORTS)


def kept(programme: Sequence[Instruction], frame: bytes) -> int:
    """What classic BPF returns: bytes to keep; a load outside the frame ends in 0, as in the kernel."""
    accumulator = index = at = 0
    try:
        while True:
            code, yes, no, k = programme[at]
            at += 1
            match code:
                case 0x28:
                    (accumulator,) = struct.unpack_from(">H", frame, k)
                case 0x48:
                    (accumulator,) = struct.unpack_from(">H", frame, k + index)
                case 0x30:
                    accumulator = frame[k]
                case 0x01:
                    index = k
                case 0xB1:
                    index = 4 * (frame[k] & 15)
                case 0x05:
                    at += k
                case 0x15:
                    at += yes if accumulator == k else no
                case 0x45:
                    at += yes if accumulator & k else no
                case 0x06:
                    return k
                case _:
                    raise AssertionError(f"no such instruction: {code:#x}")
    except (struct.error, IndexError):
        assert at <= len(programme), "the programme ran off its end"
        return 0


OURS, OTHERS = TCP(sport=5000, dport=443), TCP(sport=5000, dport=444)


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (IP() / OURS, True),
        (IP() / TCP(sport=9092, dport=1), True),
        (IP() / TCP(sport=1, dport=60_001), True),
        (IP() / OTHERS, False),
        (IP(options=[IPOption(b"\x94\x04\0\0")] * 10) / OURS, True),
        (IP(options=[IPOption(b"\x94\x04\0\0")]) / OTHERS, False),
        (IP() / UDP(sport=443, dport=443), False),
        (IP() / ICMP(), False),
        (IP(flags="MF") / OURS, True),
        (IP(flags="MF") / OTHERS, False),
        (IP(frag=1, proto=6) / Raw(b"later"), True),
        (IP(frag=0x1FFF, flags="MF", proto=6) / Raw(b"later"), True),
        (IP(frag=1, proto=17) / Raw(b"later"), False),
        (IPv6() / OURS, True),
        (IPv6() / TCP(sport=443, dport=7), True),
        (IPv6() / OTHERS, False),
        (IPv6() / UDP(sport=443, dport=443), False),
        (IPv6() / IPv6ExtHdrHopByHop() / OTHERS, True),
        (IPv6() / IPv6ExtHdrRouting() / OTHERS, True),
        (IPv6() / IPv6ExtHdrDestOpt() / OTHERS, True),
        (IPv6() / IPv6ExtHdrFragment(offset=9, nh=6) / Raw(b"later"), True),
        (IPv6() / IPv6ExtHdrFragment(nh=60) / IPv6ExtHdrDestOpt(), True),
        (IPv6() / IPv6ExtHdrFragment(nh=17) / UDP(dport=443), False),
        (IPv6() / IPv6ExtHdrHopByHop(nh=58) / Raw(bytes(8)), False),
        (ARP(), False),
        (Dot1Q(vlan=7) / IP() / OTHERS, True),
        (Dot1Q(type=0x8100) / Dot1Q() / IP() / OTHERS, True),
    ],
    ids=lambda each: each.summary() if isinstance(each, Packet) else "",
)
def test_tcp_of_the_ports_and_what_cannot_be_judged_is_kept(packet: Packet, wanted: bool) -> None:
    assert bool(kept(PROGRAMME, bytes(Ether() / packet))) is wanted


@given(st.integers(0, 65535), st.integers(0, 65535), st.sets(st.integers(1, 65535), min_size=1, max_size=64))
def test_any_set_of_ports_is_told_from_all_others(source: int, destination: int, ports: set[int]) -> None:
    programme = tcp_filter(ports)
    for client, server in ((source, destination), (min(ports), destination), (source, max(ports))):
        for ip in (IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="::1", dst="::2")):
            ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
            frame = bytes(ethernet / ip / TCP(sport=client, dport=server))
            assert bool(kept(programme, frame)) is bool({client, server} & ports)


@given(st.binary(max_size=80))
def test_no_frame_makes_the_programme_run_off_its_end(frame: bytes) -> None:
    kept(PROGRAMME, frame)


@pytest.mark.parametrize("ports", [(), (0,), (65_536,), range(1, 66)])
def test_ports_that_are_none_or_too_many_are_refused(ports: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="not 1 to 64 numbers"):
        tcp_filter(ports)


def test_the_kernel_takes_the_largest_programme_and_judges_as_the_interpreter() -> None:
    # Any socket can be filtered, without privileges: a local datagram carries the frame.
    frames = [bytes(Ether() / ip / tcp) for ip in (IP(), IPv6()) for tcp in (OURS, OTHERS, TCP(dport=9092))]
    frames += [bytes(Ether() / IP(frag=3, proto=6)), bytes(Ether() / ARP())]
    for programme in (PROGRAMME, tcp_filter(range(430, 494)), REFUSE_ALL):
        sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sender, receiver:
            receiver.setblocking(False)
            attach(receiver, programme)
            for frame in frames:
                try:
                    sender.send(frame)
                    passed = receiver.recv(1 << 16) == frame
                except (BlockingIOError, PermissionError):
                    passed = False
                assert passed is bool(kept(programme, frame))
