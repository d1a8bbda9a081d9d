import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

from defenses.guard import UpdateRules
from secure_fl.app.collection import Collector, weight_of
from secure_fl.app.identity import update_statement, vector_sha256
from secure_fl.app.membership import Membership
from secure_fl.app.messages import Order, evaluation_reply, read_order, update_reply
from secure_fl.config import RunConfig
from tests.app.conftest import Events, Handler, ScriptedGrid, Time, introduce, signer_of

D = 20
RULES = UpdateRules(size=D, max_norm=100.0)


def order(number: int = 1) -> Order:
    return Order("r1", number, "spec", RunConfig(), np.zeros(D, np.float32))


def trained(message: Message, index: int, update: np.ndarray | None = None, samples: int = 10) -> Message:
    """The signed answer of site `index` to a train message."""
    told = read_order(message)
    update = np.full(D, index, np.float32) if update is None else update
    statement = update_statement(
        run=told.run,
        round=told.round,
        site=f"site-{index}",
        samples=samples,
        model_sha256=told.model_sha256,
        update_sha256=vector_sha256(update),
    )
    return update_reply(
        message,
        told,
        site=f"site-{index}",
        samples=samples,
        update=update,
        metrics={"train-loss": 1.0},
        signature=signer_of(index).sign(statement),
    )


def site(index: int, train: Handler | None = None) -> Handler:
    """Joins, then trains by `train` (honestly by default)."""

    def handler(message: Message) -> Message | None:
        if message.metadata.message_type == "query":
            return introduce(index)(message)
        if message.metadata.message_type == "evaluate":
            return evaluation_reply(message, metrics={"validation-loss": 0.5, "validation-accuracy": 0.9})
        return trained(message, index) if train is None else train(message)

    return handler


@pytest.fixture
def membership(grid: ScriptedGrid, events: Events, roster, time: Time) -> Membership:
    return Membership(grid, roster, RunConfig(), run="r1", events=events, clock=time.clock, sleep=time.sleep)


@pytest.fixture
def collector(grid: ScriptedGrid, membership: Membership, events: Events, time: Time) -> Collector:
    return Collector(grid, membership, events, clock=time.clock, sleep=time.sleep)


def collect(collector: Collector, membership: Membership, number: int = 1):
    membership.refresh()
    return collector.train(order(number), collector.free_members(), rules=RULES, timeout_s=10)


def test_all_replies_are_collected_in_roster_order_without_waiting(collector, membership, grid, events, time):
    grid.handlers = {9: site(2), 8: site(1), 7: site(0)}
    replies = collect(collector, membership)
    assert [member.name for member, _ in replies.accepted] == ["site-0", "site-1", "site-2"]
    assert time.now == 0 and len(events.of("reply-accepted")) == 3
    assert replies.bytes_down == sum(e["bytes_down"] for e in events.of("reply-accepted"))
    assert replies.bytes_up == sum(e["bytes_up"] for e in events.of("reply-accepted"))


def test_a_weight_is_declared_by_the_roster_or_the_sites_capped_count(collector, membership, grid):
    grid.handlers = {7: site(0), 8: site(1)}
    replies = collect(collector, membership)
    assert [weight_of(*pair) for pair in replies.accepted] == [100, 10]


def test_a_bad_reply_is_named_and_the_others_count(collector, membership, grid, events):
    bad = np.full(D, np.nan, np.float32)
    grid.handlers = {7: site(0), 8: site(1, lambda message: trained(message, 1, bad))}
    replies = collect(collector, membership)
    assert [member.name for member, _ in replies.accepted] == ["site-0"]
    assert events.of("reply-rejected")[0] == {
        "round": 1,
        "site": "site-1",
        "reason": "not-finite",
        "detail": "20 of 20 entries are NaN or infinite",
    }


@pytest.mark.parametrize(
    "code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED]
)
def test_a_site_that_flower_reports_gone_is_missing_and_not_at_fault(collector, membership, grid, events, code):
    grid.handlers = {7: site(0), 8: site(1, lambda message: Message(Error(code=code, reason="gone"), reply_to=message))}
    collect(collector, membership)
    assert events.of("reply-missing") == [{"round": 1, "site": "site-1", "reason": "unreachable"}]
    assert [member.name for member in collector.free_members()] == ["site-0", "site-1"]


def test_a_silent_site_costs_one_time_limit_and_gets_no_further_order(collector, membership, grid, events, time):
    grid.handlers = {7: site(0), 8: site(1, lambda message: None)}
    collect(collector, membership)
    assert time.now == pytest.approx(10, abs=0.2)
    assert events.of("reply-missing") == [{"round": 1, "site": "site-1", "reason": "timeout"}]
    replies = collect(collector, membership, number=2)
    assert [member.name for member, _ in replies.accepted] == ["site-0"]
    assert time.now == pytest.approx(10, abs=0.2) and len(events.of("reply-missing")) == 1


def test_a_late_answer_is_recorded_not_used_and_frees_the_site(collector, membership, grid, events):
    grid.handlers = {7: site(0), 8: site(1, lambda message: None)}
    collect(collector, membership)
    late = next(m for m in grid.sent if m.metadata.dst_node_id == 8 and m.metadata.message_type == "train")
    grid.deliver(late, trained(late, 1))
    grid.handlers[8] = site(1)
    replies = collect(collector, membership, number=2)
    assert events.of("reply-late") == [{"round": 1, "site": "site-1"}]
    assert len(replies.accepted) == 2


def test_a_site_that_restarted_owes_nothing(collector, membership, grid, roster):
    class Node:
        node_id, last_activated_at = 8, "10:00"

    grid.handlers = {8: site(1, lambda message: None)}
    grid.get_nodes = lambda: [Node]
    collect(collector, membership)
    assert collector.free_members() == []
    Node.last_activated_at = "10:05"
    grid.handlers[8] = site(1)
    assert len(collect(collector, membership, number=2).accepted) == 1


def test_a_message_that_could_not_be_sent_is_missing_at_once(collector, membership, grid, events, monkeypatch, time):
    grid.handlers = {7: site(0)}
    membership.refresh()
    monkeypatch.setattr(grid, "push_messages", lambda messages: [None for _ in messages])
    replies = collector.train(order(), collector.free_members(), rules=RULES, timeout_s=10)
    assert replies.accepted == [] and events.of("reply-missing")[0]["reason"] == "unreachable" and time.now == 0


def test_sites_evaluate_the_final_model_and_a_silent_one_is_not_waited_for_beyond_the_limit(
    collector, membership, grid, events, time
):
    def mute(message: Message) -> Message | None:
        return introduce(1)(message) if message.metadata.message_type == "query" else None

    grid.handlers = {7: site(0), 8: mute}
    membership.refresh()
    collector.evaluate(order(6), collector.free_members(), timeout_s=5)
    assert events.of("site-evaluated") == [
        {"round": 6, "site": "site-0", "validation_loss": 0.5, "validation_accuracy": 0.9}
    ]
    assert time.now == pytest.approx(5, abs=0.2)
