"""Progress of a run, from the events that the run writes: nothing here is told anything else.

`RunView` folds events into what a person wants to know (pure). `Follower` is a thread that reads new
events as they are written, by whichever process writes them, and hands them to one of three screens:

- `LiveScreen`: one region on a terminal (round, accuracy, loss, time left, the state of each site),
- `PlainScreen`: one line a round where there is no terminal,
- `StreamScreen`: one JSON object an event (`--format jsonl`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from secure_fl.cli.output import Output

if TYPE_CHECKING:
    from secure_fl.runs.events import Event

__all__ = ["Follower", "PlainScreen", "RunView", "Screen", "StreamScreen", "duration", "percent", "plural", "sparkline"]

POLL_S = 0.1
STATES = ("waiting", "training", "replied", "late", "rejected", "missing", "gone")


@dataclass
class RunView:
    """What has happened so far in a run of `total` rounds; `apply` takes one event after the other."""

    total: int
    round: int = 0
    loss: dict[int, float] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    joined: int = 0
    round_began: float | None = None
    phase: str = "starting"
    stopping: bool = False
    finished: Event | None = None

    def apply(self, event: Event, *, now: float) -> None:
        """Take in one event; `now` is seconds on any steady clock. Unknown kinds change nothing."""
        site = event.get("site", "")
        match event.kind:
            case "run-started":
                self.sites = dict.fromkeys(event.get("sites", ()), "waiting")
                self.joined, self.phase, self.round_began, self.finished = 0, "waiting for sites", None, None
                resumed = event.get("resumed_from_round")
                self._forget_after(resumed if resumed is not None else -1)
            case "site-joined":
                self.sites[site] = "waiting"
                self.joined += 1
            case "site-left":
                self.sites[site] = "gone"
            case "round-started":
                self.round, self.round_began, self.phase = event["round"], now, "training"
                for name in self.sites:
                    self.sites[name] = "waiting" if self.sites[name] != "gone" else "gone"
                self.sites.update(dict.fromkeys(event.get("sites", ()), "training"))
            case "reply-accepted":
                self.sites[site] = "replied"
            case "reply-rejected":
                self.sites[site] = "rejected"
            case "reply-missing":
                self.sites[site] = "missing"
            case "reply-late":
                self.sites[site] = "late"
            case "round-finished":
                self._finish_round(event)
            case "run-finished":
                self.phase, self.finished = event["status"], event

    def _finish_round(self, event: Event) -> None:
        number = event["round"]
        self.round, self.round_began = number, None
        self.loss[number], self.accuracy[number] = _number(event["loss"]), _number(event["accuracy"])
        self.seconds[number] = event.get("seconds") or 0.0

    def _forget_after(self, last: int) -> None:
        for history in (self.loss, self.accuracy, self.seconds):
            for number in [number for number in history if number > last]:
                del history[number]

    @property
    def done(self) -> int:
        """Rounds finished."""
        return max(self.loss, default=0)

    def share(self) -> float:
        """Share of the whole run that is done, counting replies within a round; in [0, 1]."""
        inside = 0.0
        if self.round_began is not None and self.sites:
            busy = [state for state in self.sites.values() if state not in ("waiting", "gone")]
            inside = sum(state != "training" for state in busy) / len(busy) if busy else 0.0
        return min(1.0, (self.done + inside) / self.total)

    def seconds_left(self, *, now: float) -> float | None:
        """Expected seconds until the last round ends, from the rounds so far; None before the first."""
        past = [self.seconds[number] for number in sorted(self.seconds) if number >= 1]
        if not past:
            return None
        typical = sum(past[-5:]) / len(past[-5:])
        inside = min(now - self.round_began, typical) if self.round_began is not None else 0.0
        return max(0.0, (self.total - self.done) * typical - inside)


class Screen(Protocol):
    """Something that shows a run; called from the follower's thread only."""

    def show(self, event: Event, view: RunView) -> None:
        """A new event, already folded into `view`."""

    def tick(self, view: RunView) -> None:
        """Some time has passed."""

    def close(self, view: RunView) -> None:
        """Nothing more will come."""


