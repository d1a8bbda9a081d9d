"""benchmarks/capture_loss.py: a tiny real burst of each, and how bytes of the stream are counted."""

from __future__ import annotations

from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from audit.capture.pcap import PcapWriter
from benchmarks.capture_loss import Link, ours, scapys, stream_bytes
from tests.audit.capture.traffic import need_capture

LOOPBACK = Link("lo", "127.0.0.1")


def test_a_small_burst_is_caught_whole_by_ours_and_counted_for_scapy() -> None:
    need_capture()
    mine, theirs = ours(LOOPBACK, 200_000), scapys(LOOPBACK, 200_000)
    assert mine.dropped == 0 and mine.offered == mine.caught > 0
    assert mine.stream_bytes == 200_000
    assert theirs.offered > 0 and theirs.caught + theirs.dropped <= theirs.offered + 1


def test_bytes_of_the_stream_are_counted_once_across_the_turn_of_sequence_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2")
    with path.open("wb") as stream:
        writer = PcapWriter(stream, 1)
        first = 2**32 - 50
        for flags, sequence, size in (("S", first, 0), ("A", first + 1, 100), ("A", 51, 10), ("A", first + 1, 70)):
            tcp = TCP(sport=5, dport=9, flags=flags, seq=sequence % 2**32)
            writer.write(0, bytes(ethernet / tcp / bytes(size)))
        writer.write(0, bytes(ethernet / TCP(sport=9, dport=5) / b"answer"))
    assert stream_bytes(path, 9) == 110
