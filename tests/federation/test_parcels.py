"""Parcels: what goes in comes out, small objects travel together, large ones by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import ConfigRecord
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supernode.fleet_http_client import FleetHttpClient
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.federation.parcels import FLEET_ROUTE, LARGE, MOST_BYTES, RUNTIME_ROUTE, Call, Sender, pack, unpack

NODE = Node(node_id=7)


@given(st.lists(st.builds(Call, st.text("push-λ\0", max_size=9), st.binary()), min_size=1))
def test_calls_come_out_as_they_went_in(calls: list[Call]) -> None:
    assert unpack(pack(calls).SerializeToString()) == calls


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "a call without a message"),
        (b"rubbish", "not a record of calls"),
        (ConfigRecord(items=[{"key": "a", "value": {"string": "b"}}]).SerializeToString(), "a call without a message"),
        (ConfigRecord(items=[{"key": "a"}]).SerializeToString(), "a call without a message"),
        (pack([Call("a", b"b")]).SerializeToString()[:-1], "not a record of calls"),
    ],
)
def test_what_is_no_parcel_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        unpack(body)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert unpack(body)


class Coordinator:
    """Answers a client of Flower's; `wanted`: what it does not have, `taken`: what it stores, by parcel and alone."""

    def __init__(
        self, wanted: Collection[str] = (), *, by_parcel: Collection[str] = (), alone: Collection[str] = ()
    ) -> None:
        self._wanted, self._by_parcel, self._alone = wanted, by_parcel, alone
        self.parcels: list[list[Call]] = []
        self.alone: list[PushObjectRequest] = []
        self.routes: list[str] = []
        self.client = FleetHttpClient("http://here")
        self.client._client.close()
        self.client._client = httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.routes.append(request.url.path)
        if request.url.path == "/v1/fleet/push-object":
            self.alone.append(PushObjectRequest.FromString(request.content))
            stored = self.alone[-1].object_id in self._alone
            return httpx.Response(200, content=PushObjectResponse(stored=stored).SerializeToString())
        self.parcels.append(unpack(request.content))
        answers = (Call(each.name, self._answer_to(each)) for each in self.parcels[-1])
        return httpx.Response(200, content=pack(answers).SerializeToString())

    def _answer_to(self, call: Call) -> bytes:
        answer: Any
        match call.name:
            case "push-messages":
                answer = PushMessagesResponse(objects_to_push=self._wanted, session_id="session")
            case "push-object":
                stored = PushObjectRequest.FromString(call.message).object_id in self._by_parcel
                answer = PushObjectResponse(stored=stored)
            case "pull-object":
                wanted = PullObjectRequest.FromString(call.message).object_id
                answer = PullObjectResponse(
                    object_found=True, object_available=wanted == "small", object_content=b"content"
                )
            case _:
                return b"answer to " + call.name.encode()
        message: bytes = answer.SerializeToString()
        return message

    def push(self, contents: dict[str, bytes]) -> PushMessagesResponse:
        before = [("confirm-message-received", Node(node_id=1))]
        sender = Sender(self.client, "fleet")
        return sender.push(
            PushMessagesRequest(node=NODE), PushMessagesResponse, contents, node=NODE, run_id=5, before=before
        )

    def packed(self) -> Iterator[tuple[str, str]]:
        """Ids and sessions of the objects in the one parcel that came."""
        (parcel,) = self.parcels
        assert [each.name for each in parcel[:2]] == ["confirm-message-received", "push-messages"]
        for call in parcel[2:]:
            request = PushObjectRequest.FromString(call.message)
            assert (call.name, request.node, request.run_id) == ("push-object", NODE, 5)
            yield request.object_id, request.session_id


def test_calls_go_to_the_route_of_their_service_in_order_and_so_do_answers() -> None:
    for service, route in (("fleet", FLEET_ROUTE), ("runtime", RUNTIME_ROUTE)):
        coordinator = Coordinator()
        calls = [("one", PullMessagesRequest(node=NODE)), ("two", Node(node_id=3))]
        assert Sender(coordinator.client, service).send(calls) == [b"answer to one", b"answer to two"]
        assert coordinator.routes == [route]
        assert coordinator.parcels == [[Call(name, message.SerializeToString()) for name, message in calls]]


def test_small_objects_go_with_their_announcement_and_large_ones_alone_with_its_session() -> None:
    coordinator = Coordinator(["small", "large"], by_parcel=["small"], alone=["large"])
    contents = {"small": bytes(LARGE), "large": bytes(LARGE + 1)}
    assert coordinator.push(contents).session_id == "session"
    assert list(coordinator.packed()) == [("small", "")]
    (alone,) = coordinator.alone
    assert alone == PushObjectRequest(
        node=NODE, run_id=5, object_id="large", object_content=contents["large"], session_id="session"
    )


def test_a_parcel_holds_only_so_many_bytes_of_objects() -> None:
    ids = [str(number) for number in range(7)]
    coordinator = Coordinator(ids, by_parcel=ids, alone=ids)
    coordinator.push({each: bytes(200_000) for each in ids} | {"6": bytes(MOST_BYTES - 5 * 200_000)})
    assert [each for each, _ in coordinator.packed()] == ["0", "1", "2", "3", "4", "6"]
    assert [each.object_id for each in coordinator.alone] == ["5"]


def test_what_is_not_wanted_is_not_sent_again_and_need_not_be_stored() -> None:
    coordinator = Coordinator(["wanted"], by_parcel=["wanted"])
    coordinator.push({"wanted": b"1", "known": b"2", "large and known": bytes(LARGE + 1)})
    assert coordinator.alone == []


def test_a_small_object_that_was_not_stored_is_sent_again_with_its_session() -> None:
    coordinator = Coordinator(["small"], alone=["small"])
    coordinator.push({"small": b"1"})
    assert [(each.object_id, each.session_id) for each in coordinator.alone] == [("small", "session")]


@pytest.mark.parametrize("size", [1, LARGE + 1])
def test_an_object_that_is_wanted_and_not_stored_is_an_error(size: int) -> None:
    coordinator = Coordinator(["lost"])
    with pytest.raises(ObjectPushError, match="lost"):
        coordinator.push({"lost": bytes(size)})


def test_objects_that_are_there_and_small_are_fetched_together() -> None:
    coordinator = Coordinator()
    found = Sender(coordinator.client, "fleet").objects(["small", "large"], node=NODE, run_id=5)
    assert found == {"small": b"content"}
    ((first, second),) = coordinator.parcels
    assert PullObjectRequest.FromString(first.message) == PullObjectRequest(node=NODE, run_id=5, object_id="small")
    assert PullObjectRequest.FromString(second.message).object_id == "large"
