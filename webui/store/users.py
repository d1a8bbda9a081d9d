"""People, their roles, and what proves who they are. Secrets leave this file only through `Credentials`.

Changes name the version that their author saw; when somebody else was faster, `StaleError` says so and nothing is lost.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from secure_fl.errors import ConfigError, NotFoundError, SecureFLError
from webui.store.db import Database

__all__ = ["THEMES", "Credentials", "Role", "StaleError", "User", "Users"]

THEMES = ("auto", "light", "dark")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,31}")
_SELECT = """SELECT id, name, role, must_change, totp_secret IS NOT NULL AS totp, disabled, theme, created_s, version,
    password_hash, totp_secret, totp_step FROM users"""


class Role(StrEnum):
    """What somebody may do; `webui.auth.guard` says what that is."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class StaleError(SecureFLError):
    """Somebody else changed the same thing first."""

    code = "CHANGED_MEANWHILE"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account, without anything secret."""

    id: str
    name: str
    role: Role
    must_change: bool
    totp: bool
    disabled: bool
    theme: str
    created_s: float
    version: int

    @property
    def needs_totp(self) -> bool:
        """Whoever can change or judge what others do proves more than a password."""
        return self.role in (Role.ADMIN, Role.AUDITOR)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What proves who somebody is. No repr, so that no log can hold it by accident."""

    user: User
    password_hash: str
    totp_secret: str | None


class Users:
    """The accounts."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def all(self) -> list[User]:
        """Everybody, by name."""
        rows = self._database.reading().execute(_SELECT + " ORDER BY name COLLATE NOCASE")
        return [_user(row) for row in rows]

    def get(self, id: str) -> User:
        """One user; raises NotFoundError."""
        row = self._database.reading().execute(_SELECT + " WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NotFoundError("no such user")
        return _user(row)

    def credentials(self, name: str) -> Credentials | None:
        """By name, upper and lower case alike; None for a stranger."""
        row = self._database.reading().execute(_SELECT + " WHERE name = ?", (name,)).fetchone()
        return row and Credentials(_user(row), row["password_hash"], row["totp_secret"])

    def add(self, name: str, role: Role, password_hash: str) -> User:
        """A new user, who must change the password at the first login.

        Raises:
            ConfigError: the name is malformed or taken.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name[:40]!r} cannot be a user's name",
                fix="2 to 32 letters, digits, dots, dashes and underscores, the first one a letter",
            )
        id = str(uuid.uuid4())
        try:
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT INTO users (id, name, role, password_hash, must_change, created_s) VALUES (?,?,?,?,1,?)",
                    (id, name, role.value, password_hash, self._clock()),
                )
        except sqlite3.IntegrityError:
            raise ConfigError(f"there is a user {name} already", fix="choose another name") from None
        return self.get(id)

    def set_role(self, id: str, role: Role, version: int) -> None:
        """Takes effect with the user's next request; sessions end that lack what the new role has to prove.

        Raises:
            NotFoundError, StaleError; ConfigError: this is the last admin.
        """
        with self._changing(id, version) as connection:
            if role is not Role.ADMIN:
                _refuse_last_admin(connection, id)
            connection.execute("UPDATE users SET role = ? WHERE id = ?", (role.value, id))
            if role in (Role.ADMIN, Role.AUDITOR):
                connection.execute(
                    "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE id = ? AND totp_secret IS NULL)",
                    (id,),
                )

    def disable(self, id: str, version: int) -> None:
        """Ends all sessions of the user at once; raises what `set_role` does."""
        with self._changing(id, version) as connection:
            _refuse_last_admin(connection, id)
            connection.execute("UPDATE users SET disabled = 1 WHERE id = ?", (id,))
            connection.execute("DELETE FROM sessions WHERE user_id = ?", (id,))

    def enable(self, id: str, version: int) -> None:
        """Take `disable` back."""
        with self._changing(id, version) as connection:
            connection.execute("UPDATE users SET disabled = 0 WHERE id = ?", (id,))

    def reset(self, id: str, password_hash: str, version: int) -> None:
        """A one-time password, no second factor, no session: for who has lost what proves them."""
        with self._changing(id, version) as connection:
            connection.execute(
                "UPDATE users SET password_hash = ?, must_change = 1, totp_secret = NULL WHERE id = ?",
                (password_hash, id),
            )
            connection.execute("DELETE FROM sessions WHERE user_id = ?", (id,))

    def set_password(self, id: str, password_hash: str) -> None:
        """The user's own choice."""
        self._update("UPDATE users SET password_hash = ?, must_change = 0 WHERE id = ?", password_hash, id)

    def rehash(self, id: str, password_hash: str) -> None:
        """The same password under today's parameters."""
        self._update("UPDATE users SET password_hash = ? WHERE id = ?", password_hash, id)

    def set_totp(self, id: str, secret: str, step: int) -> None:
        """A second factor whose first code, of time step `step`, was right."""
        self._update("UPDATE users SET totp_secret = ?, totp_step = ? WHERE id = ?", secret, step, id)

    def use_totp_step(self, id: str, step: int) -> bool:
        """Whether `step` is newer than any used before; it is used then. Of two at once, one succeeds."""
        with self._database.writing() as connection:
            done = connection.execute("UPDATE users SET totp_step = ? WHERE id = ? AND totp_step < ?", (step, id, step))
            return done.rowcount == 1

    def set_theme(self, id: str, theme: str) -> None:
        """`auto`, `light` or `dark`; raises ConfigError for anything else."""
        if theme not in THEMES:
            raise ConfigError(f"theme {theme[:20]!r}", fix=f"choose one of {', '.join(THEMES)}")
        self._update("UPDATE users SET theme = ? WHERE id = ?", theme, id)

    def _update(self, statement: str, *values: object) -> None:
        with self._database.writing() as connection:
            connection.execute(statement, values)

    @contextmanager
    def _changing(self, id: str, version: int) -> Iterator[sqlite3.Connection]:
        with self._database.writing() as connection:
            row = connection.execute("SELECT version FROM users WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise NotFoundError("no such user")
            if row["version"] != version:
                raise StaleError(
                    "somebody else changed this user meanwhile", fix="look at what it is now, and decide again"
                )
            connection.execute("UPDATE users SET version = version + 1 WHERE id = ?", (id,))
            yield connection


def _user(row: sqlite3.Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        must_change=bool(row["must_change"]),
        totp=bool(row["totp"]),
        disabled=bool(row["disabled"]),
        theme=row["theme"],
        created_s=row["created_s"],
        version=row["version"],
    )


def _refuse_last_admin(connection: sqlite3.Connection, id: str) -> None:
    """Nobody could appoint another one."""
    others = connection.execute(
        "SELECT count(*) FROM users WHERE role = 'admin' AND disabled = 0 AND id <> ?", (id,)
    ).fetchone()[0]
    (role,) = connection.execute("SELECT role FROM users WHERE id = ?", (id,)).fetchone()
    if role == Role.ADMIN and not others:
        raise ConfigError("this is the last admin", fix="make somebody else an admin first")