class Follower:
    """Polls a run's events while they are written, in a thread; a context manager around the run.

    Events that were there before (of a run that is being resumed) are folded into the view, but not
    shown. `poll` gives the events since it was last called (`EventReader.poll`). A failure to read
    is raised when the context ends, unless something else went wrong already.
    """

    def __init__(
        self,
        poll: Callable[[], Sequence[Event]],
        view: RunView,
        screen: Screen,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poll, self._view, self._screen, self._note, self._clock = poll, view, screen, note, clock
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._failure: Exception | None = None
        self._told = False

    def __enter__(self) -> Follower:
        for event in self._poll():
            self._view.apply(event, now=self._clock())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _follow(self) -> None:
        try:
            while not self._end.wait(POLL_S):
                self._look()
            self._look()  # what was written between the last look and the end
        except Exception as error:  # kept for the main thread, which raises it
            self._failure = error
        finally:
            self._screen.close(self._view)

    def _look(self) -> None:
        for event in self._poll():
            self._view.apply(event, now=self._clock())
            self._screen.show(event, self._view)
        if self._view.stopping and not self._told:
            self._told = True
            begun = self._view.round_began is not None
            what = f"finishing round {self._view.round}, then saving" if begun else "stopping at the next safe point"
            self._note(f"{what}; press Ctrl-C again to stop now")
        self._screen.tick(self._view)


class PlainScreen:
    """One line a round, and one for each thing that went wrong with a site."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output, self._clock = output, clock

    def show(self, event: Event, view: RunView) -> None:
        """The line of this event, if it deserves one."""
        line = plain_line(event, view, now=self._clock())
        if line:
            self._output.note(line)

    def tick(self, view: RunView) -> None:
        """Nothing: lines come with events."""

    def close(self, view: RunView) -> None:
        """Nothing: the command prints the outcome."""


class StreamScreen:
    """Each event as one line of JSON, as it was recorded."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, event: Event, view: RunView) -> None:
        """The event itself."""
        self._output.event(event.to_mapping())

    def tick(self, view: RunView) -> None:
        """Nothing: lines come with events."""

    def close(self, view: RunView) -> None:
        """Nothing: the command prints the envelope."""


def plain_line(event: Event, view: RunView, *, now: float) -> str:
    """The line for a log or a pipe, or nothing for events of no news."""
    match event.kind:
        case "run-started" if event.get("grid") != "local":
            return f"waiting for {len(view.sites)} {plural('site', len(view.sites))} to join"
        case "site-refused":
            return f"refused {event['who']}: {event['reason']}"
        case "site-left":
            return f"{event['site']} left"
        case "round-finished":
            return _round_line(event, view, now=now)
        case _:
            return site_trouble(event)


def site_trouble(event: Event) -> str:
    """What a reply lacked, in words; nothing for events without trouble."""
    where = f"round {event.get('round')}: {event.get('site')}"
    match event.kind:
        case "reply-rejected":
            detail = f" ({event['detail']})" if event.get("detail") else ""
            return f"{where} turned away: {event['reason']}{detail}"
        case "reply-missing":
            return f"{where} did not reply: {event['reason']}"
        case "reply-late":
            return f"{where} replied too late"
        case _:
            return ""


def _round_line(event: Event, view: RunView, *, now: float) -> str:
    number, width = event["round"], len(str(view.total))
    accuracy, loss = view.accuracy[number], view.loss[number]
    head = f"round {number:>{width}}/{view.total}  accuracy {percent(accuracy):>7}  loss {loss:.4f}"
    if number == 0:
        return f"{head}  initial model"
    left = view.seconds_left(now=now)
    tail = f"  about {duration(left)} left" if left and number < view.total else ""
    accepted = f"{len(event.get('accepted', ()))}/{len(view.sites)} sites"
    return f"{head}  {accepted}  {duration(view.seconds[number])}{tail}"


def percent(share: float) -> str:
    """0.9637 as `96.4 %`."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "?"


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `52 s`, `1 min 44 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(noun: str, count: int) -> str:
    """`round` or `rounds`."""
    return noun if count == 1 else f"{noun}s"


def sparkline(values: list[float], width: int = 24) -> str:
    """The last `width` values as bars from lowest to highest; not-finite values as a gap."""
    shown, bars = values[-width:], "▁▂▃▄▅▆▇█"
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (len(bars) - 1) / ((high - low) or 1.0)
    return "".join(bars[round((value - low) * step)] if math.isfinite(value) else " " for value in shown)


def _number(value: float | None) -> float:
    """A recorded number; the record holds null for what is not finite."""
    return math.nan if value is None else float(value)
