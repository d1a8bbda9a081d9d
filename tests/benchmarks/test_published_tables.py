"""The published tables are judged by the stated rule, and a result is never taken for that of another setting."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.published_rows import ROWS, RULES, Published, scenario_of
from benchmarks.published_tables import Job, Verdict, judge, pending
from secure_fl.lab.outcome import Outcome, RoundOutcome


def verdict(*values: float, std: float | None = 0.01) -> Verdict:
    return Verdict(4, "FedAvg", "accuracy", Published(0.7, std), values)


def outcome(job: Job, accuracy: float) -> Outcome:
    last = RoundOutcome(
        round=40, accuracy=accuracy, loss=1.0, attack_success=0.5, per_class_accuracy=(), kept=(), weights=None,
        step_norm=0.0,
    )  # fmt: skip
    scenario = job.scenario
    return Outcome(
        digest=scenario.digest(), scenario=scenario.manifest(), rounds=(last,), attackers=(), seconds=0.0, cpu_s=0.0
    )


def test_the_tolerance_is_the_stated_rule() -> None:
    found = verdict(0.70, 0.72)
    spread = 2 * math.sqrt(2 * 0.01**2) / math.sqrt(2)
    assert found.tolerance == pytest.approx(2 * 0.01 / math.sqrt(15) + spread + 0.005)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (verdict(0.70, 0.71), "pass"),
        (verdict(0.80, 0.81), "FAIL"),
        (verdict(0.70), "pending"),
        (verdict(), "pending"),
        (verdict(0.70, 0.71, std=None), "no verdict"),
    ],
)
def test_a_cell_passes_fails_or_waits(found: Verdict, word: str) -> None:
    assert found.word == word
    assert word in found.line()


def test_a_result_on_disk_is_not_computed_again_and_is_judged(tmp_path: Path) -> None:
    jobs = [Job(13, "FedAvg", seed) for seed in range(3)]
    for job, accuracy in zip(jobs[:2], (0.86, 0.87), strict=True):
        job.file(tmp_path).write_text(json.dumps(outcome(job, accuracy).to_mapping()))
    assert list(pending(jobs, tmp_path)) == jobs[2:]
    accuracy, success = judge(tmp_path, [13], ["FedAvg"])
    assert (accuracy.values, success.values) == ((0.86, 0.87), (0.5, 0.5))


def test_a_result_of_another_setting_is_passed_over(tmp_path: Path) -> None:
    job = Job(4, "FedAvg", 0)
    stale = job.file(tmp_path).with_name(f"row04-FedAvg-seed0-{'0' * 12}.json")
    stale.write_text(json.dumps(outcome(job, 0.9).to_mapping()))
    (found,) = judge(tmp_path, [4], ["FedAvg"])
    assert found.values == ()
    assert list(pending([job], tmp_path)) == [job]


def test_every_cell_is_a_scenario_of_its_own() -> None:
    digests = {scenario_of(row, rule, seed).digest() for row in ROWS for rule in RULES for seed in range(2)}
    # Without attack the rules differ from the mean, and seeds from each other, in every row.
    assert len(digests) == len(ROWS) * len(RULES) * 2


def test_trimming_is_the_published_share_whatever_the_number_of_attackers() -> None:
    one, three = scenario_of(7, "TrimmedAvg", 0), scenario_of(9, "TrimmedAvg", 0)
    assert (one.byzantine, one.attackers) == (2, 1)
    assert (three.byzantine, three.attackers) == (3, 3)
    assert scenario_of(1, "TrimmedAvg", 0).attackers == 0
    assert replace(one, name="").rounds == 40
