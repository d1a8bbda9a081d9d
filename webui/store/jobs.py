"""The queue: what people asked for, in the order in which they did, and how it went.

The pages submit and cancel; the worker claims, reports and finishes. Every step is one transaction that names the
state it starts from, so whoever dies or races, each job is in exactly one state and no step happens twice.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from secure_fl.errors import ConfigError, NotFoundError
from secure_fl.runs.liveness import is_alive
from webui.store.db import Database
from webui.store.users import User

__all__ = ["HEARTBEAT_LIMIT_S", "Job", "JobState", "Jobs", "Worker"]

# A worker that has been silent for so long is gone, and what it left running is judged by its process alone.
HEARTBEAT_LIMIT_S = 5.0


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # its process ended without a verdict, or saved and stopped
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it stays so."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """One order and its fate. Times are seconds since 1970."""

    seq: int
    id: str
    kind: str
    request: Mapping[str, Any]
    title: str
    owner_id: str
    owner: str
    state: JobState
    cancel_s: float | None
    created_s: float
    started_s: float | None
    finished_s: float | None
    pid: int | None
    pid_born_s: float | None
    exit_code: int | None
    message: str
    run_id: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that runs jobs; `alive` is whether it was heard of in the last seconds."""

    pid: int
    started_s: float
    heartbeat_s: float
    alive: bool


class Jobs:
    """All jobs, of all times."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    # -- what pages call

    def submit(self, owner: User, kind: str, title: str, request: Mapping[str, Any], *, key: str | None = None) -> Job:
        """Queue an order. The same `key` of the same owner again gives the first job, and queues nothing.

        Raises:
            ConfigError: the key was used for another order.
        """
        text, id = json.dumps(request, sort_keys=True), str(uuid.uuid4())
        with self._database.writing() as connection:
            known = connection.execute(
                "SELECT * FROM jobs WHERE owner_id = ? AND idempotency_key = ?", (owner.id, key)
            ).fetchone()
            if known is None:
                connection.execute(
                    "INSERT INTO jobs (id, kind, request, title, owner_id, owner, idempotency_key, state, created_s)"
                    " VALUES (?,?,?,?,?,?,?,'queued',?)",
                    (id, kind, text, title, owner.id, owner.name, key, self._clock()),
                )
        if known is None:
            return self.get(id)
        if (known["kind"], known["request"]) != (kind, text):
            raise ConfigError("this Idempotency-Key was used for another order", fix="take a fresh one")
        return _job(known)

    def get(self, id: str) -> Job:
        """One job as it is now; raises NotFoundError."""
        row = self._database.reading().execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NotFoundError("no such job")
        return self._live(_job(row))

    def latest(self, *, before: int | None = None, limit: int = 50) -> list[Job]:
        """Newest first; `before` is the last seq of the page before."""
        rows = self._database.reading().execute(
            "SELECT * FROM jobs WHERE seq < ? ORDER BY seq DESC LIMIT ?", (before or 2**62, limit)
        )
        return [self._live(_job(row)) for row in rows]

    def unfinished(self) -> list[Job]:
        """What runs and what waits, the oldest first."""
        rows = self._database.reading().execute(
            "SELECT * FROM jobs WHERE state IN ('running', 'queued') ORDER BY state DESC, seq"
        )
        return [self._live(_job(row)) for row in rows]

    def of_run(self, run_id: str) -> Job | None:
        """The last job that wrote the record of `run_id`."""
        row = (
            self._database.reading()
            .execute("SELECT * FROM jobs WHERE run_id = ? ORDER BY seq DESC LIMIT 1", (run_id,))
            .fetchone()
        )
        return row and self._live(_job(row))

    def signature(self) -> object:
        """A value that differs whenever something about jobs or the worker has changed that a page shows."""
        row = self._database.reading().execute("SELECT count(*), sum(version) FROM jobs").fetchone()
        worker = self.worker()
        return tuple(row), worker is not None and worker.alive

    def cancel(self, id: str) -> Job:
        """End a job: at once if it waits, after its round if it runs; finished ones stay as they are."""
        now = self._clock()
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished_s = ?, message = 'taken out of the queue',"
                " version = version + 1 WHERE id = ? AND state = 'queued'",
                (now, id),
            )
            connection.execute(
                "UPDATE jobs SET cancel_s = ?, version = version + 1"
                " WHERE id = ? AND state = 'running' AND cancel_s IS NULL",
                (now, id),
            )
        return self.get(id)

    def worker(self) -> Worker | None:
        """Who runs jobs, or did last."""
        row = self._database.reading().execute("SELECT * FROM workers").fetchone()
        if row is None:
            return None
        alive = self._clock() - row["heartbeat_s"] <= HEARTBEAT_LIMIT_S
        return Worker(row["pid"], row["started_s"], row["heartbeat_s"], alive)

    # -- what the worker calls

    def beat(self, pid: int, started_s: float) -> None:
        """The worker lives."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO workers VALUES (1, ?, ?, ?)", (pid, started_s, self._clock()))

    def claim(self, kinds: Iterable[str]) -> Job | None:
        """Take the oldest waiting job of one of `kinds`; it counts as running from here on."""
        wanted = json.dumps(sorted(kinds))
        with self._database.writing() as connection:
            row = connection.execute(
                "UPDATE jobs SET state = 'running', started_s = ?, version = version + 1 WHERE seq ="
                " (SELECT seq FROM jobs WHERE state = 'queued' AND kind IN (SELECT value FROM json_each(?))"
                " ORDER BY seq LIMIT 1) RETURNING *",
                (self._clock(), wanted),
            ).fetchone()
        return row and _job(row)

    def running(self) -> list[Job]:
        """What the table says is running, whether or not its process still lives."""
        rows = self._database.reading().execute("SELECT * FROM jobs WHERE state = 'running' ORDER BY seq")
        return [_job(row) for row in rows]

    def has_process(self, id: str, pid: int, born_s: float) -> None:
        """The job's process exists."""
        self._change("pid = ?, pid_born_s = ?", id, pid, born_s)

    def writes(self, id: str, run_id: str) -> None:
        """The job writes the record of this run."""
        self._change("run_id = ?", id, run_id)

    def requeue(self, id: str) -> None:
        """Back to the queue: nothing of it had been started."""
        self._change("state = 'queued', started_s = NULL", id)

    def finish(self, id: str, state: JobState, exit_code: int | None, message: str) -> None:
        """How it ended; only the first verdict counts."""
        self._change(
            "state = ?, exit_code = ?, message = ?, finished_s = ?", id, state.value, exit_code, message, self._clock()
        )

    def _change(self, assignments: str, id: str, *values: object) -> None:
        with self._database.writing() as connection:
            connection.execute(
                f"UPDATE jobs SET {assignments}, version = version + 1 WHERE id = ? AND state = 'running'",  # noqa: S608  our own texts
                (*values, id),
            )

    def _live(self, job: Job) -> Job:
        """Where no worker is there to say so, a job whose process is gone is interrupted all the same."""
        if job.state is not JobState.RUNNING or job.pid is None or is_alive(job.pid, job.pid_born_s):
            return job
        worker = self.worker()
        if worker is not None and worker.alive:
            return job  # which is about to read how it ended
        return replace(job, state=JobState.INTERRUPTED, message="its process is gone, and no worker is there")


def _job(row: sqlite3.Row) -> Job:
    values = {key: row[key] for key in row.keys() if key not in ("request", "state", "idempotency_key")}  # noqa: SIM118
    return Job(request=json.loads(row["request"]), state=JobState(row["state"]), **values)
