"""Events to rows. The events are written as a reader would tell the story; no file is involved."""

from __future__ import annotations

import math
from typing import Any

import pytest

from secure_fl.runs import Event, Exclusion, RunStatus, RunSummary
from secure_fl.runs.events import seal
from secure_fl.runs.rounds import summarise


def story(*steps: tuple[float, str, dict[str, Any]]) -> RunSummary:
    """steps: (seconds since the beginning, kind, fields)"""
    events: list[Event] = []
    for time_s, kind, fields in steps:
        events.append(seal(events[-1] if events else None, time_s=1000.0 + time_s, kind=kind, fields=fields))
    return summarise(events)


def created(at: float = 0.0) -> tuple[float, str, dict[str, Any]]:
    return (at, "run-created", {"run_id": "r", "config_digest": "d"})


def started(at: float, resumed: int | None = None) -> tuple[float, str, dict[str, Any]]:
    return (at, "run-started", {"pid": 1, "resumed_from_round": resumed})


def opened(at: float, number: int) -> tuple[float, str, dict[str, Any]]:
    return (at, "round-started", {"round": number, "sites": ["a", "b"]})


def accepted(at: float, number: int, site: str, **fields: Any) -> tuple[float, str, dict[str, Any]]:
    return (at, "reply-accepted", {"round": number, "site": site, **fields})


def finished(at: float, number: int, accuracy: float = 0.5, **fields: Any) -> tuple[float, str, dict[str, Any]]:
    return (at, "round-finished", {"round": number, "loss": 1.0, "accuracy": accuracy, **fields})


def ended(at: float, status: str) -> tuple[float, str, dict[str, Any]]:
    return (at, "run-finished", {"status": status, "error": None})


def test_no_events_are_a_run_that_was_not_even_created() -> None:
    assert summarise([]) == RunSummary()


def test_a_round_is_all_that_was_said_of_it() -> None:
    summary = story(
        created(),
        started(1),
        finished(2, 0),
        opened(3, 1),
        accepted(4, 1, "b", samples=20, validation_accuracy=0.5, per_class_accuracy=[1.0, None]),
        accepted(5, 1, "a", samples=10),
        (6, "reply-rejected", {"round": 1, "site": "c", "reason": "norm-cap", "detail": "1e9"}),
        (7, "reply-missing", {"round": 1, "site": "d", "reason": "timeout"}),
        finished(8, 1, accepted=["a", "b"], seconds=5.0, bytes_up=7, checkpoint="x", checkpoint_sha256="y"),
        (9, "reply-late", {"round": 1, "site": "d"}),
    )
    first, row = summary.rounds
    assert (first.round, first.started, first.sites) == (0, None, ())
    assert (row.round, row.loss, row.accuracy, row.seconds, row.bytes_up) == (1, 1.0, 0.5, 5.0, 7)
    assert (row.accepted, row.checkpoint, row.checkpoint_sha256) == (("a", "b"), "x", "y")
    assert (row.started, row.finished) == ("1970-01-01T00:16:43.000Z", "1970-01-01T00:16:48.000Z")
    assert [(site.site, site.samples) for site in row.sites] == [("a", 10), ("b", 20)]
    assert row.sites[1].per_class_accuracy == (1.0, None)
    assert row.excluded == (
        Exclusion(1, "c", "rejected", "norm-cap", "1e9"),
        Exclusion(1, "d", "missing", "timeout"),
        Exclusion(1, "d", "late"),
    )
    assert summary.last == row


def test_sites_stand_in_the_order_that_people_count() -> None:
    names = ["site-10", "site-2", "site-1"]
    summary = story(started(0), opened(1, 1), *(accepted(2, 1, name) for name in names), finished(3, 1))
    assert [site.site for site in summary.rounds[0].sites] == ["site-1", "site-2", "site-10"]


def test_a_round_that_never_ended_is_open_and_tells_who_failed() -> None:
    missing = (3, "reply-missing", {"round": 1, "site": "a", "reason": "timeout"})
    summary = story(started(0), finished(1, 0), opened(2, 1), missing, ended(4, "failed"))
    assert [row.round for row in summary.rounds] == [0]
    assert summary.open_round is not None
    assert [each.site for each in summary.open_round.excluded] == ["a"]
    assert summary.recorded_status is RunStatus.FAILED


def test_what_an_interrupted_attempt_left_of_a_round_does_not_count() -> None:
    summary = story(
        started(0),
        finished(1, 0),
        opened(2, 1),
        accepted(3, 1, "a", samples=1),
        started(100, resumed=0),
        opened(101, 1),
        accepted(102, 1, "a", samples=2),
        finished(103, 1),
    )
    (_, row) = summary.rounds
    assert [site.samples for site in row.sites] == [2]
    assert summary.attempts == 2


