"""SQLite, one file: write-ahead log, strict tables, numbered migrations.

Readers never wait for the writer, and the writer never for readers; two writers wait for each other (5 s). Every
change is one `BEGIN IMMEDIATE` transaction, so what a block has read cannot change before it writes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from secure_fl.errors import IntegrityError

__all__ = ["Database"]


class Database:
    """A connection for each thread and process, opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._migrate()

    def reading(self) -> sqlite3.Connection:
        """For a single SELECT; a consistent view over several takes `writing`."""
        return self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block or nothing of it. Not to be nested."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        here = (os.getpid(), getattr(self._local, "connection", None))
        if here[1] is None or self._local.pid != here[0]:  # a connection must not cross a fork
            self._local.pid, self._local.connection = here[0], _open(self.path)
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _migrate(self) -> None:
        folder = resources.files("webui.store") / "migrations"
        scripts = sorted(
            (each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda script: script.name
        )
        with self.writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(scripts):
                raise IntegrityError(f"{self.path} was written by a newer version", fix="update this program")
            for number, script in enumerate(scripts[version:], version + 1):
                for statement in _statements(script.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")


def _open(path: Path) -> sqlite3.Connection:
    before = os.umask(0o077)
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    finally:
        os.umask(before)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit the transaction that we are in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
