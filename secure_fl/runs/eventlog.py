"""The file edge of the chain: `events.jsonl`, append-only, shared by several processes.

An append takes an exclusive `flock`, reads only the end of the file, writes one line and flushes it
to the disk before it returns. So processes may take turns (command line, coordinator, a resumed run),
and the cost of an append does not grow with the run.

A crash can leave a last line without its newline. Such a torn line was never acknowledged to anybody.
Readers stop before it; the next append moves it aside into `events.torn-N`, and says so in the chain
with a `record-repaired` event. Anything else that does not fit the chain is an IntegrityError.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.runs.atomic import FILE_MODE, flush_folder, write_atomic, writing
from secure_fl.runs.events import Event, check_link, parse_event, seal

__all__ = ["EventLog", "EventReader"]

_BLOCK_BYTES = 8192


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of the file: its last whole event, where that ends, and what a crash left behind it."""

    last: Event | None
    end_bytes: int
    torn: bytes


class EventLog:
    """One `events.jsonl`, or a ledger of the same form. `clock` gives the time in seconds since 1970."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, mode: int = FILE_MODE) -> None:
        self.path = path
        self._clock, self._mode = clock, mode

    def append(self, kind: str, fields: Mapping[str, object]) -> Event:
        """Add one event; when this returns, the event is on the disk.

        Raises:
            IntegrityError: the last line of the file was altered.
            SecureFLError: the file cannot be written; nothing of the event remains in it.
            ValueError, TypeError: the event itself is malformed (see `events.seal`).
        """
        with self._locked() as handle:
            tail = self._tail(handle)
            last, end = tail.last, tail.end_bytes
            if tail.torn:
                last = self._repair(handle, tail)
                end = os.fstat(handle).st_size
            event = seal(last, time_s=self._clock(), kind=kind, fields=fields)
            self._write(handle, end, event)
        return event

    def read(self) -> list[Event]:
        """All whole events; raises IntegrityError naming the first line that breaks the chain."""
        return EventReader(self.path).poll()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with writing(self.path):
            is_new = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if is_new:
                flush_folder(self.path.parent)
            yield handle
        finally:
            os.close(handle)

    def _tail(self, handle: int) -> _Tail:
        """Read backwards until the last whole line is in sight."""
        size = start = os.fstat(handle).st_size
        data = b""
        while start > 0 and data.count(b"\n") < 2:
            step = min(_BLOCK_BYTES, start)
            start -= step
            data = os.pread(handle, step, start) + data
        whole, newline, torn = data.rpartition(b"\n")
        if not newline:
            return _Tail(None, 0, torn)
        line = whole.rpartition(b"\n")[2]
        try:
            last = parse_event(line)
            if last.hash != last.expected_hash():
                raise IntegrityError("its content does not match its hash")
        except IntegrityError as error:
            raise _broken(self.path, "the last line", error) from None
        return _Tail(last, size - len(torn), torn)

    def _repair(self, handle: int, tail: _Tail) -> Event:
        """Move a torn line aside and record that; a crash in here only repeats the move."""
        number = 1
        while (aside := self.path.with_suffix(f".torn-{number}")).exists():
            number += 1
        digest = write_atomic(aside, tail.torn)
        with writing(self.path):
            os.ftruncate(handle, tail.end_bytes)
        fields = {
            "file": aside.name,
            "bytes": len(tail.torn),
            "sha256": digest,
            "reason": "the last line was torn by a crash while it was written",
        }
        event = seal(tail.last, time_s=self._clock(), kind="record-repaired", fields=fields)
        self._write(handle, tail.end_bytes, event)
        return event

    def _write(self, handle: int, end_bytes: int, event: Event) -> None:
        """Write a line at the end; on a full disk, take back what was written of it."""
        rest = memoryview(event.line())
        with writing(self.path):
            try:
                os.lseek(handle, end_bytes, os.SEEK_SET)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end_bytes)
                raise


class EventReader:
    """Follows a log that others append to: each `poll` gives the events added since the last one.

    The chain is checked on the way, from the first line. `torn_bytes` counts what stands after the
    last newline: a line that is being written just now, or one that a crash has torn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: Event | None = None
        self.torn_bytes = 0
        self._offset_bytes = 0

    def poll(self) -> list[Event]:
        """New whole events, oldest first.

        Raises:
            NotFoundError: the file is missing.
            IntegrityError: a line breaks the chain (it is named), or the file became shorter.
        """
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset_bytes:
                    raise IntegrityError(f"{self.path} was cut short while it was read")
                file.seek(self._offset_bytes)
                data = file.read()
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} is missing", why="a run record has its events there") from None
        whole, newline, torn = data.rpartition(b"\n")
        self.torn_bytes = len(torn)
        if not newline:
            return []
        self._offset_bytes += len(whole) + 1
        return [self._next(line) for line in whole.split(b"\n")]

    def _next(self, line: bytes) -> Event:
        try:
            event = parse_event(line)
            check_link(event, self.last)
        except IntegrityError as error:
            number = 1 if self.last is None else self.last.seq + 2
            raise _broken(self.path, f"line {number}", error) from None
        self.last = event
        return event


def _broken(path: Path, place: str, error: IntegrityError) -> IntegrityError:
    return IntegrityError(
        f"{path}: {place} breaks the record's hash chain",
        why=error.what,
        fix="restore the file from a copy; nothing after that line can be trusted",
    )
