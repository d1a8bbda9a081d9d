"""Live pages: one thread looks at what runs, and all open streams share what it saw.

A *channel* is a list of frames that only grows; a stream is a place in that list, so a slow reader costs nothing, holds
nobody up and loses nothing. There are two kinds:

    a run's      every event of its record; a frame's number is the event's `seq`, so a reader that comes back with the
                 last number that it saw (`Last-Event-ID`) goes on exactly there, also after a restart of the server.
                 A process that is killed writes nothing any more: `state`, without a number, says that it is gone
    the home's   "something changed": a job, a run's round, the worker; the number counts changes, and whoever comes
                 back with another one than the newest is told once

The thread runs only while somebody listens. A stream says something every HEARTBEAT_S, ends after LONGEST_S, and is
refused beyond MOST_OF_USER of one user or MOST in all; a tab that opens another stream replaces its own.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from secure_fl.errors import SecureFLError
from secure_fl.runs import Event, EventReader, RunRecord
from secure_fl.runs.liveness import is_alive

__all__ = ["HEARTBEAT_S", "LONGEST_S", "MOST", "MOST_OF_USER", "BusyError", "Hub", "Lease"]

HEARTBEAT_S, LONGEST_S = 15.0, 600.0
MOST_OF_USER, MOST = 2, 12
POLL_S = 0.4
_ENDING = "event: end\ndata: {}\n\n"
_GONE = "event: state\ndata: {}\n\n"
_TO_ALL = sys.maxsize  # above every number that a reader may have seen


class BusyError(SecureFLError):
    """There are as many streams as there may be."""

    code = "TOO_MANY_STREAMS"


@dataclass(eq=False)
class Lease:
    """The right to one stream; `over` once another stream of the same tab took its place."""

    user: str
    tab: str
    over: bool = False


@dataclass
class _Channel:
    """frames: (number, text); ended: nothing more will come."""

    poll: Callable[[], list[tuple[int, str]]]
    frames: list[tuple[int, str]] = field(default_factory=list)
    readers: int = 0
    ended: bool = False


class Hub:
    """All streams of one process. signature: what the home's channel watches; it differs when that changed."""

    def __init__(
        self, signature: Callable[[], object], *, clock: Callable[[], float] = time.time, poll_s: float = POLL_S
    ) -> None:
        self._signature, self._poll_s = signature, poll_s
        self._seen: object = None
        self._number = int(clock() * 1000)  # grows over restarts, so an old number is never mistaken for a new one
        self._changed = threading.Condition()
        self._channels: dict[str, _Channel] = {}
        self._leases: list[Lease] = []
        self._thread: threading.Thread | None = None

    def lease(self, user: str, tab: str) -> Lease:
        """The right to a stream.

        Raises:
            BusyError: this user, or everybody together, has as many as there may be.
        """
        with self._changed:
            for each in [each for each in self._leases if (each.user, each.tab) == (user, tab)]:
                each.over = True
                self._leases.remove(each)
            if sum(each.user == user for each in self._leases) >= MOST_OF_USER or len(self._leases) >= MOST:
                raise BusyError("too many live pages are open", fix="close one; this page asks now and then instead")
            lease = Lease(user, tab)
            self._leases.append(lease)
            self._changed.notify_all()
        return lease

    def run(self, lease: Lease, record: RunRecord, after: int, allowed: Callable[[], bool]) -> Iterator[str]:
        """The events of a run that come after number `after`; ends when the run has."""
        return self._stream(lease, f"run {record.id}", _Followed(record).frames, after, allowed)

    def home(self, lease: Lease, after: int, allowed: Callable[[], bool]) -> Iterator[str]:
        """One frame whenever something changed."""
        return self._stream(lease, "home", self._look, after, allowed)

    def _stream(
        self, lease: Lease, key: str, poll: Callable[[], list[tuple[int, str]]], after: int, allowed: Callable[[], bool]
    ) -> Iterator[str]:
        began_s = time.monotonic()
        channel = self._join(key, poll)
        try:
            yield f"retry: 2000\n\n: {key}\n\n"
            at = 0
            while time.monotonic() - began_s < LONGEST_S and not lease.over:
                with self._changed:
                    if at == len(channel.frames) and not channel.ended:
                        self._changed.wait(HEARTBEAT_S)
                    new, ended = channel.frames[at:], channel.ended
                if not allowed():
                    return
                at += len(new)
                texts = [text for number, text in new if number > after]
                if texts:
                    yield "".join(texts)
                elif not new and not ended:
                    yield ": still here\n\n"
                if ended and at == len(channel.frames):
                    yield _ENDING
                    return
        finally:
            self._leave(lease, key, channel)

    def _join(self, key: str, poll: Callable[[], list[tuple[int, str]]]) -> _Channel:
        with self._changed:
            channel = self._channels.get(key)
            if channel is None or channel.ended:
                channel = self._channels[key] = _Channel(poll)
            channel.readers += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="live", daemon=True)
                self._thread.start()
        return channel

    def _leave(self, lease: Lease, key: str, channel: _Channel) -> None:
        with self._changed:
            if lease in self._leases:
                self._leases.remove(lease)
            channel.readers -= 1
            if not channel.readers and self._channels.get(key) is channel:
                del self._channels[key]

    def _watch(self) -> None:
        while True:
            with self._changed:
                channels = list(self._channels.values())
                if not channels:
                    self._thread = None
                    return
            for each in channels:
                frames = each.poll()
                ended = any(text == _ENDING for _, text in frames)
                with self._changed:
                    each.frames += [frame for frame in frames if frame[1] != _ENDING]
                    each.ended = each.ended or ended
                    if frames:
                        self._changed.notify_all()
            time.sleep(self._poll_s)

    def _look(self) -> list[tuple[int, str]]:
        seen = self._signature()
        if seen == self._seen:
            return []
        self._seen, self._number = seen, self._number + 1
        return [(self._number, f"id: {self._number}\ndata: {{}}\n\n")]


class _Followed:
    """A run's record, read as it grows, and the process that writes it."""

    def __init__(self, record: RunRecord) -> None:
        self._reader = EventReader(record.log.path)
        self._writer: tuple[int | None, float] | None = None  # of a run that has begun, and not ended: pid, since when

    def frames(self) -> list[tuple[int, str]]:
        """What is new; its end, and a record that cannot be read on, end the channel."""
        try:
            events = self._reader.poll()
        except SecureFLError:
            return [(0, _ENDING)]
        frames = [(event.seq, _frame(event)) for event in events]
        for event in events:
            if event.kind == "run-started":
                self._writer = event.get("pid"), event.epoch_s
        if events and events[-1].kind == "run-finished":
            return [*frames, (0, _ENDING)]
        if self._writer and not is_alive(*self._writer):
            self._writer = None  # said once; a run that is resumed has another
            frames.append((_TO_ALL, _GONE))
        return frames


def _frame(event: Event) -> str:
    told = {"seq": event.seq, "time": event.time, "kind": event.kind, **event.fields}
    return f"id: {event.seq}\ndata: {json.dumps(told, ensure_ascii=True, allow_nan=False)}\n\n"
