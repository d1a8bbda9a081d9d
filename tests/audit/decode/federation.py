"""What a site and the coordinator say: Flower's own classes, HTTP as httpx and uvicorn write it, real TLS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import ConfigRecord as Record
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from tests.audit.decode.flights import CLIENT, SERVER, Pipe
from tests.audit.decode.wire import Frame, frames_of, sizes

NODE = 77
PARCEL = "/v1/fleet/parcel"


class Call(NamedTuple):
    """One call of the fleet's protocol, as it is sent and as it is answered."""

    name: str
    request: bytes
    response: bytes


def message(*, group: str = "3", values: int = 3000, note: float = 0.5) -> Message:
    """A reply as a site sends it: one flat array, metrics, a claim."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 5, 1, 0
    order = Message(
        RecordDict({"config": ConfigRecord({"lr": 0.1})}), dst_node_id=NODE, message_type="train", group_id=group
    )
    order.metadata.__dict__["_message_id"] = order.object_id
    TaskIdentity.node_id = NODE
    update = np.arange(values, dtype=np.float32) / 7
    content = RecordDict(
        {
            "update": ArrayRecord({"u": Array(update)}),
            "metrics": MetricRecord({"train-loss": note, "steps": 12, "classes": [0.5, 0.25]}),
            "claim": ConfigRecord({"signature": b"\x01\x02", "site": "clinic", "flags": [True, False]}),
        }
    )
    return Message(content, reply_to=order)


def confirming(message_id: str) -> Call:
    """A site says that it has a message."""
    request = ConfirmMessageReceivedRequest(node=Node(node_id=NODE), run_id=5, message_object_id=message_id)
    answer = ConfirmMessageReceivedResponse()
    return Call("confirm-message-received", request.SerializeToString(), answer.SerializeToString())


def announcing(reply: Message, spoil: str = "") -> Call:
    """A site says that a reply is coming. `spoil`: what of it is not so: "tree", "id" or "metadata"."""
    objects = objects_of(reply)
    proto, tree = message_to_proto(remove_content_from_message(reply)), get_object_tree(reply)
    if spoil == "tree":
        del tree.children[0].children[0].children[:]
    elif spoil == "id":
        tree.children[0].object_id = "hidden"
    elif spoil == "metadata":
        proto.metadata.group_id = "hidden"
    request = PushMessagesRequest(
        node=Node(node_id=NODE),
        messages_list=[proto],
        message_object_trees=[tree],
        clientapp_runtime_list=[1.5],
    )
    response = PushMessagesResponse(results={"a": 0, "b": 1}, objects_to_push=list(objects), session_id="abc")
    return Call("push-messages", request.SerializeToString(), response.SerializeToString())


def sending(object_id: str, content: bytes, *, session: str = "abc", behind: bytes = b"") -> Call:
    """A site sends an object; `behind`: bytes that are appended to the request's message."""
    request = PushObjectRequest(
        node=Node(node_id=NODE), run_id=5, object_id=object_id, object_content=content, session_id=session
    )
    answer = PushObjectResponse(stored=True)
    return Call("push-object", request.SerializeToString() + behind, answer.SerializeToString())


def asking(*orders: Message, patiently: bool = False) -> Call:
    """A site asks for messages, and these are there."""
    response = PullMessagesResponse(
        messages_list=[message_to_proto(remove_content_from_message(each)) for each in map(named, orders)],
        message_object_trees=[get_object_tree(each) for each in orders],
    )
    request = PullMessagesRequest(node=Node(node_id=NODE))
    name = "await-messages" if patiently else "pull-messages"
    return Call(name, request.SerializeToString(), response.SerializeToString())


def fetching(object_id: str, content: bytes) -> Call:
    """A site asks for an object. Empty: it is not to be had."""
    asked = PullObjectRequest(node=Node(node_id=NODE), run_id=5, object_id=object_id)
    found = PullObjectResponse(object_found=True, object_available=bool(content), object_content=content)
    return Call("pull-object", asked.SerializeToString(), found.SerializeToString())


def named(each: Message) -> Message:
    """The message, which knows its id now."""
    each.metadata.__dict__["_message_id"] = each.object_id
    return each


def objects_of(each: Message) -> dict[str, bytes]:
    """A message's objects by id, children first."""
    return {key: found.deflate() for key, found in get_all_nested_objects(named(each)).items()}


def packed(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """One body of a parcel."""
    return Record(items=[{"key": name, "value": {"bytes": data}} for name, data in parts]).SerializeToString()


class Site:
    """One keep-alive session of a site; `frames` and `pipe.key_log` when all is said."""

    def __init__(self, folder: Path) -> None:
        self.pipe = Pipe(folder)

    def exchange(
        self, route: str, request: bytes, response: bytes, *, status: str = "200 OK", kind: str = "application/protobuf"
    ) -> None:
        """One request and its response, in bytes."""
        for direction, first, body in (
            (CLIENT, f"POST {route} HTTP/1.1\r\nhost: 10.0.0.1:8443", request),
            (SERVER, f"HTTP/1.1 {status}", response),
        ):
            head = f"{first}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
            self.pipe.say(direction, head.encode() + body)

    def join(self) -> None:
        request = ActivateNodeRequest(public_key=b"key", heartbeat_interval=10)
        self.exchange(
            "/v1/fleet/activate-node",
            request.SerializeToString(),
            ActivateNodeResponse(node_id=NODE).SerializeToString(),
        )

    def call(self, each: Call) -> None:
        """One call by itself."""
        self.exchange(f"/v1/fleet/{each.name}", each.request, each.response)

    def parcel(self, calls: Iterable[Call]) -> None:
        """Several calls in one request."""
        sent = list(calls)
        answers = [(each.name.replace("await", "pull"), each.response) for each in sent]
        self.exchange(PARCEL, packed((each.name, each.request) for each in sent), packed(answers))

    def push(self, reply: Message, *, without: int = 0, spoil: str = "") -> dict[str, bytes]:
        """Send a reply and its objects but for the last `without`; the objects by id.

        `spoil`: as for `announcing`.
        """
        self.call(announcing(reply, spoil))
        objects = objects_of(reply)
        for key in list(objects)[: max(0, len(objects) - without)]:
            self.push_object(key, objects[key])
        return objects

    def push_only(self, reply: Message, *, known: set[str]) -> None:
        """Send a reply, and of its objects those that the coordinator does not know."""
        self.call(announcing(reply))
        for key, content in objects_of(reply).items():
            if key not in known:
                self.push_object(key, content)

    def push_object(self, object_id: str, content: bytes, *, behind: bytes = b"") -> None:
        """Send one object."""
        self.call(sending(object_id, content, behind=behind))

    def pull(self, order: Message) -> None:
        """Fetch a message and its objects."""
        self.call(asking(order))
        for key, content in objects_of(order).items():
            self.call(fetching(key, content))

    def frames(self, low: int = 200, high: int = 1460) -> list[Frame]:
        return frames_of(self.pipe.flights, sizes(low, high))

    @property
    def secrets(self) -> dict[bytes, dict[str, bytes]]:
        return self.pipe.secrets
