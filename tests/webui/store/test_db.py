"""One file, many threads and processes: nothing half-written, nothing lost."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from secure_fl.errors import IntegrityError
from webui.store.db import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "webui.sqlite")


def test_it_is_for_its_owner_only_and_keeps_a_write_ahead_log(database: Database) -> None:
    assert database.path.stat().st_mode & 0o777 == 0o600
    assert database.reading().execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert database.reading().execute("PRAGMA foreign_keys").fetchone()[0] == 1
    tables = database.reading().execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    assert all(row["strict"] for row in tables if not row["name"].startswith("sqlite_"))


def test_a_block_that_fails_changes_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        connection.execute("INSERT INTO workers VALUES (1, 1, 1.0, 1.0)")
        raise ZeroDivisionError
    assert database.reading().execute("SELECT count(*) FROM workers").fetchone()[0] == 0


def test_what_a_block_has_read_does_not_change_before_it_writes(database: Database) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO workers VALUES (1, 0, 0.0, 0.0)")

    def count() -> None:
        for _ in range(50):
            with database.writing() as connection:
                (pid,) = connection.execute("SELECT pid FROM workers").fetchone()
                connection.execute("UPDATE workers SET pid = ?", (pid + 1,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert database.reading().execute("SELECT pid FROM workers").fetchone()[0] == 200


def test_opening_again_keeps_everything_and_migrates_nothing_twice(database: Database) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO workers VALUES (1, 7, 1.0, 1.0)")
    again = Database(database.path)
    assert again.reading().execute("SELECT pid FROM workers").fetchone()[0] == 7


def test_a_file_of_a_newer_version_is_left_alone(database: Database) -> None:
    raw = sqlite3.connect(database.path)
    raw.execute("PRAGMA user_version = 999")
    raw.commit()
    with pytest.raises(IntegrityError, match="newer version"):
        Database(database.path)


def test_who_proposed_a_model_cannot_approve_it_not_even_in_sql(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO users (id, name, role, password_hash, must_change, created_s)"
            " VALUES ('u', 'u', 'operator', '', 0, 0)"
        )
        values = "('p', 'run', 'sha', 'approved', 'u', 0, 'u', 0, 1)"
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            connection.execute(f"INSERT INTO promotions VALUES {values}")  # noqa: S608
