"""Flower's fleet protocol: which message type belongs to which route, and that nothing stands beside its fields.

A protobuf message may carry fields that its schema does not have, and the same values in other spellings; both would be
room for data that no reader of the message ever sees. So each body is parsed, written anew without unknown fields, and
compared byte for byte. This is the only module of the audit that imports Flower: its generated protobuf classes, as
they are installed beside the system that is audited.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.proto.error_pb2 import Error
from flwr.proto.fab_pb2 import GetFabRequest, GetFabResponse
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    DeactivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
    RegisterNodeFleetRequest,
    RegisterNodeFleetResponse,
    UnregisterNodeFleetRequest,
    UnregisterNodeFleetResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.recorddict_pb2 import ConfigRecord, MetricRecord
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from audit.decode.handshake import Malformed
from audit.decode.objects import OBJECT_ID

__all__ = [
    "PULL_MESSAGES",
    "PULL_OBJECT",
    "PUSH_MESSAGES",
    "PUSH_OBJECT",
    "ROUTES",
    "Announcement",
    "Envelope",
    "NotCanonical",
    "announcements",
    "as_varint",
    "check_canonical",
    "fields",
    "open_envelope",
    "parse",
    "read_message_body",
    "read_record",
]

PUSH_OBJECT, PULL_OBJECT = "/v1/fleet/push-object", "/v1/fleet/pull-object"
PUSH_MESSAGES, PULL_MESSAGES = "/v1/fleet/push-messages", "/v1/fleet/pull-messages"

# Route to the types of its request and response, as in flwr/supernode/fleet_http_client.py.
ROUTES: Mapping[str, tuple[type[Message], type[Message]]] = {
    "/v1/fleet/register-node": (RegisterNodeFleetRequest, RegisterNodeFleetResponse),
    "/v1/fleet/activate-node": (ActivateNodeRequest, ActivateNodeResponse),
    "/v1/fleet/deactivate-node": (DeactivateNodeRequest, DeactivateNodeResponse),
    "/v1/fleet/unregister-node": (UnregisterNodeFleetRequest, UnregisterNodeFleetResponse),
    "/v1/fleet/send-node-heartbeat": (SendNodeHeartbeatRequest, SendNodeHeartbeatResponse),
    PULL_MESSAGES: (PullMessagesRequest, PullMessagesResponse),
    PUSH_MESSAGES: (PushMessagesRequest, PushMessagesResponse),
    "/v1/fleet/get-run": (GetRunRequest, GetRunResponse),
    "/v1/fleet/get-fab": (GetFabRequest, GetFabResponse),
    PUSH_OBJECT: (PushObjectRequest, PushObjectResponse),
    PULL_OBJECT: (PullObjectRequest, PullObjectResponse),
    "/v1/fleet/confirm-message-received": (ConfirmMessageReceivedRequest, ConfirmMessageReceivedResponse),
}

_RECORDS: Mapping[str, type[ConfigRecord] | type[MetricRecord]] = {
    "ConfigRecord": ConfigRecord,
    "MetricRecord": MetricRecord,
}


class NotCanonical(Malformed):
    """A message that is spelled otherwise than its schema spells it. `rule`: of the finding; `offset`: in its bytes."""

    def __init__(self, rule: str, why: str, offset: int) -> None:
        super().__init__(why)
        self.rule, self.offset = rule, offset


def parse(kind: type[Message], data: bytes) -> Message:
    """The message in `data`; raises `Malformed` if there is none. Whether there is anything else: `check_canonical`."""
    try:
        return kind.FromString(data)
    except (DecodeError, RecursionError):
        raise Malformed(f"not a {kind.DESCRIPTOR.name}") from None


def check_canonical(message: Message, data: bytes) -> None:
    """Raise `NotCanonical` if `data` is anything but the fields of `message`, once each, in their usual spelling.

    Entries of maps may come in any order; everything else has one place.
    """
    unknown, plain = _has_unknown(message), message
    if unknown:
        plain = type(message)()
        plain.CopyFrom(message)
        plain.DiscardUnknownFields()
    again = plain.SerializeToString(deterministic=True)
    name = message.DESCRIPTOR.name
    if unknown:
        offset = _first_difference(again, data)
        raise NotCanonical("protobuf/unknown-field", f"a field that {name} does not have", offset)
    if again != data and not (len(again) == len(data) and _has_map(message)):
        offset = _first_difference(again, data)
        raise NotCanonical("protobuf/non-canonical", f"a {name} in another spelling than its schema's", offset)


@dataclass(frozen=True)
class Envelope:
    """A body without its object. `content`: the object, a view of the body, empty where there is none."""

    message: Message
    plain: bytes = dataclasses.field(repr=False)  # the body without its object's field
    content: memoryview = dataclasses.field(repr=False)
    content_at: int = 0  # where the object begins in the body
    cut: int = 0  # bytes that its field takes in the body, and where the field begins
    cut_at: int = 0

    def check(self) -> None:
        """`check_canonical` for the whole body; offsets count in it."""
        try:
            check_canonical(self.message, self.plain)
        except NotCanonical as fault:
            if fault.offset >= self.cut_at:
                fault.offset += self.cut
            raise


def open_envelope(kind: type[Message], data: bytes) -> Envelope:
    """The message in a body, its object left where it lies: objects are 5 MiB, and each parse would copy them.

    An object's field that is not in its one place and spelling stays in `plain`, where `check` finds it. Raises
    `Malformed` if there is no such message.
    """
    field = kind.DESCRIPTOR.fields_by_name.get("object_content")
    if field is not None:
        begin = _field_at(data, field.number)
        if data[begin : begin + 1] == bytes([field.number << 3 | 2]):
            size, start = _varint(data, begin + 1)
            end = start + size
            in_place = end == len(data) or (end < len(data) and _varint(data, end)[0] >> 3 > field.number)
            if in_place and size and data[begin + 1 : start] == as_varint(size):
                plain = data[:begin] + data[end:]
                return Envelope(parse(kind, plain), plain, memoryview(data)[start:end], start, end - begin, begin)
    return Envelope(parse(kind, data), data, memoryview(b""))


def _field_at(data: bytes, number: int) -> int:
    """Where the first field of this number or a higher one begins."""
    at = 0
    while at < len(data):
        key, behind = _varint(data, at)
        if key >> 3 >= number:
            break
        length, shape = 0, key & 7
        if shape in (0, 2):
            length, behind = _varint(data, behind)
        at = behind + {0: 0, 1: 8, 2: length, 5: 4}.get(shape, len(data))
    return min(at, len(data))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7
    raise Malformed("a number that does not end")


def as_varint(value: int) -> bytes:
    """A number in as few bytes as it takes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _first_difference(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:  # the longest common beginning
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _has_unknown(message: Message) -> bool:
    return len(UnknownFieldSet(message)) > 0 or any(_has_unknown(each) for each in _submessages(message))


def _has_map(message: Message) -> bool:
    return any(_is_map(field) for field, _ in message.ListFields()) or any(map(_has_map, _submessages(message)))


def _submessages(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if _is_map(field):
            yield from (each for each in value.values() if isinstance(each, Message))
        elif field.is_repeated:
            yield from value
        else:
            yield value


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def fields(message: Message, path: str) -> Iterator[tuple[str, Any]]:
    """Each plain value of a message with its path, as ("request/node/node_id", 7); keys of maps are values too."""
    for field, value in message.ListFields():
        here = f"{path}/{field.name}"
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            yield here, list(value) if field.is_repeated else value
        elif _is_map(field):
            for index, key in enumerate(value):
                yield f"{here}/{index}/key", key
                if isinstance(value[key], Message):
                    yield from fields(value[key], f"{here}/{index}/value")
                else:
                    yield f"{here}/{index}/value", value[key]
        elif field.is_repeated:
            for index, each in enumerate(value):
                yield from fields(each, f"{here}/{index}")
        else:
            yield from fields(value, here)


@dataclass(frozen=True)
class Announcement:
    """A message as it is announced. `tree`: ids of its objects to those of their children; `inline`: it has content."""

    id: str
    kind: str
    metadata: Mapping[str, str]
    tree: Mapping[str, tuple[str, ...]]
    inline: bool


def announcements(message: Message) -> list[Announcement]:
    """The messages that a PushMessagesRequest or PullMessagesResponse announces; raises `Malformed`."""
    assert isinstance(message, PushMessagesRequest | PullMessagesResponse)  # noqa: S101
    if len(message.messages_list) != len(message.message_object_trees):
        raise Malformed("messages and their trees are not in pairs")
    said = []
    for proto, root in zip(message.messages_list, message.message_object_trees, strict=True):
        tree: dict[str, tuple[str, ...]] = {}
        _add_shape(root, tree)
        if proto.metadata.message_id != root.object_id or not all(map(OBJECT_ID.fullmatch, tree)):
            raise Malformed("a tree whose ids are not those of objects")
        kind, metadata = proto.metadata.message_type, _metadata_of(proto)
        said.append(Announcement(root.object_id, kind, metadata, tree, bool(proto.content.items)))
    return said


def _add_shape(root: ObjectTree, tree: dict[str, tuple[str, ...]]) -> None:
    tree[root.object_id] = tuple(child.object_id for child in root.children)
    for child in root.children:  # protobuf bounds the depth
        _add_shape(child, tree)


def _metadata_of(message: MessageProto) -> dict[str, str]:
    metadata = message.metadata
    return {field.name: str(getattr(metadata, field.name)) for field in metadata.DESCRIPTOR.fields}


def read_message_body(body: bytes) -> tuple[dict[str, str], Error | None]:
    """Metadata and error of the object that stands for a whole message; raises `Malformed`."""
    message = parse(MessageProto, body)
    assert isinstance(message, MessageProto)  # noqa: S101
    check_canonical(message, body)
    if message.HasField("content"):
        raise Malformed("it carries its content inside")
    return _metadata_of(message), message.error if message.HasField("error") else None


def read_record(kind: str, body: bytes) -> list[tuple[str, Any]]:
    """Keys and values of a ConfigRecord or MetricRecord; raises `Malformed`."""
    record = parse(_RECORDS[kind], body)
    assert isinstance(record, ConfigRecord | MetricRecord)  # noqa: S101
    check_canonical(record, body)
    items: dict[str, Any] = {}
    for item in record.items:
        chosen = item.value.WhichOneof("value")
        if chosen is None or item.key in items:
            raise Malformed("a key without a value, or twice")
        value = getattr(item.value, chosen)
        items[item.key] = list(value.vals) if isinstance(value, Message) else value
    return list(items.items())
