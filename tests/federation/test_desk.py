"""Parcels at Flower's own application: who may hand one in, what is done with it, and how long it waits."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import ConfigRecord
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supernode import node_auth_http_interceptor

from secure_fl.federation import desk
from secure_fl.federation.gate import _pass_on
from secure_fl.federation.parcels import AWAIT, LARGE, MOST_BYTES, Call, pack, unpack
from secure_fl.federation.pki import provision
from tests.federation.reception import Reception, Visit


@pytest.fixture(scope="module")
def building(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    made = Reception(provision(tmp_path_factory.mktemp("pki") / "federation", sites=3, hosts=[]))
    yield made
    made.close()


@pytest.fixture
def reception(building: Reception) -> Reception:
    building.begin()
    return building


class Heard:
    """The calls that handlers have carried out, in order; `nothing`: one of them had nothing to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.nothing = threading.Event()
        for side in (desk._FLEET, desk._RUNTIME):
            for name, handler in list(side.items()):
                monkeypatch.setitem(side, name, self._noting(name, handler))  # type: ignore[arg-type]

    def _noting(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any) -> Any:
            self.calls.append(name)
            answer = handler(*given)
            if not answer.ByteSize():
                self.nothing.set()
            return answer

        return noting


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits, waits far longer than a test does: what returns has been woken."""
    monkeypatch.setattr(desk, "WAIT_S", 3600.0)


def question(node: int, name: str = "pull-messages") -> Call:
    return Call(name, PullMessagesRequest(node=Node(node_id=node)).SerializeToString())


def wanting(node: int, object_id: str, run: int) -> Call:
    request = PullObjectRequest(node=Node(node_id=node), run_id=run, object_id=object_id)
    return Call("pull-object", request.SerializeToString())


def answers(visit: Visit) -> list[Call]:
    response = visit.answer()
    assert response.status_code == 200 and response.headers["content-type"] == "application/protobuf"
    return unpack(response.content)


def messages(visit: Visit) -> list[str]:
    """Ids of the messages in the last answer."""
    found = PullMessagesResponse.FromString(answers(visit)[-1].message)
    return [each.metadata.message_id for each in found.messages_list]


def sent(reception: Reception, message: Message) -> str:
    (message_id,) = reception.grid().push_messages([message])
    return message_id


# --- who may hand in a parcel -----------------------------------------------------------------------------------------


def test_a_node_pulls_its_message_by_parcel(reception: Reception) -> None:
    message_id = sent(reception, reception.order(0))
    assert messages(reception.parcel(1, question(reception.nodes[1]))) == []
    assert messages(reception.parcel(0, question(reception.nodes[0]))) == [message_id]


def test_a_parcel_that_its_node_did_not_sign_reaches_no_handler(reception: Reception, heard: Heard) -> None:
    mine, other = reception.nodes
    own = [question(mine)]
    wrong: list[tuple[list[Call], dict[str, str]]] = [
        (own, {**reception.signed(0), "flwr-signature": ""}),
        (own, {key: value for key, value in reception.signed(0).items() if key != "flwr-signature"}),
        (own, reception.signed(0, key_of=1)),
        (own, {**reception.signed(0), "flwr-timestamp": "2026-01-01T00:00:00+00:00"}),
        (own, reception.signed(1)),
        ([question(other)], reception.signed(0)),
        ([question(0)], reception.signed(0)),
        ([question(0)], reception.signed(2)),
        ([question(mine), question(other)], reception.signed(0)),
        ([question(other), question(mine)], reception.signed(0)),
        ([question(mine), wanting(other, "ab", 1)], reception.signed(0)),
    ]
    for calls, headers in wrong:
        visit = reception.visit("/v1/fleet/parcel", pack(calls).SerializeToString(), headers)
        assert visit.answer().status_code == 401
    assert heard.calls == []
    assert {each.status for each in reception.refusals} == {401} and len(reception.refusals) == len(wrong)


def test_a_site_whose_clock_was_set_behind_its_back_signs_once_more_and_is_heard(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = iter([datetime.timedelta(hours=-1), datetime.timedelta()])
    monkeypatch.setattr(node_auth_http_interceptor, "now", lambda: datetime.datetime.now(datetime.UTC) + next(offsets))
    message_id = sent(reception, reception.order(0))
    site = reception.connection(0)
    (answer,) = site._parcels.send([("pull-messages", PullMessagesRequest(node=site._node))])
    (pulled,) = PullMessagesResponse.FromString(answer).messages_list
    assert pulled.metadata.message_id == message_id
    assert [path for path, _ in reception.requests[-2:]] == ["/v1/fleet/parcel"] * 2
    (refusal,) = reception.refusals
    assert (refusal.who, refusal.status) == ("site-0", 401) and "its clock and ours differ" in refusal.reason


def test_without_a_gate_flower_itself_wants_the_signature(reception: Reception, heard: Heard) -> None:
    async def ungated(scope: Any, receive: Any, send: Any) -> None:
        await _pass_on(reception.app, scope, await receive(), receive, send)

    body = pack([question(reception.nodes[0])]).SerializeToString()
    assert reception.visit("/v1/fleet/parcel", body, {}, ungated).answer().status_code == 401
    assert heard.calls == []
    assert reception.visit("/v1/fleet/parcel", body, reception.signed(0), ungated).answer().status_code == 200


def test_a_parcel_of_the_serverapp_needs_the_token_of_its_task(reception: Reception, heard: Heard) -> None:
    body = pack([Call("pull-messages", PullAppMessagesRequest().SerializeToString())]).SerializeToString()
    for headers in ({}, {"flwr-task-token": ""}, {"flwr-task-token": "00" * 16}, reception.signed(0)):
        assert reception.visit("/v1/runtime/parcel", body, headers, reception.inside).answer().status_code == 401
    assert heard.calls == []
    visit = reception.visit("/v1/runtime/parcel", body, reception.task_headers(), reception.inside)
    assert answers(visit) == [Call("pull-messages", b"")]


def test_a_site_cannot_hand_in_a_parcel_of_the_serverapp(reception: Reception, heard: Heard) -> None:
    body = pack([Call("pull-messages", b"")]).SerializeToString()
    headers = {**reception.signed(0), **reception.task_headers()}
    assert reception.visit("/v1/runtime/parcel", body, headers).answer().status_code == 403
    assert heard.calls == []


# --- what is done with it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"rubbish",
        pack([Call("get-fab", b"")]).SerializeToString(),
        pack([Call("pull-messages", b"\xff")]).SerializeToString(),
        ConfigRecord(items=[{"key": "pull-messages", "value": {"string": ""}}]).SerializeToString(),
    ],
    ids=["nothing", "rubbish", "an unknown call", "no message", "a text"],
)
def test_what_cannot_be_read_is_answered_400_and_reaches_no_handler(
    body: bytes, reception: Reception, heard: Heard
) -> None:
    assert reception.visit("/v1/fleet/parcel", body, reception.signed(0)).answer().status_code == 400
    visit = reception.visit("/v1/runtime/parcel", body, reception.task_headers(), reception.inside)
    assert visit.answer().status_code == 400
    good = question(reception.nodes[0])
    if body:
        spoilt = pack([good]).SerializeToString() + body
        assert reception.visit("/v1/fleet/parcel", spoilt, reception.signed(0)).answer().status_code == 400
    assert heard.calls == []


def test_calls_are_carried_out_in_their_order(reception: Reception, heard: Heard) -> None:
    node, run = reception.nodes[0], reception.run
    confirm = ConfirmMessageReceivedRequest(node=Node(node_id=node), run_id=run, message_object_id="ab")
    confirmation = Call("confirm-message-received", confirm.SerializeToString())
    calls = [wanting(node, "ab", run), confirmation, question(node), wanting(node, "cd", run)]
    assert [each.name for each in answers(reception.parcel(0, *calls))] == [each.name for each in calls]
    assert heard.calls == [each.name for each in calls]


def test_a_call_that_fails_fails_the_parcel_as_it_would_fail_by_itself(reception: Reception, heard: Heard) -> None:
    node = reception.nodes[0]
    message_id = sent(reception, reception.order(0))
    heard.calls.clear()
    reception.end_run()
    failing = wanting(node, message_id, reception.run)
    plain = reception.visit("/v1/fleet/pull-object", failing.message, reception.signed(0)).answer()
    parcel = reception.parcel(0, question(node), failing, question(node)).answer()
    assert (parcel.status_code, parcel.json()) == (plain.status_code, plain.json())
    assert parcel.status_code == 403
    assert heard.calls == ["pull-messages", "pull-object"], "what comes before it is done, what comes after is not"


def test_a_reply_with_small_and_large_objects_goes_all_the_way(reception: Reception) -> None:
    site, grid = reception.connection(0), reception.grid()
    (message_id,) = grid.push_messages([reception.order(0, values=LARGE // 4, note=1)])
    order = site.pull()
    assert order is not None and order.metadata.message_id == message_id
    reply = reception.reply(order, values=LARGE // 2)
    reception.requests.clear()
    site.push(reply, compute_s=0.5)
    assert [path for path, _ in reception.requests] == ["/v1/fleet/parcel", "/v1/fleet/push-object"]
    (heard,) = grid.await_messages([message_id])
    assert heard.metadata.reply_to_message_id == message_id
    assert (heard.content["update"]["u"].numpy() == reply.content["update"]["u"].numpy()).all()
    assert reception.refusals == []


def test_an_object_for_which_a_dead_session_waits_too_is_stored_all_the_same(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living = reception.order(0), reception.order(1)
    with monkeypatch.context() as at_once:
        at_once.setattr("flwr.supercore.corestate.in_memory_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS", -1)
        session = reception.state.start_session(reception.run)
    dead.metadata.__dict__["_message_id"] = dead.object_id
    wanted = reception.state.preregister_object_tree(get_object_tree(dead), session)
    (message_id,) = reception.grid().push_messages([living])
    assert set(wanted) & set(get_all_nested_objects(living)), "both hold the same array"
    received = reception.connection(1).pull()
    assert received is not None and received.metadata.message_id == message_id


def test_an_object_that_is_large_or_does_not_fit_is_not_available_in_a_parcel(reception: Reception) -> None:
    node, run, sizes = reception.nodes[0], reception.run, (LARGE - 300, LARGE + 1)
    parts = {}
    for size in sizes:
        message = reception.order(0, values=size // 4, note=size)
        sent(reception, message)
        (parts[size],) = message.content["model"]["w"].children
    small, large = parts.values()
    (answer,) = answers(reception.parcel(0, wanting(node, large, run)))
    found = PullObjectResponse.FromString(answer.message)
    assert found.object_found and not found.object_available and not found.object_content
    plain = reception.visit("/v1/fleet/pull-object", wanting(node, large, run).message, reception.signed(0)).answer()
    assert len(PullObjectResponse.FromString(plain.content).object_content) > LARGE
    many = answers(reception.parcel(0, *[wanting(node, small, run)] * 6))
    contents = [PullObjectResponse.FromString(each.message) for each in many]
    assert [each.object_available for each in contents] == [True] * 4 + [False] * 2
    assert sum(len(each.object_content) for each in contents) <= MOST_BYTES


# --- a question that waits --------------------------------------------------------------------------------------------


def test_a_question_is_answered_at_once_when_there_is_a_message(reception: Reception, heard: Heard) -> None:
    message_id = sent(reception, reception.order(0))
    heard.calls.clear()
    assert messages(reception.parcel(0, question(reception.nodes[0], AWAIT))) == [message_id]
    assert heard.calls == ["pull-messages"]


def test_a_question_is_answered_as_soon_as_there_is_a_message(reception: Reception, heard: Heard) -> None:
    visits = [reception.parcel(index, question(node, AWAIT)) for index, node in enumerate(reception.nodes)]
    assert heard.nothing.wait(10)
    ids = [sent(reception, reception.order(index)) for index in range(2)]
    assert [messages(each) for each in visits] == [[each] for each in ids]


def test_the_serverapp_is_answered_as_soon_as_there_is_a_reply(reception: Reception, heard: Heard) -> None:
    site, grid = reception.connection(0), reception.grid()
    (message_id,) = grid.push_messages([reception.order(0)])
    order = site.pull()
    assert order is not None
    asked = PullAppMessagesRequest(message_ids=[message_id]).SerializeToString()
    body = pack([Call(AWAIT, asked)]).SerializeToString()
    heard.nothing.clear()
    visit = reception.visit("/v1/runtime/parcel", body, reception.task_headers(), reception.inside)
    assert heard.nothing.wait(10)
    site.push(reply := reception.reply(order), compute_s=0.5)
    found = PullAppMessagesResponse.FromString(answers(visit)[-1].message)
    assert [each.metadata.message_id for each in found.messages_list] == [reply.object_id]


@pytest.mark.parametrize("side", ["fleet", "runtime"])
def test_what_comes_by_a_plain_route_wakes_whoever_waits(side: str, reception: Reception, heard: Heard) -> None:
    bell = reception.to_coordinator if side == "fleet" else reception.to_sites
    ring = bell.next
    gate = reception.outside if side == "fleet" else reception.inside
    headers = reception.signed(0) if side == "fleet" else reception.task_headers()
    reception.visit(f"/v1/{side}/push-object", b"", headers, gate).answer()
    assert ring.is_set()
    reception.visit(f"/v1/{side}/pull-object", b"", headers, gate).answer()
    assert not bell.next.is_set()


def test_a_question_in_vain_is_answered_after_a_while(
    reception: Reception, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "WAIT_S", 0.05)
    assert messages(reception.parcel(0, question(reception.nodes[0], AWAIT))) == []
    assert heard.calls == ["pull-messages"] * 2, "once before and once after the wait"


def test_who_is_woken_in_vain_goes_on_waiting(
    reception: Reception, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "WAIT_S", 0.3)
    visit = reception.parcel(0, question(reception.nodes[0], AWAIT))
    assert heard.nothing.wait(10)
    reception.loop.call_soon_threadsafe(reception.to_sites.ring)
    assert messages(visit) == []
    assert len(heard.calls) <= 3, "before, at the ring, and after the wait: not all the time"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_nobody_waits_once_the_bell_is_closed(when: str, reception: Reception, heard: Heard) -> None:
    if when == "before":
        reception.loop.call_soon_threadsafe(reception.to_sites.close)
    visit = reception.parcel(0, question(reception.nodes[0], AWAIT))
    assert heard.nothing.wait(10)
    reception.loop.call_soon_threadsafe(reception.to_sites.close)
    assert messages(visit) == []


def test_only_a_question_at_the_end_of_its_parcel_waits(reception: Reception, heard: Heard) -> None:
    node = reception.nodes[0]
    found = answers(reception.parcel(0, question(node, AWAIT), question(node)))
    assert found == [Call("pull-messages", b"")] * 2 and len(heard.calls) == 2


def test_nothing_is_asked_for_a_peer_that_has_gone_and_its_message_is_there_for_its_successor(
    reception: Reception, heard: Heard
) -> None:
    node = reception.nodes[0]
    first = reception.parcel(0, question(node, AWAIT))
    assert heard.nothing.wait(10)
    first.leave()
    assert first.answer().status_code == 400
    assert heard.calls == ["pull-messages"]
    message_id = sent(reception, reception.order(0))
    assert messages(reception.parcel(0, question(node, AWAIT))) == [message_id]


def test_the_node_of_the_serverapp_is_flowers_own(reception: Reception) -> None:
    assert reception.grid().node.node_id == SUPERLINK_NODE_ID
