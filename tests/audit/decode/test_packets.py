"""Packets become segments, or say why they do not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.decode.packets import Other, Segment, Unreadable, read_segment
from tests.audit.decode.flights import CLIENT
from tests.audit.decode.wire import PORT, Frame

FRAME = Frame(CLIENT, 7, 9, 0x18, b"hello")
SIX = Frame(CLIENT, 7, 9, 0x18, b"hello", client="fd00::2", server="fd00::1")


def read(link_type: int, data: bytes, wire_length: int | None = None) -> Segment | Other | Unreadable:
    return read_segment(link_type, memoryview(data), wire_length or len(data))


def with_extensions(extensions: bytes, first: int) -> bytes:
    """The IPv6 packet with extension headers between its head and TCP; the last of them must name 6."""
    packet = bytearray(SIX.ip()[2:])
    packet[6] = first
    packet[4:6] = struct.pack(">H", len(packet) - 40 + len(extensions))
    return bytes(packet[:40]) + extensions + bytes(packet[40:])


@pytest.mark.parametrize("frame", [FRAME, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("link_type", "before"),
    [
        (1, b"\2" * 12 + b"TYPE"),
        (1, b"\2" * 12 + b"\x81\x00\x00\x05TYPE"),
        (1, b"\2" * 12 + b"\x88\xa8\x00\x05\x81\x00\x00\x06TYPE"),
        (113, b"\0" * 14 + b"TYPE"),
        (276, b"TYPE" + b"\0" * 18),
        (0, b"\2\0\0\0"),
        (108, b"\0\0\0\2"),
        (101, b""),
        (12, b""),
    ],
    ids=["ethernet", "vlan", "two vlans", "sll", "sll2", "null", "loop", "raw", "raw 12"],
)
def test_every_link_layer_leads_to_the_same_segment(frame: Frame, link_type: int, before: bytes) -> None:
    kind, ip = frame.ip()[:2], frame.ip()[2:]
    segment = read(link_type, before.replace(b"TYPE", kind) + ip)
    assert isinstance(segment, Segment)
    assert (segment.target_port, segment.sequence, segment.acknowledged, segment.flags) == (PORT, 7, 9, 0x18)
    assert bytes(segment.payload) == b"hello"


def test_padding_behind_a_short_packet_is_not_payload() -> None:
    segment = read(1, bytes(FRAME.packet().data) + b"\xaa" * 6)
    assert isinstance(segment, Segment)
    assert bytes(segment.payload) == b"hello"


@pytest.mark.parametrize("frame", [FRAME, SIX], ids=["IPv4", "IPv6"])
def test_a_length_of_zero_means_that_the_card_will_cut_the_packet(frame: Frame) -> None:
    packet = bytearray(frame.ip()[2:])
    where = 2 if frame is FRAME else 4
    packet[where : where + 2] = b"\0\0"
    segment = read(101, bytes(packet))
    assert isinstance(segment, Segment)
    assert bytes(segment.payload) == b"hello"


def test_what_the_capture_cut_off_is_known_to_be_missing() -> None:
    data = bytes(FRAME.packet().data)
    segment = read(1, data[:-2], len(data))
    assert isinstance(segment, Segment)
    assert (bytes(segment.payload), segment.cut) == (b"hel", 2)


def test_extension_headers_are_walked_over() -> None:
    segment = read(101, with_extensions(bytes([60, 0]) + bytes(6) + bytes([6, 1]) + bytes(14), first=0))
    assert isinstance(segment, Segment)
    assert bytes(segment.payload) == b"hello"


@pytest.mark.parametrize(
    ("link_type", "data", "rule"),
    [
        (1, b"short", "packet/malformed"),
        (1, b"\2" * 12 + b"\x81\x00\x00", "packet/malformed"),
        (113, b"\0" * 15, "packet/malformed"),
        (999, b"anything", "packet/link-type"),
        (101, FRAME.ip()[2:12], "packet/malformed"),
        (101, b"\x41" + FRAME.ip()[3:], "packet/malformed"),
        (101, FRAME.ip()[2:32], "packet/malformed"),
        (101, FRAME.ip()[2:8] + b"\x20\x00" + FRAME.ip()[10:], "packet/fragment"),
        (101, FRAME.ip()[2:8] + b"\x00\x10" + FRAME.ip()[10:], "packet/fragment"),
        (101, with_extensions(bytes([6, 0]) + bytes(6), first=44), "packet/fragment"),
        (101, with_extensions(bytes([6, 0]) + bytes(6), first=50), "packet/encrypted"),
        (101, SIX.ip()[2:20], "packet/malformed"),
        (101, with_extensions(bytes([6, 255]) + bytes(6), first=0), "packet/malformed"),
        (101, FRAME.ip()[2:34] + b"\xf0" + FRAME.ip()[35:], "packet/malformed"),
    ],
)
def test_what_cannot_be_read_says_why(link_type: int, data: bytes, rule: str) -> None:
    result = read(link_type, data)
    assert isinstance(result, Unreadable)
    assert result.rule == rule


@pytest.mark.parametrize(
    "data",
    [b"\2" * 12 + b"\x08\x06" + bytes(28), bytes(FRAME.packet().data[:23]) + b"\x11" + bytes(FRAME.packet().data[24:])],
)
def test_what_is_not_tcp_is_no_concern_of_ours(data: bytes) -> None:
    assert read(1, data) == Other()


@given(st.sampled_from([0, 1, 12, 101, 108, 113, 276]), st.binary(max_size=120), st.integers(0, 2**32))
def test_no_packet_whatever_crashes_the_reader(link_type: int, data: bytes, wire_length: int) -> None:
    read(link_type, data, wire_length)


@given(st.data())
def test_no_damaged_packet_crashes_the_reader(data: st.DataObject) -> None:
    packet = bytearray((SIX if data.draw(st.booleans()) else FRAME).packet().data)
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    read(1, bytes(packet[: data.draw(st.integers(0, len(packet)))]))
