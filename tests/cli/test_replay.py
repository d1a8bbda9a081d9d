"""`secure-fl replay …` as a person and as a program meet it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab.library import bundled_names

FAST = ("-c", "rounds=2", "-c", "samples=300", "-c", "model=softmax")


def test_the_list_shows_every_scenario_and_what_it_teaches(cli: Any) -> None:
    rows = cli.data("replay", "--list")["scenarios"]
    assert [row["name"] for row in rows] == bundled_names()
    result = cli("replay", "--list")
    assert all(name in result.stdout for name in bundled_names())


def test_defenses_are_compared_on_one_scenario(cli: Any) -> None:
    found = cli.data("replay", "one-nan", "--defense", "mean", "--defense", "unguarded_mean", *FAST)
    mean, unguarded = found["results"]
    assert (found["scenario"], found["grid"], found["loop"]) == ("one-nan", "local", "closed")
    assert found["manifest"]["rounds"] == 2
    assert (mean["defense"], unguarded["defense"]) == ("mean", "unguarded_mean")
    assert mean["accuracy"] > 0.5 > unguarded["accuracy"]
    assert (mean["kept_attackers"], unguarded["kept_attackers"]) == (0.0, 1.0)
    assert len(mean["metrics_sha256"]) == 64


def test_a_person_sees_a_table_and_the_lesson(cli: Any) -> None:
    result = cli("replay", "one-nan", *FAST)
    assert result.exit_code == 0
    assert "attackers let in" in result.stdout and "unguarded_mean" in result.stdout
    assert "One NaN in one update" in result.stdout
    assert "unguarded_mean  round 2/2" in result.stderr


def test_open_loop_records_once_and_asks_every_defense(cli: Any, home: Path) -> None:
    arguments = ("replay", "model-replacement", "--open-loop", "--defense", "mean", "--defense", "multi_krum", *FAST)
    mean, robust = cli.data(*arguments)["results"]
    assert mean["deviation"] > robust["deviation"]
    assert len(list((home / "lab" / "records").glob("*/record.json"))) == 1
    assert cli.data(*arguments)["results"] == [mean, robust]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("replay", "nowhere"), "no scenario"),
        (("replay", "one-nan", "--defense", "nonsense"), "nonsense"),
        (("replay", "one-nan", "-c", "roundz=2"), "roundz"),
        (("replay", "one-nan", "--open-loop", "--grid", "deployment"), "open-loop"),
        (("replay", "one-nan", "--grid", "deployment"), "`model` is mlp, which real runs do not have"),
    ],
)
def test_what_cannot_be_is_refused(cli: Any, arguments: tuple[str, ...], words: str) -> None:
    assert words in cli.error(*arguments)["message"]


def test_a_scenario_has_to_be_given(cli: Any) -> None:
    assert cli("replay").exit_code == 2
