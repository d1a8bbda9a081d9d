"""Who waits for answers: the grid where it can, the courier where it cannot, and nobody for what is late."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace

import pytest
from flwr.app import Message, RecordDict

from secure_fl.app.courier import Courier
from secure_fl.app.identity import RosterEntry
from secure_fl.app.membership import Member
from tests.app.conftest import Events, ScriptedGrid, Time, signer_of


class PatientGrid(ScriptedGrid):
    """A grid that holds a question back, up to `patience_s` on the test's clock, until it has an answer."""

    def __init__(self, time: Time, patience_s: float) -> None:
        super().__init__()
        self._time, self._patience_s = time, patience_s
        self.pulled: list[list[str]] = []
        self.awaited: list[list[str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        self.pulled.append(list(ids))
        return super().pull_messages(self.pulled[-1])

    def await_messages(self, ids: Iterable[str]) -> list[Message]:
        self.awaited.append(list(ids))
        found = super().pull_messages(self.awaited[-1])
        if not found:
            self._time.now += self._patience_s
            self.meanwhile()
            found = super().pull_messages(self.awaited[-1])
        return found


MEMBER = Member(RosterEntry("clinic", 0, signer_of(0).public_hex, "", ""), 1000, "")


@pytest.fixture
def slept(time: Time) -> list[float]:
    return []


def courier(grid: ScriptedGrid, events: Events, time: Time, slept: list[float]) -> Courier:
    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    members = SimpleNamespace(present=lambda: [MEMBER])
    return Courier(grid, members, events, clock=time.clock, sleep=sleep)  # type: ignore[arg-type]


def order() -> Message:
    return Message(RecordDict(), dst_node_id=MEMBER.node_id, message_type="train")


def silent(grid: ScriptedGrid) -> Message:
    """An order for a site that says nothing for now."""
    grid.handlers[MEMBER.node_id] = lambda message: None
    return order()


def test_a_grid_that_can_wait_is_asked_to_wait_and_nobody_sleeps_on_top(
    time: Time, events: Events, slept: list[float]
) -> None:
    grid = PatientGrid(time, patience_s=2.0)
    asking, message = courier(grid, events, time, slept), silent(grid)
    dispatch = asking.send({MEMBER: message}, round=1)
    (message_id,) = dispatch.waiting
    grid.meanwhile = lambda: time.now >= 6.0 and grid.deliver(message, Message(RecordDict(), reply_to=message))
    ((sent, reply),) = asking.arrivals(dispatch, timeout_s=100.0)
    assert (sent.member, reply.metadata.reply_to_message_id, time.now) == (MEMBER, message_id, 6.0)
    assert grid.awaited == [[message_id]] * 3 and grid.pulled == []
    assert sum(slept) == 0.0


def test_a_grid_that_answers_early_and_empty_is_not_asked_all_the_time(
    time: Time, events: Events, slept: list[float]
) -> None:
    grid = PatientGrid(time, patience_s=0.01)  # a coordinator's end that refuses to wait
    asking = courier(grid, events, time, slept)
    dispatch = asking.send({MEMBER: silent(grid)}, round=1)
    assert list(asking.arrivals(dispatch, timeout_s=1.0)) == []
    assert 10 <= len(grid.awaited) <= 11 and slept == [pytest.approx(0.09)] * len(grid.awaited)
    assert [each["reason"] for each in events.of("reply-missing")] == ["timeout"]


def test_a_grid_that_cannot_wait_is_asked_again_after_a_pause(
    grid: ScriptedGrid, time: Time, events: Events, slept: list[float]
) -> None:
    asking = courier(grid, events, time, slept)
    dispatch = asking.send({MEMBER: silent(grid)}, round=1)
    assert list(asking.arrivals(dispatch, timeout_s=1.0)) == []
    assert slept == [pytest.approx(0.1)] * len(slept) and 10 <= len(slept) <= 11


def test_nobody_waits_for_an_answer_that_is_late(time: Time, events: Events, slept: list[float]) -> None:
    grid = PatientGrid(time, patience_s=2.0)
    asking, message = courier(grid, events, time, slept), silent(grid)
    dispatch = asking.send({MEMBER: message}, round=1)
    assert list(asking.arrivals(dispatch, timeout_s=1.0)) == []
    grid.awaited.clear()
    before = time.now
    assert asking.free_members() == []
    grid.deliver(message, Message(RecordDict(), reply_to=message))
    assert asking.free_members() == [MEMBER]
    assert (time.now, sum(slept), grid.awaited) == (before, 0.0, [])
    assert events.of("reply-late") == [{"round": 1, "site": "clinic"}]
