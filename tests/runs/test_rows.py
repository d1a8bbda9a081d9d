from __future__ import annotations

from secure_fl.runs import RoundRow, RunStatus, RunSummary
from secure_fl.runs.events import ENDINGS
from secure_fl.runs.rows import natural


def test_names_are_sorted_as_people_count() -> None:
    names = ["b", "site-10", "site-2", "a", "site-2b", "7", "site"]
    assert sorted(names, key=natural) == ["7", "a", "b", "site", "site-2", "site-2b", "site-10"]


def test_every_ending_is_a_status() -> None:
    assert set(ENDINGS) <= set(RunStatus)


def test_the_last_round_of_a_run_without_rounds_is_none() -> None:
    assert RunSummary().last is None
    assert RunSummary(rounds=(RoundRow(0), RoundRow(1))).last == RoundRow(1)
