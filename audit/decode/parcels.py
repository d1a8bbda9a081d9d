"""Parcels: one exchange that carries several calls of the fleet's protocol, and one answer to each.

The audited system packs small calls into a `ConfigRecord`, names of routes and bytes in order, and answers with one of
the same names. Taken apart, each call is an exchange of its own, whose bodies lie somewhere in the parcel's: everything
that is said of requests and responses holds for them. Nothing but calls that we know may stand in a parcel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from flwr.proto.recorddict_pb2 import ConfigRecord

from audit.decode.conversation import Exchange
from audit.decode.flower import as_varint, check_canonical, parse
from audit.decode.handshake import Malformed

__all__ = ["PARCEL", "Part", "calls_of", "parts_of"]

PARCEL: Final = "/v1/fleet/parcel"
_FLEET: Final = "/v1/fleet/"
_CALLS: Final = {
    "await-messages": "pull-messages",
    **{name: name for name in ("pull-messages", "push-messages", "pull-object", "push-object")},
    "confirm-message-received": "confirm-message-received",
}


class Part(NamedTuple):
    """One call or answer: its name, its bytes, and where they begin in the parcel's body."""

    name: str
    data: bytes
    at: int


def parts_of(body: bytes) -> list[Part]:
    """What a parcel's body holds.

    Raises:
        NotCanonical: it holds something besides, or is spelled otherwise than usual.
        Malformed: it is no parcel.
    """
    record = parse(ConfigRecord, body)
    assert isinstance(record, ConfigRecord)  # noqa: S101
    check_canonical(record, body)
    parts, at = [], 0
    for item in record.items:
        if item.key not in _CALLS or item.value.WhichOneof("value") != "bytes":
            raise Malformed(f"a parcel with {item.key[:40]!r}, which is no call")
        # In the one spelling that there is, an item is a tag, its size and its fields; its last field is the bytes.
        size = item.ByteSize()
        at += 1 + len(as_varint(size)) + size
        parts.append(Part(item.key, item.value.bytes, at - len(item.value.bytes)))
    if not parts:
        raise Malformed("a parcel without calls")
    return parts


def calls_of(exchange: Exchange, asked: Sequence[Part], answered: Sequence[Part]) -> list[Exchange]:
    """The exchange of each call; without an answer where the parcel as a whole was refused.

    Raises:
        Malformed: the answers are not those to the calls.
    """
    if exchange.status == 200 and [_CALLS[each.name] for each in asked] != [each.name for each in answered]:
        raise Malformed("a parcel whose answers are not those to its calls")
    calls = []
    for number, part in enumerate(asked):
        answer = answered[number] if answered else Part(part.name, b"", 0)
        call = replace(
            exchange,
            route=_FLEET + _CALLS[part.name],
            request=part.data,
            response=answer.data,
            request_body_at=exchange.request_body_at + part.at,
            response_body_at=exchange.response_body_at + answer.at,
        )
        calls.append(call)
    return calls
