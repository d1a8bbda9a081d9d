"""The live region: it fits the terminal, names every state in words, and leaves its last state behind."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from secure_fl.cli.live import MOST_SITES_NAMED, LiveScreen, draw
from secure_fl.cli.output import Output
from secure_fl.cli.progress_view import STATES, RunView
from secure_fl.runs.events import Event


def view_of(sites: int = 5, *, total: int = 6, done: int = 2) -> RunView:
    return RunView(
        total=total,
        round=done + 1,
        accuracy={number: 0.1 + 0.15 * number for number in range(done + 1)},
        loss={number: 2.3 - 0.3 * number for number in range(done + 1)},
        seconds=dict.fromkeys(range(done + 1), 12.0),
        sites={f"site-{index}": STATES[index % len(STATES)] for index in range(sites)},
        round_began=100.0,
        phase="training",
    )


def drawn(view: RunView, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(draw(view, now=103.0, began=70.0, width=width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("sites", [1, 5, MOST_SITES_NAMED, 1000])
def test_no_line_reaches_the_last_columns_where_an_echoed_key_would_wrap(width: int, sites: int) -> None:
    lines = drawn(view_of(sites), width)
    assert all(len(line) <= width - 4 for line in lines)
    assert len(lines) <= 12


def test_the_region_says_round_scores_time_left_and_sites() -> None:
    lines = drawn(view_of(), 80)
    assert lines[0].startswith("round 3/6")
    assert lines[0].endswith("33 s, about 45 s left")
    assert "40.0 %" in lines[1]
    assert "loss 1.7000" in lines[1]
    for index in range(5):
        assert f"site-{index} {STATES[index]}" in "\n".join(lines)


def test_many_sites_are_counted_by_state() -> None:
    counted = " ".join(drawn(view_of(70), 80))
    assert all(f"10 {state}" in counted for state in STATES)


def test_before_anything_is_known_the_region_says_so() -> None:
    lines = drawn(RunView(total=3), 80)
    assert lines[0].startswith("round 0/3")
    assert lines[0].endswith("starting")
    assert lines[-1].endswith("none yet")


def test_troubles_stay_above_the_region_and_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, highlight=False)
    screen, view = LiveScreen(Output(), console, clock=lambda: 0.0), view_of()
    bad = Event(
        0,
        "",
        "reply-rejected",
        {"round": 3, "site": "site-1", "reason": "malformed", "detail": "\x1b]0;x\x07[red]"},
        "",
        "",
    )
    screen.show(bad, view)
    screen.close(view)
    text = stream.getvalue()
    assert "site-1 turned away: malformed" in text
    assert "\x1b]0;" not in text
    assert "[red]" in text
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).rstrip().splitlines()[-1].strip()


def test_frames_are_drawn_by_the_clock_and_not_by_every_tick() -> None:
    now = [0.0]
    stream = io.StringIO()
    screen = LiveScreen(Output(), Console(file=stream, width=80, force_terminal=True), clock=lambda: now[0])
    for _ in range(100):
        screen.tick(view_of())
    assert stream.getvalue() == ""
    now[0] = 1.0
    screen.tick(view_of())
    assert "round 3/6" in stream.getvalue()
    screen.close(view_of())


def test_the_region_of_a_protected_run_says_what_is_seen_of_the_sites() -> None:
    view = view_of()
    view.protection = "the sum over all sites, each site hidden among at least 4; no hostile site is tolerated"
    text = " ".join(drawn(view, 80))
    assert "seen" in text and "hidden among at least 4" in text
    assert all("seen" not in line for line in drawn(view_of(), 80))
