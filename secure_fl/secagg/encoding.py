"""Bytes that can be read in one way only: what is hashed, signed and sent is made here.

A statement is a label and length-prefixed parts, so that no two statements share an encoding and none can be taken for
one of another kind or version. A table maps roster indexes to values of one width, indexes ascending, so that equal
tables have equal bytes. All integers are unsigned, big-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property

from secure_fl.secagg.errors import Malformed

__all__ = [
    "DIGEST",
    "PROTOCOL",
    "Table",
    "digest",
    "from_index_list",
    "from_table",
    "index_bytes",
    "index_list",
    "pack",
    "pair_digest",
    "statement",
    "table",
    "unpack",
]

PROTOCOL = b"secure-fl secagg v1"
DIGEST = 32
"""Bytes of a SHA-256 digest."""

_LENGTH = _INDEX = 4
_packed_index = struct.Struct(">I").pack


def pack(*parts: bytes) -> bytes:
    """Each part behind its length in four bytes."""
    return b"".join([len(part).to_bytes(_LENGTH, "big") + part for part in parts])


def unpack(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` parts and nothing behind them; raises Malformed."""
    parts, at = [], 0
    for _ in range(count):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise Malformed("a message is cut short")
        parts.append(data[start:at])
    if at != len(data):
        raise Malformed("a message has bytes behind its end")
    return parts


def statement(label: str, *parts: bytes) -> bytes:
    """What is hashed or signed for the purpose `label`."""
    return _heading(label) + pack(*parts)


@cache
def _heading(label: str) -> bytes:
    return pack(PROTOCOL, label.encode())


def digest(label: str, *parts: bytes) -> bytes:
    """SHA-256 of that statement: 32 bytes."""
    return hashlib.sha256(statement(label, *parts)).digest()


def pair_digest(label: str, *first: bytes, widths: tuple[int, int]) -> Callable[[bytes, bytes], bytes]:
    """`digest(label, *first, one, two)` as a function of the last two parts, for thousands of pairs of these widths.

    All that is the same each time is packed once. A pair of other widths is digested just as well, only not as fast.
    """
    head, between = statement(label, *first) + widths[0].to_bytes(_LENGTH, "big"), widths[1].to_bytes(_LENGTH, "big")

    def digest_of(one: bytes, two: bytes) -> bytes:
        if (len(one), len(two)) != widths:
            return digest(label, *first, one, two)
        return hashlib.sha256(head + one + between + two).digest()

    return digest_of


def index_bytes(index: int) -> bytes:
    """A roster index in four bytes; raises Malformed where it does not fit."""
    try:
        return index.to_bytes(_INDEX, "big")
    except (OverflowError, AttributeError):
        raise Malformed(f"{index!r} is not a roster index") from None


def index_list(indexes: Iterable[int]) -> bytes:
    """Roster indexes in the order given."""
    listed = tuple(indexes)
    try:
        return struct.pack(f">{len(listed)}I", *listed)
    except struct.error:
        raise Malformed(f"{listed!r} are not roster indexes") from None


def from_index_list(data: bytes) -> tuple[int, ...]:
    """Roster indexes, strictly ascending; raises Malformed."""
    if len(data) % _INDEX:
        raise Malformed("a list of roster indexes is cut short")
    indexes = struct.unpack(f">{len(data) // _INDEX}I", data)
    if list(indexes) != sorted(set(indexes)):
        raise Malformed("roster indexes are not in ascending order")
    return indexes


class Table(Mapping[int, bytes]):
    """A table as it is sent, read like a mapping; its rows are taken apart only when they are read.

    The coordinator hands each of n sites n tables of n rows: it makes n of them and cuts.
    """

    def __init__(self, data: bytes, width: int) -> None:
        """data: a table whose values have `width` bytes; whoever reads a row finds out if it is not one (Malformed)."""
        self.data, self.width = data, width

    def without(self, index: int) -> Table:
        """The same table but for one row that is in it."""
        start, end = self._places[index]
        return Table(self.data[:start] + self.data[end:], self.width)

    @cached_property
    def _rows(self) -> dict[int, bytes]:
        return from_table(self.data, self.width)

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        step = _INDEX + self.width
        return {index: (at * step, (at + 1) * step) for at, index in enumerate(self._rows)}

    def __getitem__(self, index: int) -> bytes:
        return self._rows[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self.data) // (_INDEX + self.width)


def table(rows: Mapping[int, bytes]) -> bytes:
    """Index and value of each row, indexes ascending; raises Malformed where an index does not fit."""
    if type(rows) is Table:  # isinstance of an abstract class costs more than the rest
        return rows.data
    try:
        return b"".join([_packed_index(index) + rows[index] for index in sorted(rows)])
    except (struct.error, TypeError):
        raise Malformed("not a table of roster indexes") from None


def from_table(data: bytes, width: int) -> dict[int, bytes]:
    """Rows whose values have `width` bytes; raises Malformed."""
    step = _INDEX + width
    if len(data) % step:
        raise Malformed("a table is cut short")
    rows = dict(struct.iter_unpack(f">I{width}s", data))
    indexes = list(rows)
    if len(indexes) * step < len(data) or indexes != sorted(indexes):
        raise Malformed("roster indexes are twice in a table, or not in ascending order")
    return rows