@pytest.mark.parametrize(("resumed", "kept"), [(None, []), (0, [0]), (1, [0, 1]), (2, [0, 1, 2])])
def test_an_attempt_keeps_the_rounds_up_to_the_one_that_it_goes_on_from(resumed: int | None, kept: list[int]) -> None:
    summary = story(started(0), finished(1, 0), finished(2, 1), finished(3, 2), started(9, resumed))
    assert [row.round for row in summary.rounds] == kept


def test_a_round_that_is_finished_again_replaces_the_earlier() -> None:
    summary = story(started(0), finished(1, 0), finished(2, 1, 0.4), started(9, 0), opened(10, 1), finished(11, 1, 0.6))
    assert [row.accuracy for row in summary.rounds] == [0.5, 0.6]


def test_the_status_is_that_of_the_newest_attempt() -> None:
    assert story(created()).recorded_status is RunStatus.CREATED
    assert story(created(), started(1)).recorded_status is RunStatus.RUNNING
    steps = (started(1), finished(2, 0), ended(3, "interrupted"))
    assert story(*steps).recorded_status is RunStatus.INTERRUPTED
    again = story(*steps, started(9, 0))
    assert (again.recorded_status, again.finished, again.end) == (RunStatus.RUNNING, None, {})
    assert story(*steps, started(9, 0), ended(10, "succeeded")).recorded_status is RunStatus.SUCCEEDED


def test_only_active_time_counts() -> None:
    summary = story(created(), started(1), finished(5, 0), ended(11, "interrupted"), started(5000, 0), opened(5007, 1))
    assert summary.active_s == pytest.approx(17.0)
    later = story(started(0), ended(3, "succeeded"), (900, "note", {}))
    assert later.active_s == pytest.approx(3.0)


def test_sites_come_and_go() -> None:
    joined = [(2, "site-joined", {"site": name, "index": 0}) for name in "abc"]
    summary = story(started(1), *joined, (3, "site-left", {"site": "b"}), (4, "site-left", {"site": "unknown"}))
    assert summary.joined == ("a", "c")
    assert story(started(1), *joined, started(9, None)).joined == ()


def test_how_the_network_was_secured_belongs_to_the_attempt_that_follows() -> None:
    secured = (1, "federation-started", {"tls": "1.3", "mutual_tls": True})
    assert story(secured, started(2)).start["tls"] == "1.3"
    assert "tls" not in story(secured, started(2), started(9, None)).start


def test_who_was_refused_is_kept_with_the_reason() -> None:
    refused = (2, "site-refused", {"who": "203.0.113.7", "reason": "certificate expired"})
    (found,) = story(started(1), refused, started(9, None)).refused
    assert (found.who, found.reason) == ("203.0.113.7", "certificate expired")


def test_the_sites_view_of_the_final_model_is_kept_apart() -> None:
    evaluated = (9, "site-evaluated", {"round": 1, "site": "a", "validation_accuracy": 0.9})
    summary = story(started(0), opened(1, 1), finished(2, 1), evaluated)
    assert [(each.site, each.validation_accuracy) for each in summary.evaluations] == [("a", 0.9)]
    assert summary.rounds[0].sites == ()


def test_a_loss_that_was_not_finite_reads_as_missing() -> None:
    summary = story(started(0), (1, "round-finished", {"round": 0, "loss": math.nan, "accuracy": 0.1}))
    assert summary.rounds[0].loss is None


def test_kinds_that_came_later_are_skipped() -> None:
    assert story(started(0), (1, "budget-spent", {"epsilon": 1.0}), finished(2, 0)).rounds[0].round == 0


def test_a_round_that_was_undone_and_groups_without_a_vote_are_part_of_it() -> None:
    away = {"round": 1, "group": 2, "sites": ["a", "b"], "reason": "norm", "detail": "9.8"}
    summary = story(
        started(0),
        opened(1, 1),
        (2, "group-rejected", away),
        (2, "group-missing", {**away, "group": 0, "sites": ["c"], "reason": "too few", "detail": ""}),
        (3, "round-rolled-back", {"round": 1, "reason": "accuracy fell"}),
        finished(4, 1),
        opened(5, 2),
        finished(6, 2),
    )
    first, second = summary.rounds
    assert (first.rolled_back, second.rolled_back) == ("accuracy fell", None)
    told = [(each.site, each.outcome, each.reason, each.detail) for each in first.excluded]
    assert told == [("group 2", "rejected", "norm", "a, b: 9.8"), ("group 0", "missing", "too few", "c")]
