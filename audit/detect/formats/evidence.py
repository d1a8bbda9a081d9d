"""How a file is told from bytes that look like its first few: by the bits of evidence that its structure gives.

A validator reads the head of a supposed file through a `Head`, which counts what was confirmed: 8 bits for each byte
that had to have one value, 8 − log2(k) for a byte that had to have one of k. A zero byte counts nothing, because
arrays are full of them. A head is a finding at `ENOUGH_BITS` = 56 and above, so that a uniformly random offset is one
with probability at most 2^-56 for each format: at 17 formats, 10 GiB of random bytes have 2.5e-6 expected findings
(and 2^-24, the bare magic of JPEG, would have 640).

A head that ends before it is decided is `Short`: the caller asks again with more bytes, or, when there are no more,
takes what was confirmed so far. A file cut off anywhere behind its first 56 bits is found like a whole one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from audit.detect.prefilter import Pattern

__all__ = ["ENOUGH_BITS", "LOOKAHEAD", "Format", "Head", "Match", "Short", "judge"]

ENOUGH_BITS = 56.0
# A validator sees at most this much of a file. A directory of a TIFF that lies further behind is not seen.
LOOKAHEAD = 1 << 20


class Short(Exception):
    """The bytes end before the head is decided."""


class Head:
    """The bytes from a possible start of a file on, and the evidence that they are one."""

    def __init__(self, data: bytes | bytearray | memoryview, start: int) -> None:
        self._data = data
        self._start = start
        self._stop = min(len(data), start + LOOKAHEAD)
        self.bits = 0.0
        self.length = 0  # bytes read so far, from the start

    def read(self, at: int, count: int) -> bytes:
        """`count` bytes from offset `at` of the file.

        Raises:
            Short: there are fewer.
        """
        first = self._start + at
        if first + count > self._stop:
            raise Short
        self.length = max(self.length, at + count)
        return bytes(self._data[first : first + count])

    def some(self, at: int, count: int) -> bytes:
        """At most `count` bytes: as many as there are."""
        return bytes(self._data[self._start + at : min(self._start + at + count, self._stop)])

    def byte(self, at: int) -> int:
        """One byte."""
        return self.read(at, 1)[0]

    def big(self, at: int, count: int) -> int:
        """`count` bytes as an unsigned number, most significant byte first."""
        return int.from_bytes(self.read(at, count), "big")

    def little(self, at: int, count: int) -> int:
        """`count` bytes as an unsigned number, least significant byte first."""
        return int.from_bytes(self.read(at, count), "little")

    def confirm(self, at: int, expected: bytes) -> bool:
        """Whether exactly these bytes stand there; each that is not zero counts 8 bits."""
        if self.read(at, len(expected)) != expected:
            return False
        self.bits += 8.0 * (len(expected) - expected.count(0))
        return True

    def confirm_one_of(self, at: int, allowed: bytes) -> bool:
        """Whether the byte there is one of `allowed`; counts 8 − log2(k) bits unless it is zero."""
        value = self.byte(at)
        if value not in allowed:
            return False
        self.bits += (8.0 - math.log2(len(allowed))) if value else 0.0
        return True


@dataclass(frozen=True)
class Format:
    """One kind of file: the bytes that the prefilter looks for, and the validator of what they begin.

    `validate` returns a description ("JPEG 32x32, 3 components"), or None where the structure contradicts itself.
    """

    rule: str  # "image/jpeg"
    label: str  # "JPEG", of a file that is cut off before it says more
    patterns: tuple[Pattern, ...]
    validate: Callable[[Head], str | None]


@dataclass(frozen=True)
class Match:
    """A head that is one. `length`: bytes that were read to be sure of it."""

    description: str
    length: int


def judge(kind: Format, data: bytes | bytearray | memoryview, start: int, *, final: bool) -> Match | None:
    """Whether a file of this kind begins at `start`. `final`: no more bytes follow `data`.

    Raises:
        Short: not `final`, and more bytes are needed to tell.
    """
    head = Head(data, start)
    try:
        description = kind.validate(head)
    except Short:
        if not final and len(data) < start + LOOKAHEAD:
            raise
        description = f"{kind.label}, cut off"
    return Match(description, head.length) if description and head.bits >= ENOUGH_BITS else None
