"""Where a headerless deflate stream (RFC 1951) might begin: at which of many offsets a block's head is well formed.

Deflate without zlib's or gzip's header has no magic. But the head of a block with codes of its own describes a code
for code lengths that has to be complete (Kraft's sum exactly 1), which one random offset in 300 satisfies; a stored
block repeats its length inverted, one in 2^19. Both tests run over all offsets at once. A block with the fixed code
begins with any byte in four; such streams, which compressors write for short inputs, are tried in short values only.
The survivors are then inflated, and nearly all of them break off within the first few symbols.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FIXED_LIMIT", "HEAD", "INNER_FIXED_LIMIT", "STREAM_LIMIT", "VALUE_LIMIT", "block_heads"]

# The limits of the audit: 10 MB/s is too slow for whole models. Headerless streams are found wherever they begin in a
# value of up to 1 MiB, in the first 64 KiB of longer ones; those of the fixed code in the first 4 KiB, and inside other
# wrappers at the start alone, because text and garbage inflate too easily by it.
VALUE_LIMIT = 1 << 20
STREAM_LIMIT = 64 << 10
FIXED_LIMIT, INNER_FIXED_LIMIT = 4 << 10, 16
HEAD = 10  # bytes that a head may need


def block_heads(data: bytes, start: int, stop: int, *, fixed_until: int) -> npt.NDArray[np.int64]:
    """Offsets in [start, stop) where a deflate block might begin; those of the fixed code only below `fixed_until`.

    The last HEAD bytes are judged as if zeros followed.
    """
    count = max(0, min(stop, len(data)) - start)
    if not count:
        return np.empty(0, np.int64)
    padded = data[start : start + count + HEAD] + bytes(HEAD)
    octets = np.frombuffer(padded, np.uint8)
    kind = octets[:count] >> 1 & 3
    dynamic = _with_complete_code(padded, np.flatnonzero(kind == 2))
    fixed = np.flatnonzero(kind[: max(0, fixed_until - start)] == 1)
    stored = np.flatnonzero(octets[:count] < 2)
    length, inverse = _words(padded, stored + 1, "<u2"), _words(padded, stored + 3, "<u2")
    stored = stored[(length ^ inverse == 0xFFFF) & (length > 0)]
    return start + np.sort(np.concatenate([dynamic, fixed, stored]))


def _with_complete_code(data: bytes, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of the offsets whose dynamic block has admissible counts and a complete code for code lengths."""
    head = _words(data, at, "<u4")
    fits = ((head >> 3 & 31) <= 29) & ((head >> 8 & 31) <= 29)
    at, used = at[fits], (head[fits] >> 13 & 15) + 4
    lengths = _words(data, at + 2, "<u8") >> np.uint64(1)  # 19 lengths of 3 bits from bit 17 on
    lengths &= _KEPT[used]
    total = np.zeros(len(at), np.int32)
    for shift in range(0, 60, 12):
        total += _WEIGHTS[lengths >> np.uint64(shift) & np.uint64(0xFFF)]
    complete: npt.NDArray[np.int64] = at[total == 128]
    return complete


def _weights() -> npt.NDArray[np.int32]:
    """Of four lengths of 3 bits each, by their 12 bits: what they take of a code whose whole is 128."""
    fields = np.arange(4096)[:, None] >> np.arange(0, 12, 3) & 7
    weights: npt.NDArray[np.int32] = np.where(fields > 0, 128 >> fields, 0).sum(axis=1).astype(np.int32)
    return weights


_WEIGHTS = _weights()
# The first n of 19 lengths, as a mask of 57 bits.
_KEPT = np.array([(1 << 3 * min(number, 19)) - 1 for number in range(20)], np.uint64)


def _words(data: bytes, at: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.unsignedinteger]:
    """The unaligned little-endian word at each offset."""
    width = np.dtype(kind).itemsize
    every = np.ndarray((len(data) - width + 1,), np.dtype(kind), buffer=data, strides=(1,))
    return np.asarray(every[at])
