"""Progress: what the view makes of events, when lines appear, and that the follower misses nothing."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secure_fl.cli.output import Output
from secure_fl.cli.progress import Follower, PlainScreen, StreamScreen, plain_line, simulation_words
from secure_fl.cli.progress_view import RunView, duration, percent, plural, sparkline
from secure_fl.errors import IntegrityError
from secure_fl.runs import RunRecord
from secure_fl.runs.events import Event

SITES = ["site-0", "site-1", "site-2"]


def event(kind: str, **fields: Any) -> Event:
    return Event(0, "2026-01-01T00:00:00.000Z", kind, fields, "", "")


def round_events(number: int, *, loss: float | None, accuracy: float, seconds: float = 10.0) -> list[Event]:
    return [
        event("round-started", round=number, sites=SITES),
        *(event("reply-accepted", round=number, site=site) for site in SITES),
        event("round-finished", round=number, loss=loss, accuracy=accuracy, seconds=seconds, accepted=SITES),
    ]


def seen(*events: Event, total: int = 3, now: float = 0.0) -> RunView:
    view = RunView(total=total)
    for each in events:
        view.apply(each, now=now)
    return view


STARTED = event("run-started", pid=1, sites=SITES, resumed_from_round=None, grid="deployment")
ROUND_0 = event("round-finished", round=0, loss=2.3, accuracy=0.1, seconds=1.0, accepted=[])


def test_each_site_is_in_the_state_that_its_last_event_says() -> None:
    view = seen(STARTED, event("round-started", round=1, sites=SITES[:2]))
    assert view.sites == {"site-0": "training", "site-1": "training", "site-2": "waiting"}
    for kind, state in (
        ("reply-accepted", "replied"),
        ("reply-rejected", "rejected"),
        ("reply-missing", "missing"),
        ("reply-late", "late"),
        ("site-left", "gone"),
        ("site-joined", "waiting"),
    ):
        view.apply(event(kind, round=1, site="site-0"), now=0.0)
        assert view.sites["site-0"] == state
    view.apply(event("round-started", round=2, sites=SITES), now=0.0)
    assert set(view.sites.values()) == {"training"}


def test_a_site_that_is_gone_stays_gone_until_it_joins_again() -> None:
    view = seen(STARTED, event("site-left", site="site-1"), event("round-started", round=1, sites=["site-0"]))
    assert view.sites == {"site-0": "training", "site-1": "gone", "site-2": "waiting"}


def test_the_share_done_counts_replies_within_a_round() -> None:
    assert seen(STARTED, ROUND_0).share() == 0.0
    half_way = seen(STARTED, ROUND_0, *round_events(1, loss=1, accuracy=0.5)[:2], total=2)
    assert half_way.share() == pytest.approx(1 / 3 / 2)
    assert seen(STARTED, ROUND_0, *round_events(1, loss=1, accuracy=0.5), total=2).share() == 0.5
    assert seen(STARTED, ROUND_0, *round_events(1, loss=1, accuracy=0.5), total=1).share() == 1.0


def test_the_time_left_comes_from_the_last_rounds_and_falls_while_one_runs() -> None:
    assert seen(STARTED, ROUND_0).seconds_left(now=5.0) is None
    view = seen(STARTED, ROUND_0, *round_events(1, loss=1, accuracy=0.5, seconds=20.0), total=4)
    assert view.seconds_left(now=0.0) == 60.0
    view.apply(event("round-started", round=2, sites=SITES), now=100.0)
    assert view.seconds_left(now=105.0) == 55.0
    assert view.seconds_left(now=500.0) == 40.0, "a slow round does not eat the others' time"


def test_a_resumed_run_forgets_the_rounds_that_it_repeats() -> None:
    view = seen(STARTED, ROUND_0, *round_events(1, loss=1.5, accuracy=0.4), *round_events(2, loss=1.0, accuracy=0.6))
    view.apply(event("run-started", pid=2, sites=SITES, resumed_from_round=1), now=0.0)
    assert view.accuracy == {0: 0.1, 1: 0.4}
    assert (view.done, view.finished) == (1, None)


def test_a_loss_that_was_not_finite_is_shown_and_does_not_stop_the_show() -> None:
    view = seen(STARTED, ROUND_0, *round_events(1, loss=None, accuracy=0.1))
    assert math.isnan(view.loss[1])
    assert "loss nan" in plain_line(round_events(1, loss=None, accuracy=0.1)[-1], view, now=0.0)


def test_events_of_kinds_to_come_change_nothing() -> None:
    assert seen(STARTED, event("budget-spent", site="site-0")) == seen(STARTED)


def test_three_rounds_with_trouble_take_no_more_than_fifteen_lines() -> None:
    events = [
        event("run-created", run_id="x", config_digest="y"),
        STARTED,
        *(event("site-joined", site=site) for site in SITES),
        ROUND_0,
        *round_events(1, loss=1.5, accuracy=0.4),
        event("reply-rejected", round=2, site="site-1", reason="not-finite", detail="3 values"),
        *round_events(2, loss=1.0, accuracy=0.6),
        event("reply-missing", round=3, site="site-2", reason="timeout"),
        event("reply-late", round=3, site="site-2"),
        *round_events(3, loss=0.5, accuracy=0.8125),
        event("run-finished", status="succeeded"),
    ]
    view, lines = RunView(total=3), []
    for each in events:
        view.apply(each, now=0.0)
        lines.append(plain_line(each, view, now=0.0))
    assert list(filter(None, lines)) == [
        "waiting for 3 sites to join",
        "round 0/3  accuracy  10.0 %  loss 2.3000  initial model",
        "round 1/3  accuracy  40.0 %  loss 1.5000  3/3 sites  10 s  about 20 s left",
        "round 2: site-1 turned away: not-finite (3 values)",
        "round 2/3  accuracy  60.0 %  loss 1.0000  3/3 sites  10 s  about 10 s left",
        "round 3: site-2 did not reply: timeout",
        "round 3: site-2 replied too late",
        "round 3/3  accuracy  81.2 %  loss 0.5000  3/3 sites  10 s",
    ]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (["site-0", "site-1", "site-2"], "3/3 sites  "),
        (["site-0", "site-2"], "3/3 sites, without site-1"),
        (["site-2"], "3/3 sites, only site-2"),
    ],
)
def test_whom_the_rule_left_out_is_told_the_shorter_way(kept: list[str], said: str) -> None:
    sites = ["site-0", "site-1", "site-2"]
    began, *_, finished = round_events(1, loss=0.5, accuracy=0.5)
    done = event("round-finished", **{**finished.fields, "accepted": sites, "kept": kept})
    view = seen(event("run-started", pid=1, resumed_from_round=0, sites=sites), began, done)
    assert said in plain_line(done, view, now=0.0)


def test_a_simulated_attack_is_announced_before_anything_else() -> None:
    told = {"attack": "alie", "attackers": ["site-1", "site-2"]}
    started = event("run-started", pid=1, resumed_from_round=0, grid="local", simulation=told)
    line = plain_line(started, seen(started), now=0.0)
    assert line == "SIMULATED ATTACK: alie by site-1, site-2; the model is for study only"
    assert simulation_words({**told, "attackers": [f"site-{k}" for k in range(9)]}).count("9 sites, site-0 to site-8")
    assert simulation_words(None) == ""


def test_who_is_turned_away_at_the_door_is_told() -> None:
    refused = event("site-refused", who="10.0.0.7", reason="unknown certificate")
    assert plain_line(refused, RunView(total=1), now=0.0) == "refused 10.0.0.7: unknown certificate"


class Collecting:
    """A screen that keeps what it was shown, and says when it has seen a kind."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.closed = 0
        self.seen = threading.Condition()

    def show(self, event: Event, view: RunView) -> None:
        with self.seen:
            self.kinds.append(event.kind)
            self.seen.notify_all()

    def tick(self, view: RunView) -> None:
        pass

    def close(self, view: RunView) -> None:
        self.closed += 1

    def wait_for(self, kind: str) -> None:
        with self.seen:
            assert self.seen.wait_for(lambda: kind in self.kinds, timeout=20)


