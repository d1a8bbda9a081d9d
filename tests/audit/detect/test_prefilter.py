"""Both engines give the same hits on anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.detect.prefilter import HyperscanPrefilter, PortablePrefilter
from audit.detect.scan import PATTERNS
from tests.audit.detect.samples import FILES, WRAPS, noise

pytest.importorskip("hyperscan", reason="nothing to compare the portable engine with")
FAST, PORTABLE = HyperscanPrefilter(PATTERNS), PortablePrefilter(PATTERNS)
# Fragments that overlap one another in every way.
PARTS = [
    b"BM", b"\0\0\0\0", b"\x28\0\0\0", b"RIFF", b"WEBPVP8", b"GIF8", b"9a", b"\xff\xd8\xff", b"\xff", b"\xe0", b"\x78",
    b"\x9c", b"PK\3\4", b"\x1f\x8b\x08", b"\0", b"\x1f", b"ftyp", b"avif", b"n+1\0", b"n", b"II*\0", b"jP  \r\n\x87\n",
    b"\x89PNG\r\n\x1a\n", b"\n", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join))
def test_overlapping_fragments_give_the_same_hits(data: bytes) -> None:
    assert PORTABLE.hits(data) == FAST.hits(data)


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_hit_of_both(name: str) -> None:
    data = noise(5000) + FILES[name] + WRAPS["zlib"](FILES[name])
    assert PORTABLE.hits(data) == FAST.hits(data) != []


def test_a_megabyte_of_weights_has_the_same_hits() -> None:
    data = noise(1 << 20)
    assert PORTABLE.hits(data) == FAST.hits(data) != []
