"""Every kind of file through every wrapper, however the stream is cut; nothing in weights; bounded on hostile bytes."""

from __future__ import annotations

import base64
import gzip
import tracemalloc
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.detect.formats import FORMATS, Short, judge
from audit.detect.prefilter import HyperscanPrefilter
from audit.detect.scan import MAX_DEPTH, StreamScanner, scan, scan_report
from audit.findings import Finding, Place
from tests.audit.detect.samples import FILES, RULES, WRAPS, noise

# A byte that is of no text and of no header keeps the noise from becoming a part of the sample.
BEFORE = noise(999) + b"\xf7"
AFTER = b"\xf7" + noise(500, 3)


def found(findings: list[Finding], name: str, via: tuple[str, ...]) -> list[Finding]:
    return [each for each in findings if each.rule == RULES[name] and each.via == via]


def streamed(data: bytes, cuts: list[int], block: int = 1 << 20) -> set[Finding]:
    """The findings of a stream that arrives cut at these offsets."""
    scanner = StreamScanner(block=block)
    bounds = [0, *sorted(cuts), len(data)]
    findings = [each for a, b in pairwise(bounds) for each in scanner.feed(data[a:b])]
    return {*findings, *scanner.close()}


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_found_at_its_offset(name: str) -> None:
    findings = found(scan(BEFORE + FILES[name] + AFTER, Place(unit="array", offset=70)), name, ())
    assert [each.place for each in findings if each.place.offset == 1070] == [Place(unit="array", offset=1070)]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", FILES)
def test_each_file_is_found_through_each_wrapper(name: str, wrap: str) -> None:
    report = scan_report(BEFORE + WRAPS[wrap](FILES[name]) + AFTER)
    (kind,) = (wrap.partition("/")[0],)
    offsets = {each.place.offset for each in found(list(report.findings), name, (kind,))}
    assert 1000 in offsets
    assert report.blind_spots == ()


@pytest.mark.parametrize("outer", ["gzip", "zlib", "deflate", "zip", "zstd", "bzip2", "xz", "base64", "hex"])
@pytest.mark.parametrize("inner", ["gzip", "zlib", "zip", "zstd", "bzip2", "xz", "base64/1", "hex", "base64/lines"])
def test_wrappers_are_undone_inside_one_another(outer: str, inner: str) -> None:
    packed = WRAPS[outer](WRAPS[inner](FILES["jpeg-progressive"]))
    assert found(scan(packed), "jpeg-progressive", (outer, inner.partition("/")[0]))


@pytest.mark.parametrize("wrap", ["plain", *WRAPS])
@pytest.mark.parametrize("name", FILES)
def test_a_boundary_of_blocks_anywhere_changes_nothing(name: str, wrap: str) -> None:
    # Blocks are what a stream is really cut into. With one of 1,601 bytes each start of the file is tried beside a
    # boundary: 2 starts a cell, the next cell goes on where this one ended.
    packed = WRAPS[wrap](FILES[name]) if wrap in WRAPS else FILES[name]
    via = (wrap.partition("/")[0],) if wrap in WRAPS else ()
    first = 97 * (list(FILES).index(name) * 17 + [*WRAPS, "plain"].index(wrap))
    for step in range(2):
        lead = 400 + (first + 311 * step) % 1250
        scanner = StreamScanner(block=1601)
        findings = scanner.feed(noise(lead) + b"\xf7" + packed + AFTER) + scanner.close()
        assert lead + 1 in {each.place.offset for each in found(findings, name, via)}
        assert scanner.blind_spots == ()


@pytest.mark.parametrize("wrap", ["plain", *WRAPS])
def test_every_single_split_position_gives_the_same_findings(wrap: str) -> None:
    packed = WRAPS[wrap](FILES["jpeg-progressive"]) if wrap in WRAPS else FILES["jpeg-progressive"]
    data = noise(60) + b"\xf7" + packed + b"\xf7" + noise(20, 4)
    whole = streamed(data, [])
    assert whole
    for cut in range(32, len(data), 1 if wrap == "plain" else 29):
        scanner = StreamScanner(block=cut)  # the first block ends at the cut, and so do the later ones' multiples
        findings = scanner.feed(data) + scanner.close()
        assert set(findings) == whole


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(FILES)),
    st.sampled_from(sorted(WRAPS)),
    st.lists(st.integers(0, 2000)),
    st.integers(64, 3000),
)
def test_pieces_of_any_size_give_the_same_findings(name: str, wrap: str, cuts: list[int], block: int) -> None:
    data = noise(700, 8) + WRAPS[wrap](FILES[name]) + AFTER
    cuts = [cut for cut in cuts if cut < len(data)]
    assert streamed(data, cuts, block) == streamed(data, []) != set()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_behind_its_head_is_found(name: str) -> None:
    length = judge_length(name)
    assert found(scan(BEFORE + FILES[name][:length]), name, ())
    assert not found(scan(BEFORE + FILES[name][:6]), name, ())


