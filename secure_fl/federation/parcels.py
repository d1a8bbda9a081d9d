"""Parcels: several small calls of Flower's protocol in one request.

Flower moves a message as a tree of objects, one request for each. Whatever a request carries, HTTP, TLS and the check
of a P-384 signature cost both ends some milliseconds; one trip between ten sites and their coordinator came to 180 of
them. A parcel is one request: a `ConfigRecord`, which is Flower's own map of names to bytes, of call names and their
messages in order, answered by a record of the same names and the responses. Whoever sends it is checked once, and
`desk` gives each call to Flower's own handler. Objects larger than `LARGE` are not worth it and go by themselves.

A parcel that ends with `AWAIT`, which is "pull-messages" by a more patient name, is answered when there is a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from flwr.proto.fleet_pb2 import PushMessagesResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import ConfigRecord, ConfigRecordValue
from flwr.proto.runtime_pb2 import PushAppMessagesResponse
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from google.protobuf.message import DecodeError, Message

__all__ = ["AWAIT", "FLEET_ROUTE", "LARGE", "MOST_BYTES", "RUNTIME_ROUTE", "WAIT_S", "Call", "Sender", "pack", "unpack"]

FLEET_ROUTE: Final = "/v1/fleet/parcel"
RUNTIME_ROUTE: Final = "/v1/runtime/parcel"
AWAIT: Final = "await-messages"
LARGE: Final = 256 << 10
"""Bytes of an object that goes by itself."""
MOST_BYTES: Final = 1 << 20
"""Bytes of objects in one parcel; the rest go by themselves."""
WAIT_S: Final = 2.0
"""How long a parcel may wait for a message."""

Pushed = TypeVar("Pushed", PushMessagesResponse, PushAppMessagesResponse)


class Call(NamedTuple):
    """A call's name, the last part of its route, and its message or its response, serialised."""

    name: str
    message: bytes


def pack(calls: Iterable[Call]) -> ConfigRecord:
    """Calls as they travel."""
    record = ConfigRecord()
    for name, message in calls:
        record.items.add(key=name, value=ConfigRecordValue(bytes=message))
    return record


def unpack(body: bytes) -> list[Call]:
    """The calls of a request's body; raises ValueError if it is no parcel."""
    try:
        items = ConfigRecord.FromString(body).items
    except DecodeError:
        raise ValueError("not a record of calls") from None
    if not items or any(item.value.WhichOneof("value") != "bytes" for item in items):
        raise ValueError("a call without a message")
    return [Call(item.key, item.value.bytes) for item in items]


class Sender:
    """The sender's end of one service, "fleet" or "runtime", over a client of Flower's."""

    def __init__(self, client: FleetHttpClient | RuntimeHttpClient, service: str) -> None:
        self._client = client
        self._path, self._method = f"/v1/{service}/parcel", f"/flwr.proto.{service.title()}/Parcel"

    def send(self, calls: Iterable[tuple[str, Message]]) -> list[bytes]:
        """The responses, serialised, in the order of the calls.

        Raises:
            httpx.HTTPError: as for a single call; those before the one that failed have been carried out.
        """
        record = pack(Call(name, message.SerializeToString(deterministic=True)) for name, message in calls)
        answer = self._client._unary_unary(
            path=self._path, rpc_method=self._method, request=record, response_type=ConfigRecord
        )
        return [item.value.bytes for item in answer.items]

    def push(
        self,
        announcement: Message,
        answer: type[Pushed],
        contents: Mapping[str, bytes],
        *,
        node: Node,
        run_id: int,
        before: Sequence[tuple[str, Message]] = (),
    ) -> Pushed:
        """Announce messages and send their objects: small ones in the same parcel, after the calls `before`.

        announcement: the message of a call "push-messages", which is answered by `answer`; contents: objects by id.

        Raises:
            httpx.HTTPError: as for a single call.
            ObjectPushError: an object that was wanted was not stored.
        """

        def pushing(each: str, session: str) -> PushObjectRequest:
            return PushObjectRequest(
                node=node, run_id=run_id, object_id=each, object_content=contents[each], session_id=session
            )

        small: list[str] = _fitting(contents)
        # Without a session, Flower stores an object in the one that waits for it: the one that is being opened here.
        calls = [*before, ("push-messages", announcement), *(("push-object", pushing(each, "")) for each in small)]
        answers = self.send(calls)[len(before) :]
        said: Pushed = answer.FromString(answers[0])
        stored = dict(zip(small, map(PushObjectResponse.FromString, answers[1:]), strict=True))
        for each in said.objects_to_push:
            if each not in stored:
                stored[each] = self._client.PushObject(pushing(each, said.session_id))
            if not stored[each].stored:
                raise ObjectPushError(each, run_id, said.session_id)
        return said

    def objects(self, ids: Iterable[str], *, node: Node, run_id: int) -> dict[str, bytes]:
        """Contents by id of those objects that are there and small; the others have to be asked for one by one.

        Raises:
            httpx.HTTPError: as for a single call.
        """
        asked = list(ids)
        calls = [("pull-object", PullObjectRequest(node=node, run_id=run_id, object_id=each)) for each in asked]
        found = map(PullObjectResponse.FromString, self.send(calls))
        return {id: each.object_content for id, each in zip(asked, found, strict=True) if each.object_available}


def _fitting(contents: Mapping[str, bytes]) -> list[str]:
    """Ids of objects that are small and fit into one parcel together."""
    fitting, room = [], MOST_BYTES
    for each, content in contents.items():
        if len(content) <= min(LARGE, room):
            fitting.append(each)
            room -= len(content)
    return fitting
