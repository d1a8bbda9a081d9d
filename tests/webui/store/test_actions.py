"""The action log: whatever is done to it behind its back shows."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webui.services import Services
from webui.store.actions import Actions


@pytest.fixture
def log(services: Services) -> Actions:
    for number in range(6):
        services.actions.add("did", "ok", object=f"thing {number}", user_name="anna", role="admin")
    return services.actions


def test_a_log_that_nobody_touched_holds(log: Actions) -> None:
    found = log.verify()
    assert (found.ok, found.rows, found.fault) == (True, 6, "")
    assert found.head == log.latest(limit=1)[0].hash


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("UPDATE actions SET object = 'thing 9' WHERE seq = 3", "row 3 was altered"),
        ("UPDATE actions SET time_s = time_s + 1 WHERE seq = 1", "row 1 was altered"),
        ("DELETE FROM actions WHERE seq = 3", "row 3 does not follow"),
        ("DELETE FROM actions WHERE seq = 1", "row 1 does not follow"),
        ("DELETE FROM actions WHERE seq > 4", "signed head is row 6, the log ends with row 4"),
        ("DELETE FROM actions", "signed head is row 6, the log ends with row 0"),
        ("DELETE FROM action_head", "without a signed head"),
        ("UPDATE action_head SET signature = 'zz'", "not signed with our key"),
        ("UPDATE action_head SET seq = 5, hash = (SELECT hash FROM actions WHERE seq = 5)", "not signed with our key"),
    ],
)
def test_an_edit_a_deletion_and_a_cut_tail_are_found(
    services: Services, log: Actions, tampering: str, fault: str
) -> None:
    with services.database.writing() as connection:
        connection.execute(tampering)
    assert fault in log.verify().fault


def test_rows_that_changed_places_are_found(services: Services, log: Actions) -> None:
    with services.database.writing() as connection:
        for sql in ("SET seq = 99 WHERE seq = 2", "SET seq = 2 WHERE seq = 3", "SET seq = 3 WHERE seq = 99"):
            connection.execute(f"UPDATE actions {sql}")
    assert "row 2" in log.verify().fault


def test_a_chain_that_was_rewritten_without_the_key_is_found(services: Services, log: Actions) -> None:
    stranger = Actions(services.database, services.clock, Ed25519PrivateKey.generate())
    with services.database.writing() as connection:
        connection.execute("DELETE FROM actions WHERE seq > 2")
    stranger.add("did", "ok", object="another thing")
    assert "not signed with our key" in log.verify().fault


def test_a_row_stays_one_line_whatever_is_put_into_it(services: Services) -> None:
    services.actions.add("login", "failed", user_name="anna\r\n7 bea ok \x1b[2J \u202e" + "x" * 999)
    (row,) = services.actions.latest()
    assert row.user_name.isprintable() and row.user_name.startswith("anna\\r\\n7 bea ok \\x1b[2J \\u202e")
    assert len(row.user_name) == 300
    assert services.actions.verify().ok


def test_there_is_no_way_to_change_or_delete_a_row() -> None:
    assert {name for name in dir(Actions) if not name.startswith("_")} == {"add", "latest", "verify"}
