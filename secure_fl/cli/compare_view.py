"""Progress of a comparison, from what the sweep tells: the live region of a terminal, plain lines, or JSON lines.

comparison  ━━━━━━━━━━━━━━━━━━━━╸───────────  131/420  6 min 02 s, about 12 min 40 s left
running     sign_flip × median  f = 2  α = 0.5  seed 1  round 7/12  accuracy 91.4 %
            no attack × krum    f = 2  α = 0.5  seed 1  round 3/12  accuracy 55.0 %
done        defense        no attack  sign_flip  alie
            mean                 9/9        6/9   0/9
            median               8/9        5/9   0/9
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from secure_fl.cli.columns import Column, fitted
from secure_fl.cli.output import Output, printable
from secure_fl.cli.progress_view import duration, percent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from secure_fl.lab.comparison import Cell

__all__ = ["LinesScreen", "LiveTable", "Screen", "StreamLines", "SweepView", "draw"]

_FRAME_S = 0.25
_MOST_ROWS = 24


@dataclass
class Running:
    """A cell under way: rounds that are done, and the accuracy last seen."""

    cell: Cell
    round: int = 0
    accuracy: float | None = None


@dataclass
class SweepView:
    """What is known of a sweep over `cells`; `apply` takes one event after the other.

    began: when the first cell was started, on any steady clock; the workers' own start does not count.
    """

    cells: Sequence[Cell]
    began: float | None = None
    running: dict[int, Running] = field(default_factory=dict)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[Cell, str]] = field(default_factory=list)
    finished: int = 0
    finished_rounds: int = 0
    stopping: bool = False

    def apply(self, event: dict[str, Any], *, now: float) -> None:
        """Take in one event of `sweep`."""
        cell, worker = event["cell"], event["worker"]
        self.began = now if self.began is None else self.began
        match event["event"]:
            case "started":
                self.running[worker] = Running(cell)
            case "round":
                found = self.running[worker]
                found.round = event["round"]
                found.accuracy = found.accuracy if event["accuracy"] is None else event["accuracy"]
            case "done":
                self.running.pop(worker, None)
                self.finished += 1
                self.finished_rounds += cell.scenario.rounds
                self.done[cell.setting.defense, cell.setting.attack] += 1
                if "failure" in event:
                    self.failures.append((cell, event["failure"]))

    def seconds_left(self, now: float) -> float | None:
        """By rounds, at the pace so far; None before the first round is done."""
        done = self.finished_rounds + sum(each.round for each in self.running.values())
        total = sum(cell.scenario.rounds for cell in self.cells)
        return (now - self.began) * (total - done) / done if done and self.began is not None else None


class Screen(Protocol):
    """Something that shows a sweep."""

    def show(self, event: dict[str, Any], view: SweepView) -> None:
        """An event, already folded into `view`."""

    def close(self, view: SweepView) -> None:
        """Nothing more will come."""


class LinesScreen:
    """One line a cell, for a log or a pipe."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output, self._clock = output, clock

    def show(self, event: dict[str, Any], view: SweepView) -> None:
        """The line of a finished cell."""
        if event["event"] != "done":
            return
        left = view.seconds_left(self._clock())
        ahead = f"; about {duration(left)} left" if left else ""
        how = f"FAILED: {event['failure']}" if "failure" in event else duration(event["seconds"])
        self._output.note(f"{view.finished}/{len(view.cells)}  {event['cell']}: {how}{ahead}")

    def close(self, view: SweepView) -> None:
        """Nothing: the command prints the outcome."""


class StreamLines:
    """One JSON object an event (`--format jsonl`)."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, event: dict[str, Any], view: SweepView) -> None:
        """The event, with its cell by name and digest."""
        cell = event["cell"]
        self._output.event({**event, "cell": str(cell), "digest": cell.digest})

    def close(self, view: SweepView) -> None:
        """Nothing: the command prints the envelope."""


class LiveTable:
    """Redraws one region on the terminal behind stderr; failures scroll by above it."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self._console, self._clock, self._drawn = console, clock, 0.0
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def show(self, event: dict[str, Any], view: SweepView) -> None:
        """Redraw, not more often than eyes follow."""
        if "failure" in event:
            line = printable(f"failed: {event['cell']}: {event['failure']}")
            self._console.print(line, style="yellow", markup=False, soft_wrap=True)
        if self._clock() - self._drawn >= _FRAME_S:
            self._draw(view)

    def close(self, view: SweepView) -> None:
        """Draw the last state and leave it there."""
        self._draw(view)
        self._live.stop()

    def _draw(self, view: SweepView) -> None:
        self._drawn = self._clock()
        self._live.update(draw(view, now=self._drawn, width=self._console.width), refresh=True)


def draw(view: SweepView, *, now: float, width: int) -> RenderableType:
    """The region, `width` columns wide."""
    from rich.constrain import Constrain
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    left = view.seconds_left(now)
    words = f"{view.finished}/{len(view.cells)}  {duration(now - (now if view.began is None else view.began))}"
    words += f", about {duration(left)} left" if left else ""
    words += ", finishing what runs" if view.stopping else ""
    bar = Table.grid(padding=(0, 2, 0, 0))
    bar.add_row(ProgressBar(total=max(1, len(view.cells)), completed=view.finished, width=max(10, width - 62)), words)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_row("comparison", bar)
    inner = max(20, width - 18)
    if view.running:
        grid.add_row("running", _running(view, inner))
    grid.add_row("done", _counts(view, inner))
    return Constrain(grid, width - len("^C^C"))


def _running(view: SweepView, width: int) -> RenderableType:
    rows = [view.running[worker] for worker in sorted(view.running)]
    at = [each.cell.setting for each in rows]
    scores = ["" if each.accuracy is None else percent(each.accuracy) for each in rows]
    return fitted(
        [
            Column("", [f"{each.attack or 'no attack'} × {each.defense}" for each in at]),
            Column("", [f"f = {each.byzantine}  α = {each.alpha:g}" for each in at], rank=3),
            Column("", [f"seed {each.cell.seed}" for each in rows], rank=2),
            Column("", [f"round {each.round}/{each.cell.scenario.rounds}" for each in rows]),
            Column("", scores, rank=1, is_number=True),
        ],
        width,
    )


def _counts(view: SweepView, width: int) -> RenderableType:
    total = Counter((cell.setting.defense, cell.setting.attack) for cell in view.cells)
    defenses = list(dict.fromkeys(cell.setting.defense for cell in view.cells))[:_MOST_ROWS]
    attacks = list(dict.fromkeys(cell.setting.attack for cell in view.cells))
    columns = [Column("defense", defenses)]
    for rank, attack in enumerate(attacks):
        cells = [f"{view.done[d, attack]}/{total[d, attack]}" if total[d, attack] else "–" for d in defenses]
        columns.append(Column(attack or "no attack", cells, rank=rank, is_number=True))
    return fitted(columns, width)
