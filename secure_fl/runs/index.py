"""A list of all runs that is quick to read: SQLite, `runs/index.sqlite`, drawn from the folders.

The folders are the truth and the index is a cache: each row carries the size and time of the
`events.jsonl` that it was made from, and is made again when they differ. When the file is missing,
damaged or of another version, it is dropped and rebuilt. A file lock is held during each use, so
two processes may refresh at once. Where nothing may be written, the index lives in memory.

A run that says it is running is asked anew each time (its process may have died), so `running` is never stale.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from pathlib import Path

from secure_fl.errors import ConfigError, IntegrityError, NotFoundError, SecureFLError
from secure_fl.runs.atomic import FILE_MODE, flush_folder, writing
from secure_fl.runs.liveness import is_alive
from secure_fl.runs.record import RunRecord, runs_folder
from secure_fl.runs.rows import RunStatus

__all__ = ["DAMAGED", "RunIndex", "RunRow"]

_VERSION = 1
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]{4,}")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in one line. Times are ISO 8601 in UTC; `loss` and `accuracy` are of the last finished round.

    A record that cannot be read is listed with the status `damaged`, and `note` says why.
    """

    id: str
    status: str
    dataset: str
    model: str
    grid: str
    partition: str
    sites: int
    round: int
    rounds: int
    accuracy: float | None
    loss: float | None
    created: str
    started: str | None
    finished: str | None
    seconds: float
    seed: int
    pid: int | None = None
    attempt_started_s: float | None = None
    note: str = ""


DAMAGED = "damaged"
_MEMORY = ":memory:"
_SCHEMA = f"""
CREATE TABLE runs (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, dataset TEXT NOT NULL, model TEXT NOT NULL, grid TEXT NOT NULL,
    partition TEXT NOT NULL, sites INTEGER NOT NULL, round INTEGER NOT NULL, rounds INTEGER NOT NULL,
    accuracy REAL, loss REAL, created TEXT NOT NULL, started TEXT, finished TEXT, seconds REAL NOT NULL,
    seed INTEGER NOT NULL, pid INTEGER, attempt_started_s REAL, note TEXT NOT NULL,
    stamp TEXT NOT NULL
) STRICT;
PRAGMA user_version = {_VERSION};
"""


