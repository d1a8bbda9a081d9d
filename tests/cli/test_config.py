"""`secure-fl config show`: what `run` would use with the same flags, and why."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.config import GROUPS, RunConfig, key_of, setting_fields


def test_every_setting_is_shown_with_value_unit_and_origin(cli: Any) -> None:
    rows = cli.data("config", "show")["settings"]
    assert [row["key"] for row in rows] == [key_of(each.name) for each in setting_fields()]
    assert {row["key"]: row["value"] for row in rows} == RunConfig().to_mapping()
    assert {row["origin"] for row in rows} == {"default"}
    assert {row["group"] for row in rows} == set(GROUPS)
    (timeout,) = (row for row in rows if row["key"] == "round-timeout-s")
    assert timeout["unit"] == "s"


def test_origins_tell_who_decided(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFL_ALPHA", "3")
    data = cli.data("config", "show", "--preset", "smoke", "-c", "momentum=0.5", "--lr", "0.3")
    changed = {row["key"]: (row["value"], row["origin"]) for row in data["settings"] if row["origin"] != "default"}
    assert changed["alpha"] == (3.0, "SFL_ALPHA")
    assert changed["momentum"] == (0.5, "-c")
    assert changed["lr"] == (0.3, "flag")
    assert changed["rounds"] == (2, "preset smoke")


def test_the_digest_is_that_of_the_config(cli: Any) -> None:
    assert cli.data("config", "show", "--seed", "4")["digest"] == RunConfig(seed=4).digest()


def test_the_table_has_a_column_of_origins_only_on_request(cli: Any) -> None:
    plain, told = cli("config", "show", "--lr", "0.3").stdout, cli("config", "show", "--lr", "0.3", "--origin").stdout
    assert "origin" not in plain.splitlines()[0]
    assert "origin" in told.splitlines()[0]
    (line,) = (line for line in told.splitlines() if line.startswith("  lr "))
    assert line.split()[:3] == ["lr", "0.3", "flag"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(width: int, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = cli("config", "show", "--origin", "--preset", "demo").stdout.splitlines()
    assert max(map(len, lines)) <= width


def test_values_of_users_are_not_taken_for_markup(cli: Any) -> None:
    assert "[red]x[/red]" in cli("config", "show", "--data-dir", "[red]x[/red]").stdout


def test_an_unknown_key_is_refused_with_the_nearest(cli: Any) -> None:
    error = cli.error("config", "show", "-c", "local-epoch=3")
    assert (error["exit_code"], error["error_code"]) == (2, "CONFIG_INVALID")
    assert "`local-epochs`" in error["hint"]
