"""A Flower message out of its objects: every value in it as a leaf, and nothing in it that is not one.

    Message → RecordDict {name: record} → ConfigRecord, MetricRecord {key: value}
                                        → ArrayRecord {name: array} → Array → ArrayChunk, ArrayChunk …

Each body has one spelling: JSON as `json.dumps` writes it, protobuf as its schema writes it, children named in the
order of their first use. So an object has no slack, and an object that no value refers to cannot hang on a message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from audit.decode.arrays import MAX_ARRAY_BYTES, array_of
from audit.decode.conversation import Leaf
from audit.decode.flower import NotCanonical, read_message_body, read_record
from audit.decode.handshake import Malformed
from audit.decode.objects import ObjectStore
from audit.findings import BlindSpot, Finding, Place

__all__ = ["MessageReader"]

_ARRAY_KEYS = ["dtype", "shape", "stype", "arraychunk_ids"]
_STYPE = "numpy.ndarray"


class MessageReader:
    """Reads messages from the store; what is wrong inside goes to `note`, and the rest is read all the same."""

    def __init__(self, store: ObjectStore, note: Callable[[Finding | BlindSpot], None]) -> None:
        self._store, self._note = store, note

    def read(self, message_id: str, place: Place) -> tuple[dict[str, str], str, tuple[Leaf, ...]]:
        """The message's own metadata, its error as text, and its leaves. All its objects must have crossed."""
        try:
            self._expect(message_id, "Message")
            metadata, error = read_message_body(self._store.body(message_id))
        except Malformed as fault:
            self._tell(fault, place, message_id)
            return {}, "", ()
        leaves: list[Leaf] = []
        if error is not None:
            where = replace(place, path="error/reason", unit="value")
            leaves.append(Leaf("error/reason", "field", error.reason, where, message_id))
        for child in self._store.children(message_id):
            leaves += self._record_dict(child, place)
        return metadata, f"{error.code}: {error.reason}" if error is not None else "", tuple(leaves)

    def _record_dict(self, object_id: str, place: Place) -> Iterator[Leaf]:
        try:
            for name, record in self._references(object_id, "RecordDict").items():
                yield from self._record(record, name, replace(place, path=name))
        except Malformed as fault:
            self._tell(fault, place, object_id)

    def _record(self, object_id: str, name: str, place: Place) -> Iterator[Leaf]:
        kind = self._store.kind(object_id)
        try:
            if kind == "ArrayRecord":
                for key, array in self._references(object_id, kind).items():
                    yield from self._array(array, f"{name}/{key}", place)
            elif kind in ("ConfigRecord", "MetricRecord"):
                if self._store.children(object_id):
                    raise Malformed("a record of values with children")
                for key, value in read_record(kind, self._store.body(object_id)):
                    path = f"{name}/{key}"
                    leaf = "config" if kind == "ConfigRecord" else "metric"
                    yield Leaf(path, leaf, value, replace(place, path=path, unit="value"), object_id)
            else:
                raise Malformed(f"a {kind} where a record must be")
        except Malformed as fault:
            self._tell(fault, place, object_id)

    def _array(self, object_id: str, path: str, place: Place) -> Iterator[Leaf]:
        where = replace(place, path=path, unit="array")
        try:
            declared = self._json(object_id, "Array")
            if list(declared) != _ARRAY_KEYS or declared["stype"] != _STYPE:
                raise Malformed("it does not describe a NumPy array")
            data = self._chunks(object_id, declared["arraychunk_ids"], where)
            if data is None:
                return
            array = array_of(data)
            if declared["dtype"] != str(array.dtype) or declared["shape"] != list(array.shape):
                raise Malformed("it holds an array of another type or shape than it declares")
        except Malformed as fault:
            self._tell(fault, where, object_id)
            return
        yield Leaf(path, "array", array, where, object_id)

    def _chunks(self, object_id: str, order: Any, place: Place) -> bytearray | None:
        """An array's bytes; None, and a blind spot, if they are more than we hold."""
        children = self._store.children(object_id)
        if not isinstance(order, list) or not all(type(i) is int and 0 <= i < len(children) for i in order):
            raise Malformed("it refers to chunks that it does not have")
        if list(dict.fromkeys(order)) != list(range(len(children))):
            raise Malformed("its chunks are not in the order of their use, or not all in use")
        for child in children:
            self._expect(child, "ArrayChunk")
            if self._store.children(child):
                raise Malformed("a chunk with children")
        sizes = [self._store.size(children[i]) for i in order]
        if sum(sizes) > MAX_ARRAY_BYTES:  # one chunk may be named a million times
            why = f"an array of {sum(sizes)} bytes; we hold up to {MAX_ARRAY_BYTES}"
            self._note(BlindSpot("array/too-large", why, place, sum(sizes)))
            return None
        data = bytearray(sum(sizes))
        with memoryview(data) as view:
            at = 0
            for index, size in zip(order, sizes, strict=True):
                self._store.read_into(children[index], view[at : at + size])
                at += size
        return data

    def _references(self, object_id: str, kind: str) -> dict[str, str]:
        """Names to ids of children, each a child of this object and each child named."""
        named = self._json(object_id, kind)
        if list(dict.fromkeys(map(str, named.values()))) != list(self._store.children(object_id)):
            raise Malformed("its children are not those that it names, in this order")
        return named

    def _json(self, object_id: str, kind: str) -> dict[str, Any]:
        self._expect(object_id, kind)
        body = self._store.body(object_id)
        try:
            value = json.loads(body)
            same = json.dumps(value).encode() == body
        except (ValueError, RecursionError):
            raise Malformed("its body is not JSON") from None
        if not same or not isinstance(value, dict):
            raise Malformed("its JSON is not as Python writes it, or not an object")
        return value

    def _expect(self, object_id: str, kind: str) -> None:
        if self._store.kind(object_id) != kind:
            raise Malformed(f"a {self._store.kind(object_id)} where a {kind} must be")

    def _tell(self, fault: Malformed, place: Place, object_id: str) -> None:
        rule = fault.rule if isinstance(fault, NotCanonical) else "object/malformed"
        where = replace(place, unit="object", offset=fault.offset if isinstance(fault, NotCanonical) else 0)
        self._note(Finding(rule, f"object {object_id[:16]}: {fault}", where, evidence_sha256=object_id))
