"""audit/capture/pcap.py against scapy's writer and reader, and against files that lie."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.pcap import (
    LINKTYPE_ETHERNET,
    MAX_PACKET_BYTES,
    CaptureFormatError,
    PcapWriter,
    packet_header,
    read_packets,
)

TIME_NS = 1_764_000_000_123_456_789
PACKETS = st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=300), st.integers(0, 9)), max_size=8)


def pcap(*packets: bytes, order: str = "<", magic: int = 0xA1B2C3D4, network: int = 1) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, network)
    return head + b"".join(struct.pack(order + "IIII", 7, 5, len(each), len(each)) + each for each in packets)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int = 1, snap: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link_type, 0, snap) + options, order)


def enhanced(data: bytes, *, index: int = 0, time: int = 0, order: str = "<", length: int | None = None) -> bytes:
    head = struct.pack(order + "IIIII", index, time >> 32, time & 0xFFFFFFFF, len(data), length or len(data))
    return block(6, head + data, order)


def read(data: bytes) -> list[tuple[float, int, bytes, int]]:
    return [(p.time_s, p.link_type, bytes(p.data), p.wire_length) for p in read_packets(io.BytesIO(data))]


@given(PACKETS)
def test_scapy_reads_what_we_write(packets: list[tuple[int, bytes, int]]) -> None:
    from scapy.utils import RawPcapReader

    stream = io.BytesIO()
    writer = PcapWriter(stream, LINKTYPE_ETHERNET)
    for time_ns, data, cut in packets:
        writer.write(time_ns, data, len(data) + cut)
    with RawPcapReader(io.BytesIO(stream.getvalue())) as reader:
        seen = [(meta.sec, meta.usec, data, meta.wirelen) for data, meta in reader]
    assert seen == [(*divmod(time_ns, 10**9), data, len(data) + cut) for time_ns, data, cut in packets]


@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_we_read_what_scapy_writes(tmp_path: Path, nano: bool, endianness: str) -> None:
    from scapy.utils import RawPcapWriter

    fraction = 123_456_789 if nano else 123_456
    with RawPcapWriter(str(tmp_path / "a"), linktype=113, endianness=endianness, nano=nano) as writer:
        writer.write_header(b"")
        for size in (0, 1, 60, 1514, 70_000):
            writer.write_packet(bytes(size), sec=1_764_000_000, usec=fraction, caplen=size, wirelen=size + 3)
    seen = list(read_packets(tmp_path / "a"))
    assert [len(each.data) for each in seen] == [0, 1, 60, 1514, 70_000]
    assert all(each.wire_length == len(each.data) + 3 and each.link_type == 113 for each in seen)
    assert seen[0].time_s == pytest.approx(1_764_000_000 + fraction / (1e9 if nano else 1e6), abs=1e-6)


def test_we_read_the_pcapng_that_scapy_writes(tmp_path: Path) -> None:
    from scapy.layers.l2 import Ether
    from scapy.utils import wrpcapng

    packets = [Ether(bytes(14) + bytes([size % 251]) * size) for size in (1, 60, 1514)]
    for packet in packets:
        packet.time = 1_764_000_000.123456
    wrpcapng(str(tmp_path / "a"), packets)
    seen = list(read_packets(tmp_path / "a"))
    assert [bytes(each.data) for each in seen] == [bytes(each) for each in packets]
    assert all(each.link_type == 1 and each.wire_length == len(each.data) for each in seen)
    assert seen[0].time_s == pytest.approx(1_764_000_000.123456, abs=2e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_interfaces_of_pcapng_have_their_own_link_type_and_clock(order: str) -> None:
    def option(code: int, value: bytes) -> bytes:
        return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)

    nanoseconds = option(9, b"\x09") + option(14, struct.pack(order + "q", 100)) + option(0, b"")
    binary = option(2, b"eth0") + option(9, b"\x8a")
    data = section(order) + interface(1, options=nanoseconds, order=order) + interface(113, options=binary, order=order)
    data += interface(101, order=order)
    for index, time in ((0, 2_500_000_000), (1, 1024 * 3), (2, 4_000_000)):
        data += enhanced(b"abcde", index=index, time=time, order=order)
    assert read(data) == [(102.5, 1, b"abcde", 5), (3.0, 113, b"abcde", 5), (4.0, 101, b"abcde", 5)]


def test_simple_and_obsolete_packet_blocks_are_read_and_unknown_blocks_passed_over() -> None:
    data = section() + interface(snap=4) + block(3, struct.pack("<I", 6) + b"abcd") + block(99, b"whatever")
    data += block(2, struct.pack("<HHIIII", 0, 7, 0, 2_000_000, 3, 9) + b"xyz")
    assert read(data) == [(0.0, 1, b"abcd", 6), (2.0, 1, b"xyz", 9)]


def test_a_second_section_may_turn_the_byte_order_and_begins_with_no_interface() -> None:
    data = section() + interface() + enhanced(b"a") + section(">") + interface(113, order=">")
    assert [each[1:] for each in read(data + enhanced(b"b", order=">"))] == [(1, b"a", 1), (113, b"b", 1)]
    with pytest.raises(CaptureFormatError, match="interface 0 was not declared"):
        read(section() + interface() + section() + enhanced(b"a"))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "file: empty"),
        (b"\xd4\xc3", "neither pcap nor pcapng: begins with d4c3"),
        (b"GIF89a", "neither pcap nor pcapng"),
        (pcap()[:23], "pcap header: cut off after 23 of 24 bytes"),
        (pcap().replace(b"\x02\x00\x04\x00", b"\x02\x00\x03\x00"), "version 2.3"),
        (pcap(b"abc", b"def")[:58], "packet header at byte 43: cut off after 15 of 16 bytes"),
        (pcap(b"abc")[:-1], "packet at byte 24: cut off after 2 of 3 bytes"),
        (pcap() + struct.pack("<IIII", 1, 10**6, 0, 0), "its time has 1000000 of 1000000 parts"),
        (pcap() + struct.pack("<IIII", 1, 0, 4, 3) + b"abcd", "claims 4 captured bytes of 3"),
        (pcap() + struct.pack("<IIII", 1, 0, 2**32 - 1, 2**32 - 1), f"over {MAX_PACKET_BYTES}"),
        (section()[:11], "block at byte 0: cut off after 11 of 12"),
        (section().replace(b"\x4d\x3c\x2b\x1a", b"MIST"), "byte order 4d495354 is none"),
        (section() + block(5, b"1234")[:-1], "cut off after 15 of 16"),
        (section() + struct.pack("<III", 5, 8, 8), "claims 8 bytes: not a multiple of 4 from 12"),
        (section() + struct.pack("<III", 5, 14, 14), "claims 14 bytes"),
        (section() + struct.pack("<III", 5, 2**32 - 4, 0), "claims 4294967292 bytes"),
        (section() + block(5, b"1234")[:-4] + b"\x14\0\0\0", "lengths at front and back differ"),
        (section() + enhanced(b"a"), "interface 0 was not declared"),
        (section() + interface() + enhanced(b"a", index=1), "interface 1 was not declared"),
        (section() + interface() + enhanced(b"abcd", length=3), "claims 4 captured bytes of 3"),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 9, 9)),
            "claims 9 captured bytes of 9, in 0",
        ),
        (section() + interface() + block(6, b"1234"), "requires a buffer"),
        (section() + block(1, b"1234"), "requires a buffer"),
        (section() + interface(options=struct.pack("<HH", 9, 400)), "option 9 of an interface is cut off"),
        (section() + interface() + block(3, struct.pack("<I", 9)), "claims 9 captured bytes of 9, in 0"),
    ],
)
def test_a_file_that_is_cut_off_or_lies_is_refused_with_place_and_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(CaptureFormatError) as caught:
        read(data)
    assert complaint in str(caught.value)
    assert str(caught.value) == f"{caught.value.what}: {caught.value.why}"


def test_packets_before_the_fault_have_been_yielded() -> None:
    reader = read_packets(io.BytesIO(pcap(b"first", b"second")[:-1]))
    assert bytes(next(reader).data) == b"first"
    with pytest.raises(CaptureFormatError):
        next(reader)


@given(PACKETS, st.integers(0, 3000))
def test_every_cut_yields_a_beginning_of_the_packets_and_is_reported(
    packets: list[tuple[int, bytes, int]], at: int
) -> None:
    stream = io.BytesIO()
    writer = PcapWriter(stream, 1)
    ends = [24]
    for time_ns, data, _ in packets:
        writer.write(time_ns, data)
        ends.append(stream.tell())
    whole = stream.getvalue()
    at = min(at, len(whole))
    seen: list[bytes] = []
    try:
        for packet in read_packets(io.BytesIO(whole[:at])):
            seen.append(bytes(packet.data))
        assert at in ends
    except CaptureFormatError:
        assert at not in ends
    assert seen == [data for _, data, _ in packets][: len(seen)]


WHOLE_NG = section() + interface() + interface(113, snap=64) + enhanced(b"x" * 50) + enhanced(b"y" * 9, index=1)
WHOLE = pcap(b"a" * 50, b"b" * 7)


@given(st.sampled_from([WHOLE, WHOLE_NG]), st.data())
def test_damaged_files_end_in_packets_or_in_the_one_error(whole: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(whole)
    for at in draw.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        damaged[at] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(CaptureFormatError):
        read(bytes(damaged))


@given(st.sampled_from([pcap()[:4], section()]), st.binary(max_size=400))
def test_arbitrary_bytes_end_in_packets_or_in_the_one_error(head: bytes, rest: bytes) -> None:
    with contextlib.suppress(CaptureFormatError):
        read(head + rest)


def test_memory_stays_within_a_few_windows_of_a_large_file_and_of_claimed_lengths(tmp_path: Path) -> None:
    path = tmp_path / "large.pcap"
    with path.open("wb") as stream:
        writer = PcapWriter(stream, 1)
        for number in range(600):
            writer.write(TIME_NS + number, bytes(100_000))
    tracemalloc.start()
    assert sum(len(packet.data) for packet in read_packets(path)) == 60_000_000
    path.write_bytes(pcap() + packet_header.pack(0, 0, MAX_PACKET_BYTES, MAX_PACKET_BYTES))
    with pytest.raises(CaptureFormatError):
        list(read_packets(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_data_stays_valid_while_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    with path.open("wb") as stream:
        writer = PcapWriter(stream, 1)
        for number in range(50):
            writer.write(TIME_NS, bytes([number]) * 65_000)
    assert [bytes(p.data) for p in list(read_packets(path))] == [bytes([n]) * 65_000 for n in range(50)]


def test_a_stream_that_returns_few_bytes_at_a_time_is_read_the_same() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    for whole in (WHOLE, WHOLE_NG):
        assert list(read_packets(Trickle(whole))) == list(read_packets(io.BytesIO(whole)))


def test_a_packet_too_large_for_the_reader_is_not_written() -> None:
    with pytest.raises(ValueError, match="over"):
        PcapWriter(io.BytesIO(), 1).write(0, bytes(MAX_PACKET_BYTES + 1))
