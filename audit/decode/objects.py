"""Flower's content-addressed objects: read strictly, checked against their own name, kept on disk.

An object is `"<Kind> <ids of children, comma> <length of body>\\0<body>"` and its id is the SHA-256 of all of it.
Flower's own parser forgives (`int(" 7 ")`, upper-case ids); here exactly one spelling is right, so that a head has no
room for anything but itself. Bodies go to one file without a name: readable by nobody else, and gone with the process.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from audit.decode.handshake import Malformed

__all__ = ["KINDS", "OBJECT_ID", "ObjectHead", "ObjectStore", "read_object"]

# The classes that the fleet's wire carries; `flwr.supercore.inflatable` knows no more but a ServerApp's Context.
KINDS = frozenset({"Message", "RecordDict", "ArrayRecord", "ConfigRecord", "MetricRecord", "Array", "ArrayChunk"})
OBJECT_ID = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(rb"([A-Za-z]{1,64}) ((?:[0-9a-f]{64}(?:,[0-9a-f]{64})*)?) (0|[1-9][0-9]{0,11})\0")


class ObjectHead(NamedTuple):
    """What stands before an object's body. `size`: bytes of the head itself."""

    kind: str
    children: tuple[str, ...]
    size: int


def read_object(content: bytes | memoryview, object_id: str) -> ObjectHead:
    """The head of an object whose name, kind and length are right; raises `Malformed` otherwise."""
    if hashlib.sha256(content).hexdigest() != object_id:
        raise Malformed("its SHA-256 is not its name")
    head = _HEAD.match(content)
    if not head:
        raise Malformed("its head is not `kind children length`")
    kind = head[1].decode()
    if kind not in KINDS:
        raise Malformed(f"no message of Flower has a {kind}")
    if int(head[3]) != len(content) - head.end():
        raise Malformed("its body is not as long as it says")
    children = tuple(head[2].decode().split(",")) if head[2] else ()
    if len(set(children)) != len(children):
        raise Malformed("it names a child twice")
    return ObjectHead(kind, children, head.end())


class _Stored(NamedTuple):
    kind: str
    children: tuple[str, ...]
    offset: int
    size: int


class ObjectStore:
    """Every object that crossed, once. Memory holds the index only."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, prefix="objects-")  # noqa: SIM115 - 0600, unlinked at once, closed by `close`
        self._index: dict[str, _Stored] = {}
        self._end = 0

    def put(self, object_id: str, head: ObjectHead, body: bytes | memoryview) -> None:
        """Keep an object, if it is new."""
        if object_id in self._index:
            return
        self._index[object_id] = _Stored(head.kind, head.children, self._end, len(body))
        rest = memoryview(body)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, self._end)
            self._end += written
            rest = rest[written:]

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def kind(self, object_id: str) -> str:
        """An object's class; `KeyError` if it never crossed, as for the other readers."""
        return self._index[object_id].kind

    def children(self, object_id: str) -> tuple[str, ...]:
        """Ids of its children."""
        return self._index[object_id].children

    def size(self, object_id: str) -> int:
        """Bytes of its body."""
        return self._index[object_id].size

    def body(self, object_id: str) -> bytes:
        """Its body."""
        stored = self._index[object_id]
        buffer = bytearray(stored.size)
        self.read_into(object_id, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, object_id: str, buffer: memoryview) -> None:
        """Its body, to the beginning of `buffer`."""
        stored = self._index[object_id]
        done = 0
        while done < stored.size:
            count = os.preadv(self._file.fileno(), [buffer[done : stored.size]], stored.offset + done)
            if not count:
                raise OSError("the file of objects was cut")
            done += count

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()