@pytest.fixture
def record(new_record: Callable[..., RunRecord]) -> RunRecord:
    return new_record()


def test_events_are_shown_while_they_are_written_and_the_last_ones_too(record: RunRecord) -> None:
    screen, view = Collecting(), RunView(total=3)
    with Follower(record.follow().poll, view, screen, note=print):
        record.append("run-started", pid=1, sites=SITES, resumed_from_round=None)
        screen.wait_for("run-started")
        record.append("round-started", round=1, sites=SITES)
        record.append("run-finished", status="succeeded")
    assert screen.kinds == ["run-started", "round-started", "run-finished"], "and not run-created, which was there"
    assert view.finished is not None
    assert screen.closed == 1


def test_what_a_resumed_run_did_before_is_known_but_not_shown_again(record: RunRecord) -> None:
    record.append("round-finished", round=0, loss=2.3, accuracy=0.1)
    screen, view = Collecting(), RunView(total=3)
    with Follower(record.follow().poll, view, screen, note=print):
        pass
    assert screen.kinds == []
    assert view.accuracy == {0: 0.1}


def forge(record: RunRecord) -> None:
    with (record.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"forged":true}\n')


def test_a_record_that_was_altered_under_way_ends_the_command(record: RunRecord) -> None:
    with pytest.raises(IntegrityError), Follower(record.follow().poll, RunView(total=3), Collecting(), note=print):
        forge(record)


