from __future__ import annotations

import pytest

from secure_fl.runs import RoundRow
from secure_fl.runs.resources import Sample
from secure_fl.runs.timeline import Span, Timeline, round_spans


def samples(*times: tuple[float, float]) -> list[Sample]:
    """times: (t_s, time_s)"""
    return [Sample(t_s, time_s, 0.0, 0, 0.0, 0) for t_s, time_s in times]


STEADY = samples(*((float(t), 1000.0 + t) for t in range(11)))


def test_without_breaks_active_time_is_clock_time() -> None:
    timeline = Timeline.of(STEADY)
    assert timeline.active_s == tuple(float(t) for t in range(11))
    assert timeline.breaks_s == ()
    assert timeline.place(1003.25) == pytest.approx(3.25)


def test_a_night_between_two_attempts_takes_no_room() -> None:
    timeline = Timeline.of([*STEADY, *samples((0.1, 40_000.0), (1.1, 40_001.0))])
    assert timeline.breaks_s == (10.0,)
    assert timeline.active_s[-2:] == (10.0, 11.0)
    assert timeline.place(20_000.0) == pytest.approx(10.0)
    assert timeline.place(40_000.5) == pytest.approx(10.5)


def test_an_attempt_that_follows_at_once_is_marked_all_the_same() -> None:
    assert Timeline.of([*STEADY, *samples((0.1, 1012.0))]).breaks_s == (10.0,)


def test_a_machine_that_slept_is_a_break_and_a_slow_sample_is_not() -> None:
    assert Timeline.of([*STEADY, *samples((1000.0, 2000.0))]).breaks_s == (10.0,)
    assert Timeline.of([*STEADY, *samples((22.0, 1022.0))]).breaks_s == ()


def test_a_clock_that_was_set_back_never_runs_backwards_here() -> None:
    timeline = Timeline.of([*STEADY, *samples((11.0, 900.0), (12.0, 901.0))])
    assert list(timeline.active_s) == sorted(timeline.active_s)
    assert list(timeline.clock_s) == sorted(timeline.clock_s)


def test_times_outside_are_held_at_the_ends() -> None:
    timeline = Timeline.of(STEADY)
    assert (timeline.place(0.0), timeline.place(9999.0)) == (0.0, 10.0)


def test_one_sample_is_a_timeline_of_no_length() -> None:
    timeline = Timeline.of(STEADY[:1])
    assert (timeline.active_s, timeline.place(1000.0)) == ((0.0,), 0.0)


def test_finished_rounds_are_placed_and_others_are_left_out() -> None:
    rows = [
        RoundRow(0, finished="1970-01-01T00:16:41.000Z"),
        RoundRow(1, "1970-01-01T00:16:41.000Z", "1970-01-01T00:16:45.500Z"),
        RoundRow(2, "1970-01-01T00:16:46.000Z"),
    ]
    assert round_spans(Timeline.of(STEADY), rows) == [Span(1, 1.0, 5.5)]
