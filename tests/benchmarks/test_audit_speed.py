"""benchmarks/audit_speed.py: what it reads is what was written, and how bars come about.

Whether the bars are cleared is for the benchmark itself to say: on a busy machine times mean nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.audit_speed import (
    Bench,
    Capture,
    cpu_s,
    decode,
    decode_and_scan,
    fill,
    grep,
    make,
    search,
    tshark,
    update_bytes,
)
from benchmarks.report import Report


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make(tmp_path_factory.mktemp("capture"), "small", megabytes=1, segment_bytes=9000)


def test_we_read_every_byte_that_was_said(capture: Capture) -> None:
    assert decode(capture) == decode_and_scan(capture) == capture.said
    assert capture.said > 9_000_000
    assert capture.megabytes > capture.said / 1e6


def test_the_prefilter_gets_the_numbers_of_the_updates(capture: Capture) -> None:
    numbers = update_bytes(capture)
    assert len(numbers) == search(numbers) == 4 * 2_270_794


def test_grep_looks_at_the_file(capture: Capture, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"a\n\xff\xd8\xff\nb")
    assert grep(Capture(tmp_path / "one", capture.key_log, 0)) == 1
    assert grep(capture) >= 0


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, the peer, is not installed")
def test_tshark_reads_as_many_bytes(capture: Capture) -> None:
    assert tshark(capture) == capture.said


def test_work_of_children_is_counted_too() -> None:
    seconds, result = cpu_s(lambda: sum(range(200_000)))
    assert seconds > 0
    assert result == 19999900000


@pytest.mark.parametrize(
    ("name", "speed", "missing", "bar"),
    [
        ("decode+scan", 149.0, 0, "decode + scan, MB/s of CPU"),
        ("prefilter", 1399.0, 0, "prefilter, MB/s of CPU"),
        ("small packets", 9.0, -1, "small packets: bytes missing"),
    ],
)
def test_a_speed_below_the_bar_or_a_missing_byte_is_a_missed_bar(
    name: str, speed: float, missing: int, bar: str
) -> None:
    bench = Bench()
    bench.speeds = {
        "decode": [300.0],
        "decode+scan": [150.0],
        "small packets": [10.0],
        "prefilter": [1400.0],
        name: [speed],
    }
    bench.missing = {"decode": 0, "decode+scan": 0, "small packets": 0, name: missing}
    report = Report("audit_speed", {})
    fill(report, bench)
    assert [each.name for each in report.bars if not each.ok] == [bar]
