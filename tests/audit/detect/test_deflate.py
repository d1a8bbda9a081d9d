"""Heads of deflate blocks: none that zlib would follow is left out, few others are let through."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from audit.detect.deflate import block_heads
from tests.audit.detect.samples import noise


def follows(data: bytes) -> bool:
    """Whether zlib itself reads the head of a block here."""
    stream = zlib.decompressobj(-15)
    try:
        return bool(stream.decompress(data, 1))
    except zlib.error:
        return False


def test_every_offset_that_inflates_is_among_the_heads() -> None:
    data = noise(40_000) + np.random.default_rng(2).bytes(40_000)
    heads = set(block_heads(data, 0, len(data), fixed_until=len(data)).tolist())
    assert {at for at in range(len(data) - 400) if follows(data[at : at + 400])} <= heads


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("count", [300, 5000])
def test_a_compressed_stream_has_its_head_found(level: int, count: int) -> None:
    stream = zlib.compressobj(level, wbits=-15)
    packed = stream.compress(bytes(np.random.default_rng(3).integers(0, 60, count, dtype=np.uint8))) + stream.flush()
    assert 3 in block_heads(b"abc" + packed, 0, 9, fixed_until=9)


def test_few_offsets_of_weights_pass() -> None:
    assert len(block_heads(noise(1 << 20), 0, 1 << 20, fixed_until=0)) < (1 << 20) / 200


def test_the_end_of_the_data_and_empty_ranges_are_no_trouble() -> None:
    for size in range(20):
        assert len(block_heads(bytes([5]) * size, 0, size, fixed_until=0)) <= size
    assert len(block_heads(b"abcdef", 4, 4, fixed_until=0)) == 0
