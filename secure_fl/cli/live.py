"""The live region of a run on a terminal: one block that is redrawn, on stderr.

    round 3/6   ━━━━━━━━━━━━━━━━━━━━━━╸─────────────────  1 min 02 s, about 43 s left
    accuracy    81.1 %  ▁▃▆█           loss  0.6120  █▅▃▁
    sites       ✓ site-0 replied    ● site-1 training   ✗ site-2 rejected
                ● site-3 training   ! site-4 missing

Each state has a sign, a word and a colour, so that none of them carries the meaning alone. Troubles
of a site scroll by above the region and stay readable.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from secure_fl.cli.output import Output, printable
from secure_fl.cli.progress import plain_line
from secure_fl.cli.progress_view import STATES, RunView, duration, percent, sparkline

if TYPE_CHECKING:
    from secure_fl.runs.events import Event

__all__ = ["LiveScreen", "draw"]

FRAME_S = 0.25
MOST_SITES_NAMED = 20

_LOOKS = {
    "waiting": ("·", "dim"),
    "training": ("●", "cyan"),
    "replied": ("✓", "green"),
    "late": ("~", "yellow"),
    "rejected": ("✗", "red"),
    "missing": ("!", "yellow"),
    "gone": ("-", "dim red"),
}


class LiveScreen:
    """Shows a `RunView` on the terminal behind stderr until closed; the last state stays on screen."""

    def __init__(self, output: Output, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._console = clock, console
        self._began = self._drawn = clock()
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._started = False

    def show(self, event: Event, view: RunView) -> None:
        """Redraw; troubles with a site are also printed above the region."""
        if event.kind not in ("run-started", "round-finished"):
            line = plain_line(event, view, now=self._clock())
            if line:
                self._live.console.print(f"[yellow]{escape(printable(line))}[/yellow]", soft_wrap=True)
        self._draw(view)

    def tick(self, view: RunView) -> None:
        """Redraw if the last frame is old."""
        if self._clock() - self._drawn >= FRAME_S:
            self._draw(view)

    def close(self, view: RunView) -> None:
        """Draw the last state and leave it there."""
        if self._started:
            self._draw(view)
            self._live.stop()

    def _draw(self, view: RunView) -> None:
        if not self._started:
            self._live.start()
            self._started = True
        self._drawn = self._clock()
        self._live.update(draw(view, now=self._drawn, began=self._began, width=self._console.width), refresh=True)


def draw(view: RunView, *, now: float, began: float, width: int) -> RenderableType:
    """The region as a rich renderable, `width` columns wide."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row(f"round {view.round}/{view.total}", _bar(view, now=now, began=began, width=width))
    if view.accuracy:
        grid.add_row("accuracy", _scores(view))
    if spent := view.spent():
        grid.add_row("privacy", spent)
    if view.protection:
        grid.add_row("seen", printable(view.protection))
    grid.add_row("sites", _sites(view))
    # The terminal echoes ^C at the end of the last line; at full width that would wrap and shift the region.
    return Constrain(grid, width - len("^C^C"))


def _bar(view: RunView, *, now: float, began: float, width: int) -> RenderableType:
    left = view.seconds_left(now=now)
    if view.phase not in ("training",):
        words = f"{duration(now - began)}, {view.phase}"
    elif left is None:
        words = f"{duration(now - began)}, first round"
    else:
        words = f"{duration(now - began)}, about {duration(left)} left"
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=max(10, min(width, 110) - 48))
    row.add_column(no_wrap=True)
    row.add_row(ProgressBar(total=1.0, completed=view.share(), complete_style="cyan", finished_style="green"), words)
    return row


def _scores(view: RunView) -> RenderableType:
    rounds = sorted(view.accuracy)
    accuracy = [view.accuracy[number] for number in rounds]
    loss = [view.loss[number] for number in rounds]
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(
        Text(f"{percent(accuracy[-1]):>7}"),
        Text(sparkline(accuracy, 16), style="cyan"),
        Text(f"  loss {loss[-1]:.4f}"),
        Text(sparkline(loss, 16), style="magenta"),
    )
    return row


def _sites(view: RunView) -> RenderableType:
    if not view.sites:
        return Text("none yet", style="dim")
    if len(view.sites) > MOST_SITES_NAMED:
        counts = Counter(view.sites.values())
        marks = [_mark(state, f"{counts[state]} {state}") for state in STATES if counts[state]]
    else:
        marks = [_mark(state, f"{name} {state}") for name, state in view.sites.items()]
    return Columns(marks, padding=(0, 3, 0, 0), equal=True)


def _mark(state: str, words: str) -> Text:
    sign, style = _LOOKS[state]
    return Text(f"{sign} {words}", style=style, no_wrap=True)
