"""The commands that an admin types at the machine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.__main__ import main
from webui.services import open_services
from webui.settings import Settings
from webui.store.users import Role


def test_the_first_admin_is_made_with_a_password_for_one_login(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create-admin", "anna", f"--home={home}"]) == 0
    told = capsys.readouterr().out
    services = open_services(Settings(home=home))
    known = services.users.credentials("anna")
    assert known is not None and known.user.role is Role.ADMIN and known.user.must_change
    password = told.split("password")[1].split()[0]
    assert services.passwords.matches(known.password_hash, password)
    assert services.actions.latest()[0].action == "user created"
    assert main(["create-admin", "anna", f"--home={home}"]) == 2
    assert "already" in capsys.readouterr().err


def test_the_log_is_checked_from_the_command_line_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    services = open_services(Settings(home=home))
    services.actions.add("did", "ok")
    assert main(["verify-log", f"--home={home}"]) == 0
    assert services.actions.verify().head in capsys.readouterr().out
    with services.database.writing() as connection:
        connection.execute("UPDATE actions SET outcome = 'failed'")
    assert main(["verify-log", f"--home={home}"]) == 1
    assert "row 1 was altered" in capsys.readouterr().err


def test_a_key_is_rotated_and_the_one_before_it_stays(home: Path) -> None:
    before = Settings(home=home).secret_keys()
    assert main(["rotate-key", f"--home={home}"]) == 0
    after = Settings(home=home).secret_keys()
    assert len(after) == 2 and after[1] == before[0] and after[0] != before[0]
