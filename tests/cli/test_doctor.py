"""`secure-fl doctor`: one line a check, a fix for what is wrong, and an exit code that a script can use."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from secure_fl.cli.doctor import examine

NAMES = ["python", "packages", "pytorch", "processor", "memory", "shared memory", "port", "disk", "certificates"]


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import of PyTorch is tried elsewhere (test_installation)."""
    monkeypatch.setattr("secure_fl.cli.doctor.IMPORT_LIMIT_S", 0.0)


def test_all_checks_are_made_in_reading_order(home: Path) -> None:
    assert [each.name for each in examine(home, import_limit_s=0.0)] == [*NAMES, "runs"]


def test_a_fit_machine_is_exit_code_0_with_a_line_a_check(cli: Any) -> None:
    data = cli.data("doctor")
    assert data["fail"] == 0
    assert data["ok"] + data["warn"] == len(data["checks"])
    assert set(data["checks"][0]) == {"name", "level", "found", "fix"}
    lines = cli("doctor").stdout.splitlines()
    for name in NAMES:
        assert any(f" {name} " in f" {line} " for line in lines)


def test_a_failed_check_is_exit_code_1_and_its_fix_is_told(cli: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        result = cli("doctor", "--port", number)
        envelope = cli.error("doctor", "--port", number)
    assert result.exit_code == 1
    assert "fail  port" in result.stdout.replace("   ", "  ")
    assert "-c port=NUMBER" in result.stdout
    assert result.stderr.splitlines()[0] == "error: 1 of 10 checks failed"
    assert (envelope["error_code"], envelope["data"]["fail"]) == ("CHECK_FAILED", 1)


def test_nothing_is_written(cli: Any, home: Path) -> None:
    cli("doctor")
    assert list(home.iterdir()) == []