def test_trouble_of_the_run_outweighs_trouble_of_its_display(record: RunRecord) -> None:
    with pytest.raises(ZeroDivisionError), Follower(record.follow().poll, RunView(total=3), Collecting(), note=print):
        forge(record)
        raise ZeroDivisionError


def test_a_stop_is_acknowledged_once(record: RunRecord) -> None:
    notes: list[str] = []
    screen, view = Collecting(), RunView(total=3)
    with Follower(record.follow().poll, view, screen, note=notes.append):
        record.append("round-started", round=2, sites=SITES)
        screen.wait_for("round-started")
        view.stopping = True
        record.append("run-finished", status="interrupted")
    assert notes == ["finishing round 2, then saving; press Ctrl-C again to stop now"]


def test_plain_lines_go_to_stderr_and_streams_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    view = seen(STARTED, ROUND_0)
    PlainScreen(Output()).show(ROUND_0, view)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    StreamScreen(Output(format="jsonl")).show(ROUND_0, view)
    out, err = capsys.readouterr()
    assert (json.loads(out)["kind"], err) == ("round-finished", "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (104, "1 min 44 s"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_small_words() -> None:
    assert (percent(0.9637), percent(math.nan)) == ("96.4 %", "?")
    assert (plural("round", 1), plural("round", 0), plural("round", 2)) == ("round", "rounds", "rounds")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40), st.integers(1, 30))
@example([-1.7e308, 1.7e308], 2)  # their span overflows
@example([0.0, 5e-324], 2)  # the inverse of their span does
def test_a_sparkline_shows_the_last_values_whatever_they_are(values: list[float], width: int) -> None:
    line, shown = sparkline(values, width), values[-width:]
    assert len(line) == len(shown)
    finite = sorted((value, bar) for value, bar in zip(shown, line, strict=True) if math.isfinite(value))
    assert [bar for _, bar in finite] == sorted(bar for _, bar in finite)  # the bars' code points ascend
    assert not finite or (finite[0][1] == "▁" and (finite[0][0] == finite[-1][0] or finite[-1][1] == "█"))
    assert all(bar == " " for value, bar in zip(shown, line, strict=True) if not math.isfinite(value))


def test_a_sparkline_runs_from_lowest_to_highest_with_gaps_for_what_is_not_finite() -> None:
    assert sparkline([0.0, 0.5, math.nan, 1.0]) == "▁▅ █"
    assert sparkline([0.3, 0.3]) == "▁▁"
    assert sparkline([]) == ""


def test_a_round_that_was_undone_says_why_and_what_goes_on() -> None:
    undone = event(
        "round-rolled-back", round=2, reason="accuracy fell", accuracy_before=0.91, accuracy_after=0.22, samples=100
    )
    line = plain_line(undone, seen(STARTED), now=0.0)
    assert line == "round 2 undone: accuracy fell on 100 root images, 91.0 % to 22.0 %; the model before goes on"
    short = event("round-rolled-back", round=2, reason="the sum is longer than honest sites can make it")
    assert plain_line(short, seen(STARTED), now=0.0).endswith("undone: the sum is longer than honest sites can make it")


def test_a_group_without_a_vote_is_named_with_its_sites() -> None:
    fields = {"round": 1, "group": 3, "sites": ["site-1", "site-7"]}
    away = event("group-rejected", reason="norm", **fields)
    assert plain_line(away, seen(STARTED), now=0.0) == "round 1: group 3 (site-1, site-7) turned away: norm"
    missing = event("group-missing", reason="1 of 2 masked", **fields)
    assert plain_line(missing, seen(STARTED), now=0.0) == "round 1: group 3 (site-1, site-7) gave no sum: 1 of 2 masked"


def test_the_start_of_a_protected_run_says_what_is_seen() -> None:
    started = event("run-started", pid=1, sites=SITES, resumed_from_round=None, grid="local", protection="the sum")
    assert plain_line(started, seen(started), now=0.0) == "seen of the sites: the sum"
