"""Simulate the cells of a comparison that are not on the disk yet, on all cores, one thread a process.

Workers keep their own results (`secure_fl.lab.worker`), so nothing here has to survive: whatever ends this process,
however it ends, the cells that were finished are there, and the next run goes on from them. A worker that dies costs
the cell that it had; that is recorded as a failure, and another worker takes its place.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secure_fl.errors import FederationError
from secure_fl.federation.processes import Child
from secure_fl.lab.cells import CellStore, Failure, made
from secure_fl.lab.comparison import Cell
from secure_fl.runs.atomic import FILE_MODE, writing

__all__ = ["OnEvent", "cores", "sweep", "to_do"]

# What a listener is told: {"event": "started" | "round" | "done", "cell": Cell, "worker": number, …}. `started` has
# the process id; `round` has its number and accuracy (None where not tested); `done` has seconds and, if there is no
# outcome, the failure in words.
OnEvent = Callable[[dict[str, Any]], None]

# Every library that would otherwise start one thread a core in each worker.
_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_LOOK_S = 0.1  # between two looks at all workers
_PATIENCE_S = 5.0  # for a worker to leave by itself


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_do(cells: Sequence[Cell], store: CellStore) -> list[Cell]:
    """The cells without an outcome, in their order; those that failed before are among them.

    Raises:
        IntegrityError: as `CellStore.read`.
    """
    found = ((cell, store.read(cell.digest)) for cell in cells)
    return [cell for cell, result in found if result is None or result.outcome is None]


def sweep(
    cells: Sequence[Cell],
    store: CellStore,
    *,
    workers: int,
    on_event: OnEvent,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Simulate `cells` in their order; returns when all are done or failed, or, once `stopping`, those under way.

    Raises:
        FederationError: another process fills this folder, or a worker does not even start.
        KeyboardInterrupt: the workers are ended first; their unfinished cells are lost.
    """
    with _claimed(store.folder), _Crew(store, on_event) as crew:
        waiting = deque(cells)
        for number in range(min(workers, len(cells))):
            crew.start(number)
        while crew.busy or (waiting and not stopping()):
            crew.give_out(waiting, nothing_new=stopping())
            crew.listen()


class _Crew:
    """The workers by number, and the cell that each of them has."""

    def __init__(self, store: CellStore, on_event: OnEvent) -> None:
        self._store, self._on_event = store, on_event
        self._children: dict[int, Child] = {}
        self._cells: dict[int, Cell] = {}
        self._ready: set[int] = set()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.stop(_PATIENCE_S)

    @property
    def busy(self) -> bool:
        """Whether any cell is under way."""
        return bool(self._cells)

    def start(self, number: int) -> None:
        """Start a worker; it tells when it is ready."""
        log = self._store.folder.parent / "logs" / f"worker-{number}.log"
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._children[number] = Child("secure_fl.lab.worker", log=log, environ={**os.environ, **_THREADS})
        self._ready.discard(number)

    def give_out(self, waiting: deque[Cell], *, nothing_new: bool) -> None:
        """A cell for each worker that is ready and has none."""
        for number in sorted(self._ready - self._cells.keys()):
            if nothing_new or not waiting:
                return
            cell, child = waiting.popleft(), self._children[number]
            self._cells[number] = cell
            self._on_event({"event": "started", "cell": cell, "worker": number, "pid": child.pid})
            try:
                child.send({"scenario": cell.scenario.to_mapping(), "cells": str(self._store.folder.absolute())})
            except FederationError as error:
                self._lost(number, error)

    def listen(self) -> None:
        """Take in what the workers say, for a moment."""
        for number in list(self._children):
            try:
                while (message := self._children[number].receive(_LOOK_S / len(self._children))) is not None:
                    self._heard(number, message)
            except FederationError as error:
                self._lost(number, error)

    def _heard(self, number: int, message: dict[str, Any]) -> None:
        if message["event"] == "ready":
            self._ready.add(number)
            return
        about = {**message, "cell": self._cells[number], "worker": number}
        if message["event"] == "done":
            del self._cells[number]
        self._on_event(about)

    def _lost(self, number: int, error: FederationError) -> None:
        """A worker is gone: record its cell as failed, and start another one."""
        cell = self._cells.pop(number, None)
        if cell is None:
            raise error  # it never got as far as a cell, and neither will the next one
        self._store.write_failure(cell.scenario, Failure(error.what, error.why), made())
        self._children[number].stop(_PATIENCE_S)
        self._on_event({"event": "done", "cell": cell, "worker": number, "seconds": 0.0, "failure": str(error)})
        self.start(number)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when this process ends, in whatever way."""
    lock = folder.parent / "lock"
    with writing(lock):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FederationError(
                f"another process is filling {folder.parent}", fix="wait for it, or give another --output"
            ) from None
        yield
    finally:
        os.close(handle)
