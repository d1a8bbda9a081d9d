"""Progress of a run, from the events that the run writes: nothing here is told anything else.

`Follower` is a thread that reads new events as they are written, by whichever process writes them,
folds them into a `RunView` (`progress_view`), and hands them to one of three screens:

- `LiveScreen`: one region on a terminal (round, accuracy, loss, time left, the state of each site),
- `PlainScreen`: one line a round where there is no terminal,
- `StreamScreen`: one JSON object an event (`--format jsonl`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from secure_fl.cli.output import Output
from secure_fl.cli.progress_view import RunView, duration, percent, plural, simulation_words

if TYPE_CHECKING:
    from secure_fl.runs.events import Event

__all__ = ["Follower", "PlainScreen", "Screen", "StreamScreen", "duration", "percent", "plain_line", "simulation_words"]

POLL_S = 0.1


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
        case "run-started":
            network = event.get("grid") != "local"
            waiting = f"waiting for {len(view.sites)} {plural('site', len(view.sites))} to join" if network else ""
            seen = f"seen of the sites: {event['protection']}" if event.get("protection") else ""
            return " · ".join(filter(None, (simulation_words(event.get("simulation")), seen, waiting)))
        case "site-refused":
            return f"refused {event['who']}: {event['reason']}"
        case "site-left":
            return f"{event['site']} left"
        case "round-finished":
            return _round_line(event, view, now=now)
        case "round-rolled-back":
            return f"round {event['round']} undone: {_rollback_words(event)}"
        case "group-rejected" | "group-missing":
            verb, sites = "turned away" if event.kind == "group-rejected" else "gave no sum", ", ".join(event["sites"])
            return f"round {event['round']}: group {event['group']} ({sites}) {verb}: {event['reason']}"
        case "audit-started":
            return f"auditing {event['bytes'] / 1e6:,.1f} MB that crossed the wire, and what the model gives away"
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


def _rollback_words(event: Event) -> str:
    """Why the coordinator went back to the model before."""
    before, after, samples = event.get("accuracy_before"), event.get("accuracy_after"), event.get("samples")
    if before is None or after is None:
        return str(event["reason"])
    where = f"on {samples} root {plural('image', samples or 0)}"
    return f"{event['reason']} {where}, {percent(before)} to {percent(after)}; the model before goes on"


def _round_line(event: Event, view: RunView, *, now: float) -> str:
    number, width = event["round"], len(str(view.total))
    accuracy, loss = view.accuracy[number], view.loss[number]
    head = f"round {number:>{width}}/{view.total}  accuracy {percent(accuracy):>7}  loss {loss:.4f}"
    if number == 0:
        return f"{head}  initial model"
    head = f"{head}  {spent}" if (spent := view.spent()) else head
    left = view.seconds_left(now=now)
    tail = f"  about {duration(left)} left" if left and number < view.total else ""
    accepted = f"{len(event.get('accepted', ()))}/{len(view.sites)} sites"
    return f"{head}  {accepted}{_choice(event)}  {duration(view.seconds[number])}{tail}"


def _choice(event: Event) -> str:
    """Which of the accepted replies the rule let in, said the shorter way; nothing where it let all in."""
    kept = event.get("kept")
    left_out = [name for name in event.get("accepted", ()) if name not in kept] if kept is not None else []
    if not left_out:
        return ""
    return f", without {', '.join(left_out)}" if len(left_out) <= len(kept) else f", only {', '.join(kept)}"
