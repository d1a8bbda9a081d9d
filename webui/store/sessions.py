"""Sessions live here and can be ended here; the browser holds a random number and nothing else.

A session is `full`, or at a step of the login: a one-time password to be replaced, a second factor to be set up or
shown. Each step that succeeds starts a session anew under a new number, so one that was planted before the login
(session fixation) opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from webui.store.db import Database

__all__ = ["Session", "Sessions", "Stage"]

# A page is read more often than its time matters; so reading seldom writes.
_TOUCH_S = 60.0


class Stage(StrEnum):
    """How far a login has come."""

    PASSWORD = "password"  # noqa: S105  a one-time password was right; it has to be replaced
    ENROL = "enrol"  # a second factor has to be set up
    TOTP = "totp"  # a second factor has to be shown
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Session:
    """One browser of one user. `number` is how people name it, and opens nothing."""

    number: str
    user_id: str
    stage: Stage
    enrolling: str | None
    created_s: float
    seen_s: float
    address: str
    agent: str


class Sessions:
    """All sessions that have not ended. Idle for `idle_s`, or `longest_s` old: gone."""

    def __init__(self, database: Database, clock: Callable[[], float], *, idle_s: float, longest_s: float) -> None:
        self._database, self._clock = database, clock
        self._idle_s, self._longest_s = idle_s, longest_s

    def start(self, user_id: str, stage: Stage, *, address: str, agent: str, enrolling: str | None = None) -> str:
        """A new session; returns the id for the cookie, which is stored nowhere.

        `enrolling` is a TOTP secret that no code has confirmed yet.
        """
        id, now = secrets.token_urlsafe(32), self._clock()
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM sessions WHERE seen_s < ? OR created_s < ?", (now - self._idle_s, now - self._longest_s)
            )
            connection.execute(
                "INSERT INTO sessions VALUES (?,?,?,?,?,?,?,?,?)",
                (_sha256(id), secrets.token_hex(8), user_id, stage.value, enrolling, now, now, address, agent[:200]),
            )
        return id

    def find(self, id: str) -> Session | None:
        """The session of a cookie, if it has not ended; being used keeps it from ending."""
        now = self._clock()
        row = (
            self._database.reading()
            .execute(
                "SELECT * FROM sessions WHERE id_sha256 = ? AND seen_s >= ? AND created_s >= ?",
                (_sha256(id), now - self._idle_s, now - self._longest_s),
            )
            .fetchone()
        )
        if row is None:
            return None
        if now - row["seen_s"] >= _TOUCH_S:
            with self._database.writing() as connection:
                connection.execute("UPDATE sessions SET seen_s = ? WHERE id_sha256 = ?", (now, row["id_sha256"]))
        return _session(row)

    def of(self, user_id: str) -> list[Session]:
        """The user's sessions, the one last used first."""
        now = self._clock()
        rows = self._database.reading().execute(
            "SELECT * FROM sessions WHERE user_id = ? AND seen_s >= ? AND created_s >= ? ORDER BY seen_s DESC",
            (user_id, now - self._idle_s, now - self._longest_s),
        )
        return [_session(row) for row in rows]

    def end(self, number: str, user_id: str) -> bool:
        """End one session of a user; whether there was one."""
        with self._database.writing() as connection:
            done = connection.execute("DELETE FROM sessions WHERE number = ? AND user_id = ?", (number, user_id))
            return done.rowcount == 1

    def end_others(self, user_id: str, keep: str) -> int:
        """End all sessions of a user but the one numbered `keep`; returns how many."""
        with self._database.writing() as connection:
            done = connection.execute("DELETE FROM sessions WHERE user_id = ? AND number <> ?", (user_id, keep))
            return done.rowcount


def _sha256(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()


def _session(row: sqlite3.Row) -> Session:
    names = ("number", "user_id", "enrolling", "created_s", "seen_s", "address", "agent")
    values = {name: row[name] for name in names}
    return Session(stage=Stage(row["stage"]), **values)
