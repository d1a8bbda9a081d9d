"""What a site and the coordinator say: Flower's own classes, HTTP as httpx and uvicorn write it, real TLS."""

from __future__ import annotations

from pathlib import Path

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
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from tests.audit.decode.flights import CLIENT, SERVER, Pipe
from tests.audit.decode.wire import Frame, frames_of, sizes

NODE = 77


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

    def push(self, reply: Message, *, without: int = 0, spoil: str = "") -> dict[str, bytes]:
        """Send a reply and its objects but for the last `without`; the objects by id.

        `spoil`: what of the announcement is not so: "tree", "id" or "metadata".
        """
        objects = self.announce(reply, spoil)
        for key in list(objects)[: max(0, len(objects) - without)]:
            self.push_object(key, objects[key])
        return objects

    def push_only(self, reply: Message, *, known: set[str]) -> None:
        """Send a reply, and of its objects those that the coordinator does not know."""
        for key, content in self.announce(reply).items():
            if key not in known:
                self.push_object(key, content)

    def announce(self, reply: Message, spoil: str = "") -> dict[str, bytes]:
        """Say that a reply is coming; its objects by id, children first."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects = {key: each.deflate() for key, each in get_all_nested_objects(reply).items()}
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
        self.exchange("/v1/fleet/push-messages", request.SerializeToString(), response.SerializeToString())
        return objects

    def push_object(self, object_id: str, content: bytes, *, behind: bytes = b"") -> None:
        """Send one object; `behind`: bytes that are appended to the request's message."""
        request = PushObjectRequest(
            node=Node(node_id=NODE), run_id=5, object_id=object_id, object_content=content, session_id="abc"
        )
        answer = PushObjectResponse(stored=True).SerializeToString()
        self.exchange("/v1/fleet/push-object", request.SerializeToString() + behind, answer)

    def pull(self, order: Message) -> None:
        """Fetch a message and its objects."""
        order.metadata.__dict__["_message_id"] = order.object_id
        response = PullMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(order))],
            message_object_trees=[get_object_tree(order)],
        )
        request = PullMessagesRequest(node=Node(node_id=NODE))
        self.exchange("/v1/fleet/pull-messages", request.SerializeToString(), response.SerializeToString())
        for key, each in get_all_nested_objects(order).items():
            asked = PullObjectRequest(node=Node(node_id=NODE), run_id=5, object_id=key)
            found = PullObjectResponse(object_found=True, object_available=True, object_content=each.deflate())
            self.exchange("/v1/fleet/pull-object", asked.SerializeToString(), found.SerializeToString())

    def frames(self, low: int = 200, high: int = 1460) -> list[Frame]:
        return frames_of(self.pipe.flights, sizes(low, high))

    @property
    def secrets(self) -> dict[bytes, dict[str, bytes]]:
        return self.pipe.secrets