class RunIndex:
    """The runs of one home. `notes` tells what the last refresh left out, and why."""

    def __init__(self, home: Path) -> None:
        self.folder = runs_folder(home)
        self.path = self.folder / "index.sqlite"
        self.notes: tuple[str, ...] = ()

    def list(self) -> tuple[RunRow, ...]:
        """All runs, newest first."""
        if not self.folder.is_dir():
            self.notes = ()
            return ()
        with self._database() as path:
            rows = self._rows(path)
        return tuple(_with_live_status(row) for row in rows)

    def row(self, prefix: str) -> RunRow:
        """A run, from its id, the beginning of it if only one run has that, or `latest`.

        Raises:
            NotFoundError: no run, or more than one (they are named).
        """
        rows = self.list()
        matching = (
            rows[:1] if prefix == "latest" else tuple(row for row in rows if prefix and row.id.startswith(prefix))
        )
        matching = tuple(row for row in matching if row.id == prefix) or matching
        if len(matching) == 1:
            return matching[0]
        if matching:
            named = ", ".join(row.id for row in matching[:5])
            raise NotFoundError(f"{len(matching)} runs begin with `{prefix}`", why=named, fix="give more characters")
        raise NotFoundError(
            f"no run `{prefix}` in {self.folder}",
            why=f"the latest is {rows[0].id}" if rows else "there are no runs yet",
            fix="`secure-fl runs list` shows all runs" if rows else "`secure-fl run` makes one",
        )

    def find(self, prefix: str) -> Path:
        """The folder of a run; takes and raises what `row` does."""
        return self.folder / self.row(prefix).id

    def delete(self, id: str) -> None:
        """Remove a run's folder with all that is in it; from the list it vanishes at once.

        Raises:
            NotFoundError: there is no such run.
            SecureFLError: it is running, or its folder may not be written.
        """
        row = self.row(id)
        folder, grave = self.folder / row.id, self.folder / f".deleted-{row.id}"
        if row.status == RunStatus.RUNNING:
            raise SecureFLError(
                f"run {row.id} is running",
                why="deleting its record would take away what it writes to",
                fix=f"`secure-fl runs stop {row.id}`, and wait for the round to finish",
            )
        with RunRecord(folder, folder.name).driving(), writing(folder):
            os.rename(folder, grave)
            flush_folder(self.folder)
        with writing(grave):
            shutil.rmtree(grave)

    def _rows(self, path: str) -> tuple[RunRow, ...]:
        """From the index, from one made anew, or, if somebody takes even that away, from memory."""
        try:
            return self._refreshed(path)
        except sqlite3.DatabaseError:
            try:
                return self._refreshed(_emptied(path))
            except sqlite3.DatabaseError:
                return self._refreshed(_MEMORY)

    def _refreshed(self, path: str) -> tuple[RunRow, ...]:
        with closing(sqlite3.connect(path)) as database, database:
            self.notes = _refresh(database, self.folder)
            found = database.execute("SELECT * FROM runs ORDER BY created DESC, id DESC").fetchall()
        return tuple(RunRow(*row[:-1]) for row in found)

    @contextmanager
    def _database(self) -> Iterator[str]:
        """The path of the database under our lock, or `:memory:` where nothing may be written."""
        try:
            handle = os.open(self.folder / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError:
            yield _MEMORY
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield str(self.path)
        finally:
            os.close(handle)


def _emptied(path: str) -> str:
    """Drop a database that cannot be used; in memory, if even that is refused."""
    try:
        for name in (path, f"{path}-journal"):
            Path(name).unlink(missing_ok=True)
    except OSError:
        return _MEMORY
    return path


def _refresh(database: sqlite3.Connection, folder: Path) -> tuple[str, ...]:
    """Make the table agree with the folders; the notes say which folders are no runs."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        database.executescript(f"DROP TABLE IF EXISTS runs; {_SCHEMA}")
    known = dict(database.execute("SELECT id, stamp FROM runs").fetchall())
    found, notes = set(), []
    for each in sorted(folder.iterdir()):
        if each.name.startswith(".") or each.is_file():
            continue
        stamp = _stamp(each)
        if stamp is None:
            notes.append(f"{each.name} is not a run record; it is left alone")
            continue
        if known.get(each.name) != stamp:
            try:
                values = (*astuple(_row(each)), stamp)
            except NotFoundError:  # deleted since we looked
                continue
            database.execute("INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", values)
        found.add(each.name)
    database.executemany("DELETE FROM runs WHERE id = ?", [(id,) for id in known.keys() - found])
    return tuple(notes)


def _stamp(folder: Path) -> str | None:
    """What changes whenever the record does; None for a folder that is no record (or a link to one)."""
    if not _ID.fullmatch(folder.name) or folder.is_symlink():
        return None
    try:
        found = [(folder / name).stat() for name in ("events.jsonl", "config.json")]
    except OSError:
        return None
    return " ".join(f"{each.st_ino}.{each.st_size}.{each.st_mtime_ns}" for each in found)


def _row(folder: Path) -> RunRow:
    """One odd record must not hide the others: whatever is wrong with it stands in its row."""
    try:
        return _row_of(RunRecord.open(folder))
    except (IntegrityError, ConfigError, ValueError, TypeError, KeyError) as error:
        born = datetime.strptime(folder.name[:15], "%Y%m%d-%H%M%S").isoformat(timespec="milliseconds") + "Z"
        return RunRow(
            folder.name, DAMAGED, "", "", "", "", 0, 0, 0, None, None, born, None, None, 0.0, 0, note=str(error)
        )


def _row_of(record: RunRecord) -> RunRow:
    if record.id != record.folder.name:
        raise IntegrityError(f"{record.folder} holds the record of {record.id}")
    config, summary = record.config, record.summary()
    last = summary.last
    return RunRow(
        id=record.id,
        status=summary.recorded_status.value,
        dataset=config.dataset,
        model=config.model,
        grid=str(summary.start.get("grid") or config.grid),
        partition=config.partition,
        sites=config.sites,
        round=last.round if last else 0,
        rounds=config.rounds,
        accuracy=last.accuracy if last else None,
        loss=last.loss if last else None,
        created=summary.created or "",
        started=summary.started,
        finished=summary.finished,
        seconds=summary.active_s,
        seed=config.seed,
        pid=summary.pid,
        attempt_started_s=summary.attempt_started_s,
    )


def _with_live_status(row: RunRow) -> RunRow:
    if row.status != RunStatus.RUNNING or is_alive(row.pid, row.attempt_started_s):
        return row
    return replace(row, status=RunStatus.INTERRUPTED.value)
