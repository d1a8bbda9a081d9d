"""Run records kept open, so that a page costs the events that were added since the last page, not all of them.

A record's chain is checked once from its first line and then followed; what has been read stays in memory for the few
runs that people look at. A record that changes under us in any other way than by growing is read again from the start.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_fl.config import RunConfig
from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.runs import Event, EventReader, RunRecord, RunStatus, RunSummary
from secure_fl.runs.index import RunIndex, RunRow
from secure_fl.runs.liveness import is_alive, live_status
from secure_fl.runs.record import runs_folder
from secure_fl.runs.rounds import summarise

__all__ = ["Records", "Run"]

_ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]{4,}")
_KEPT = 12  # runs in memory; a long one is about ten megabytes


@dataclass(frozen=True)
class Run:
    """A run as far as its record tells at one moment. events: all of them, oldest first."""

    record: RunRecord
    events: tuple[Event, ...]
    summary: RunSummary
    status: RunStatus

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def config(self) -> RunConfig:
        return self.record.config

    @property
    def seq(self) -> int:
        """The number of the last event that was read."""
        return self.events[-1].seq


class Records:
    """The runs of one home. Safe to use from several threads."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._index = RunIndex(home)
        self._open: OrderedDict[str, _Followed] = OrderedDict()
        self._configs: dict[str, RunConfig] = {}  # they never change
        self._lock = threading.Lock()
        self._lengths: dict[str, int] = {}  # by run, as `signature` saw them last, and who wrote then
        self._writers: dict[str, tuple[int | None, float | None]] = {}

    def rows(self) -> tuple[RunRow, ...]:
        """All runs in one line each, newest first."""
        return self._index.list()

    def signature(self) -> object:
        """A value that differs whenever a record was added, was removed or has grown, or a run's process died.

        Costs one `stat` a run while nothing changes. For one thread at a time.
        """
        try:
            folders = [each for each in os.scandir(runs_folder(self.home)) if _ID.fullmatch(each.name)]
        except FileNotFoundError:
            return None
        lengths = {each.name: _length(Path(each.path)) for each in folders}
        grown = {name for name, length in lengths.items() if self._lengths.get(name) != length}
        self._lengths = lengths
        alive = [name for name, writer in self._writers.items() if is_alive(*writer)]
        if grown.difference(alive):  # it has begun, gone on, or ended
            running = [row for row in self.rows() if row.status == RunStatus.RUNNING]
            self._writers = {row.id: (row.pid, row.attempt_started_s) for row in running}
            alive = list(self._writers)
        return sorted(lengths.items()), alive

    def run(self, id: str) -> Run:
        """A run by its full id.

        Raises:
            NotFoundError: there is no such run; also for texts that are no id.
            IntegrityError: the record was altered.
        """
        with self._lock:
            followed = self._open.pop(id, None)
            if followed is None:
                followed = _Followed(_opened(self.home, id))
            run = followed.run()
            self._open[id] = followed
            while len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return run

    def config(self, id: str) -> RunConfig:
        """The settings of a run, without reading what happened in it; raises as `run`."""
        with self._lock:
            if id not in self._configs:
                self._configs[id] = _opened(self.home, id).config
            return self._configs[id]

    def some(self, ids: Sequence[str]) -> tuple[Run, ...]:
        """Several runs, in the order of `ids`, each once; raises as `run`."""
        return tuple(self.run(id) for id in dict.fromkeys(ids))


def _opened(home: Path, id: str) -> RunRecord:
    """A record by what may be anything: only an id leads to a folder."""
    if not _ID.fullmatch(id):
        raise NotFoundError("no such run", fix="the list of runs has them all")
    return RunRecord.open(runs_folder(home) / id)


def _length(folder: Path) -> int:
    try:
        return (folder / "events.jsonl").stat().st_size
    except OSError:
        return 0


class _Followed:
    """A record and what was read of it."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._reader = EventReader(record.log.path)
        self._events: tuple[Event, ...] = ()
        self._summary: RunSummary | None = None

    def run(self) -> Run:
        try:
            new = self._reader.poll()
        except IntegrityError:  # replaced, or cut by a repair: judge the file as it stands now
            self._reader, self._events, self._summary = EventReader(self._record.log.path), (), None
            new = self._reader.poll()
        if new or self._summary is None:
            self._events = (*self._events, *new)
            self._summary = summarise(self._events)
        return Run(self._record, self._events, self._summary, live_status(self._summary))
