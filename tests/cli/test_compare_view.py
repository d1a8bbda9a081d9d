"""Progress of a comparison: what is counted, what is left, and what fits on the screen."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from secure_fl.cli.compare_view import LiveTable, SweepView, draw
from secure_fl.lab.comparison import Cell, Comparison
from secure_fl.lab.scenario import Scenario

BASE = Scenario(model="softmax", clients=4, rounds=10)
CELLS = list(Comparison(BASE, ("sign_flip",), ("median",), (1,), (0.5,), (0, 1)).cells())


def event(kind: str, cell: Cell, worker: int = 0, **about: Any) -> dict[str, Any]:
    return {"event": kind, "cell": cell, "worker": worker, **about}


def at_half() -> SweepView:
    """Four cells done in 40 seconds, the fifth at half."""
    view = SweepView(CELLS)
    for cell in CELLS[:4]:
        view.apply(event("started", cell), now=100.0)
        view.apply(event("done", cell, seconds=1.0), now=110.0)
    view.apply(event("started", CELLS[4]), now=135.0)
    view.apply(event("round", CELLS[4], round=5, accuracy=0.914), now=140.0)
    return view


def shown(view: SweepView, width: int, now: float = 140.0) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(draw(view, now=now, width=width))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_time_left_is_by_rounds_from_the_first_start_on() -> None:
    assert SweepView(CELLS).seconds_left(100.0) is None
    assert at_half().seconds_left(145.0) == pytest.approx(45.0 * 35 / 45)


def test_the_region_shows_what_runs_what_is_done_and_what_is_left() -> None:
    text = shown(at_half(), 120)
    assert "4/8  40 s, about 31 s left" in text
    assert "no attack × mean" in text
    assert "round 5/10" in text
    assert "91.4 %" in text
    assert "defense  no attack  sign_flip" in text
    assert "median         1/2        1/2" in text


@pytest.mark.parametrize("width", [50, 80, 200])
def test_the_region_fits_its_terminal(width: int) -> None:
    assert all(len(line) <= width for line in shown(at_half(), width).splitlines())


def test_a_round_that_was_not_tested_keeps_the_accuracy_before_it() -> None:
    view = at_half()
    view.apply(event("round", CELLS[4], round=6, accuracy=None), now=141.0)
    assert "91.4 %" in shown(view, 120)


def test_failures_are_counted_as_finished_and_printed_above_the_region() -> None:
    stream, view = io.StringIO(), at_half()
    screen = LiveTable(Console(file=stream, width=120, force_terminal=True, highlight=False), clock=lambda: 150.0)
    failed = event("done", CELLS[4], seconds=0.0, failure="out of [bold]memory")
    view.apply(failed, now=150.0)
    screen.show(failed, view)
    screen.close(view)
    assert "out of [bold]memory" in stream.getvalue()
    assert (view.finished, len(view.failures)) == (5, 1)
