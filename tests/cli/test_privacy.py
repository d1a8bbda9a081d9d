"""`secure-fl privacy …` as a person and as a program meet it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.privacy.accounting import PrivacyEvent, epsilon
from secure_fl.privacy.ledger import Ledger

PLAN = {"--epsilon": "8", "--delta": "1e-5", "--samples": "500", "--batch-size": "50", "--steps": "20"}
ROUND = PrivacyEvent("poisson-gaussian", 1.0, 0.05, 20)


def plan(**changes: str) -> list[str]:
    flags = {**PLAN, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    return ["privacy", "plan", *(f"{flag}={value}" for flag, value in flags.items())]


def ledger(home: Path, site: str, rounds: int = 2, data: str = "digits:0123456789abcdef", run: str = "run-1") -> Ledger:
    found = Ledger(home / "federation" / "privacy" / f"{site}.jsonl")
    for number in range(rounds):
        found.spend(ROUND, run=run, round=number + 1, unit="sample", data=data)
    return found


# -- plan


def test_a_plan_for_programs(cli: Any) -> None:
    found = cli.data(*plan())
    assert (found["sample_rate"], found["steps"], found["delta"], found["target_epsilon"]) == (0.1, 20, 1e-5, 8.0)
    assert found["epsilon"].keys() == {"prv", "rdp", "pld"}
    assert 7.9 < found["epsilon"]["prv"] <= 8.0
    assert abs(found["epsilon"]["prv"] - found["epsilon"]["pld"]) < 0.02
    assert found["notes"] == {}
    assert found["noise_multiplier"] > 0.3


def test_a_plan_for_several_sites_says_what_each_adds(cli: Any) -> None:
    found = cli.data(*plan(), "--sites=10", "--colluders=3")
    assert found["shares"]["honest"] == 4
    assert found["shares"]["each"] == pytest.approx(found["noise_multiplier"] / 2)
    told = cli(*plan(), "--sites=10", "--colluders=3").stdout
    assert f"each of 10 sites adds σ = {found['shares']['each']:.4f}; 4 honest ones stay" in told


def test_a_plan_for_people_says_what_it_assumes(cli: Any) -> None:
    result = cli(*plan())
    assert result.exit_code == 0
    assert f"noise multiplier σ  {cli.data(*plan())['noise_multiplier']:.4f}" in result.stdout
    assert "0.1  (50 of 500 images)" in result.stdout
    assert all(f"ε by {name}" in result.stdout for name in ("PRV", "RDP", "PLD"))
    assert "unit: one image; adjacency: add or remove it; sampling: Poisson" in result.stdout


def test_a_stand_in_is_said(cli: Any) -> None:
    flags = plan(delta="1e-12", epsilon="20")
    assert "RDP stands in" in cli(*flags).stdout
    assert "RDP stands in" in cli.data(*flags)["notes"]["prv"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": "0"}, "target"),
        ({"epsilon": "-1"}, "target"),
        ({"epsilon": "nan"}, "target"),
        ({"delta": "0.002"}, "δ"),
        ({"delta": "0"}, "δ"),
        ({"delta": "nan"}, "δ"),
        ({"batch_size": "501"}, "batch size"),
        ({"batch_size": "nan"}, "batch size"),
        ({"samples": "0"}, "samples"),
        ({"steps": "0"}, "steps"),
    ],
    ids=str,
)
def test_a_plan_without_meaning_is_refused(cli: Any, change: dict[str, str], words: str) -> None:
    error = cli.error(*plan(**change))
    assert (error["exit_code"], error["error_code"]) == (2, "CONFIG_INVALID")
    assert words in error["message"]
    assert error["hint"]


def test_a_missing_or_misspelt_number_is_wrong_usage(cli: Any) -> None:
    assert cli("privacy", "plan", "--epsilon", "8").exit_code == 2
    assert cli(*plan(steps="many")).exit_code == 2


# -- spent


def test_a_home_where_nothing_is_spent(cli: Any) -> None:
    result = cli("privacy", "spent")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no privacy is spent in federation/privacy; runs with --dp-epsilon spend it\n"
    assert cli.data("privacy", "spent") == {"delta": 1e-5, "spent": []}


def test_what_each_site_has_spent_over_all_runs(cli: Any, home: Path) -> None:
    ledger(home, "site-0")
    ledger(home, "site-0", rounds=1, run="run-2")
    ledger(home, "site-1", data="other")
    first, second = cli.data("privacy", "spent")["spent"]
    assert first == {
        "site": "site-0",
        "data": "digits:0123456789abcdef",
        "units": ["sample"],
        "events": 3,
        "steps": 60,
        "epsilon": {name: epsilon([ROUND] * 3, 1e-5, name).value for name in ("prv", "rdp")},
        "notes": {},
        "runs": ["run-1", "run-2"],
        "test_rng": False,
    }
    assert (second["site"], second["data"], second["steps"]) == ("site-1", "other", 40)
    stricter = cli.data("privacy", "spent", "--delta", "1e-6")
    assert stricter["delta"] == 1e-6
    assert stricter["spent"][0]["epsilon"]["prv"] > first["epsilon"]["prv"]


def test_a_table_for_people(cli: Any, home: Path) -> None:
    ledger(home, "site-0")
    ledger(home, "site-0", data="second", run="run-2")
    lines = cli("privacy", "spent").stdout.splitlines()
    cost = [f"{epsilon([ROUND] * 2, 1e-5, name).value:.3f}" for name in ("prv", "rdp")]
    assert lines[0].split() == ["site", "data", "unit", "events", "steps", "ε", "(PRV)", "ε", "(RDP)", "runs"]
    assert lines[1].split() == ["site-0", "0123456789ab", "sample", "2", "40", *cost, "run-1"]
    assert lines[2].split() == ["site-0", "second", "sample", "2", "40", *cost, "run-2"]
    assert "at δ = 1e-05" in lines[4]


def test_noise_that_came_from_a_seed_is_told(cli: Any, home: Path) -> None:
    ledger(home, "site-0")
    assert "not private" not in cli("privacy", "spent").stdout
    found = ledger(home, "site-1", rounds=1)
    found.spend(ROUND, run="run-9", round=1, unit="sample", data="digits:0123456789abcdef", test_rng=True)
    assert [row["test_rng"] for row in cli.data("privacy", "spent")["spent"]] == [False, True]
    assert "site-1: not private: some noise came from a seed" in cli("privacy", "spent").stdout


def test_one_site(cli: Any, home: Path) -> None:
    ledger(home, "site-0")
    ledger(home, "site-1")
    assert [row["site"] for row in cli.data("privacy", "spent", "--site", "site-1")["spent"]] == ["site-1"]
    error = cli.error("privacy", "spent", "--site", "site-9")
    assert (error["exit_code"], error["error_code"]) == (4, "NOT_FOUND")
    assert "site-0, site-1" in error["why"]
    assert cli.error("privacy", "spent", "--site", "../privacy/site-0")["exit_code"] == 4


def test_a_damaged_ledger_is_an_error_that_names_the_line(cli: Any, home: Path) -> None:
    path = ledger(home, "site-0").path
    path.write_bytes(path.read_bytes().replace(b'"steps":20', b'"steps":1', 1))
    error = cli.error("privacy", "spent")
    assert (error["exit_code"], error["error_code"]) == (1, "INTEGRITY_BROKEN")
    assert "site-0.jsonl: line 1" in error["message"]


def test_a_data_name_cannot_steer_the_terminal(cli: Any, home: Path) -> None:
    ledger(home, "site-0", data="\x1b[2J[bold]x")
    assert "\x1b" not in cli("privacy", "spent").stdout


@pytest.mark.parametrize("delta", ["0", "1", "nan", "-1"])
def test_a_delta_without_meaning_is_refused(cli: Any, delta: str) -> None:
    assert cli.error("privacy", "spent", f"--delta={delta}")["exit_code"] == 2