def judge_length(name: str) -> int:
    kind = next(each for each in FORMATS if each.rule == RULES[name])
    match = judge(kind, FILES[name], 0, final=True)
    assert match is not None
    return match.length


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8\xff\xe0", b"BM", b"GIF89a", b"PK\3\4", b"\x1f\x8b\x08", b"II*\0", b"DICM"]
)
def test_a_bare_magic_is_no_finding(magic: bytes) -> None:
    assert scan(BEFORE + magic + AFTER) == []


def test_what_a_value_declares_to_be_is_no_finding_at_its_start_only() -> None:
    array = FILES["npy"]
    assert scan(array, carries="array/npy") == []
    assert [each.place.offset for each in scan(array + array, carries="array/npy")] == [len(array)]
    assert [each.via for each in scan(gzip.compress(array), carries="array/npy")] == [("gzip",)]
    assert scan(FILES["png"], carries="array/npy")


def test_a_stream_can_ignore_a_rule_but_not_inside_wrappers() -> None:
    scanner = StreamScanner(ignore=frozenset({"array/npy"}))
    findings = scanner.feed(FILES["npy"] + b"\xf7" + WRAPS["zstd"](FILES["npy"])) + scanner.close()
    assert [each.via for each in findings] == [("zstd",)]


def test_a_picture_in_a_stream_with_a_wrong_checksum_is_found() -> None:
    packed = bytearray(zlib.compress(FILES["gif"]))
    packed[-1] ^= 1
    assert found(scan(bytes(packed)), "gif", ("zlib",))


def test_findings_never_hold_the_picture_and_name_its_wrappers() -> None:
    (finding,) = scan(base64.b64encode(gzip.compress(FILES["jpeg-q5"], mtime=0)))
    assert finding.via == ("base64", "gzip")
    assert finding.message == "JPEG 32x32, 3 components inside gzip in base64"
    assert len(finding.evidence_sha256) == 64


def test_a_bomb_is_a_blind_spot_and_takes_little_memory() -> None:
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    tracemalloc.start()
    report = scan_report(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.rule for each in report.blind_spots] == ["scan/work"]
    assert peak < 32 << 20


def test_wrappers_too_deep_are_a_blind_spot() -> None:
    packed = FILES["png"]
    for _ in range(MAX_DEPTH):
        packed = gzip.compress(packed)
    assert found(scan(packed), "png", ("gzip",) * MAX_DEPTH)
    assert "scan/depth" in [each.rule for each in scan_report(gzip.compress(packed)).blind_spots]


def test_a_flood_of_findings_is_cut_with_a_blind_spot() -> None:
    report = scan_report(FILES["jpeg-q5"][:40] * 5000)
    assert len(report.findings) == 1000
    assert [each.rule for each in report.blind_spots] == ["scan/findings"]


@pytest.mark.parametrize(
    "unit", [b"\x78\x9c", b"PK\3\4\x14\0\0\0\x08\0", b"\x1f\x8b\x08\0", b"aaaa", b"\x28\xb5\x2f\xfd"]
)
def test_hostile_repetition_costs_a_bounded_amount(unit: bytes) -> None:
    # The account allows 16 thousand trials and 8 thousand more for each MiB, whatever the bytes are.
    scanner = StreamScanner()
    assert scanner.feed(unit * ((1 << 20) // len(unit))) + scanner.close() == []


def test_nothing_is_found_in_random_bytes_and_weights() -> None:
    pytest.importorskip("hyperscan", reason="256 MiB take minutes without it")
    generator = np.random.default_rng(5)
    scanner = StreamScanner()
    findings = []
    for _ in range(16):
        weights = generator.standard_normal(3 << 20, dtype=np.float32) * np.float32(0.05)
        findings += scanner.feed(weights.data) + scanner.feed(generator.bytes(4 << 20))
    assert findings + scanner.close() == []
    assert scanner.blind_spots == ()
    assert scanner.scanned_bytes == 256 << 20


@given(st.sampled_from(FORMATS), st.sampled_from(sorted(FILES.values())), st.data())
def test_validators_survive_damaged_files(kind: object, sample: bytes, data: st.DataObject) -> None:
    assert kind in FORMATS
    damaged = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 64) - 1))] = data.draw(st.integers(0, 255))
    for final in (True, False):
        try:
            judge(kind, bytes(damaged), 0, final=final)  # type: ignore[arg-type]
        except Short:
            assert not final


@settings(max_examples=60)
@given(st.sampled_from(sorted(WRAPS)), st.data())
def test_the_scan_survives_damaged_wrappers(wrap: str, data: st.DataObject) -> None:
    packed = bytearray(WRAPS[wrap](FILES["jpeg-q5"]))
    for _ in range(data.draw(st.integers(1, 6))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    report = scan_report(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
    assert report.scanned_bytes <= len(packed)


@given(st.binary(max_size=300))
def test_any_bytes_are_scanned(data: bytes) -> None:
    assert scan_report(data).scanned_bytes == len(data)


def test_hyperscan_is_used_where_it_is_installed() -> None:
    pytest.importorskip("hyperscan")
    from audit.detect.scan import prefilter

    assert isinstance(prefilter(), HyperscanPrefilter)
