"""Outcomes survive the disk, and their hash covers what was measured and not how long it took."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from secure_fl.lab.outcome import Outcome, RoundOutcome

ROUND = RoundOutcome(
    round=1,
    accuracy=0.5,
    loss=math.nan,
    attack_success=None,
    per_class_accuracy=(0.1, None),
    kept=(True, False),
    weights=(1.0, -math.inf),
    step_norm=2.0,
)
OUTCOME = Outcome(
    digest="d", scenario={"seed": 1}, rounds=(ROUND,), attackers=(1,), seconds=1.0, cpu_s=2.0, data="p", record="r"
)


def test_what_is_written_as_strict_json_is_read_back() -> None:
    text = json.dumps(OUTCOME.to_mapping(), allow_nan=False)
    read = Outcome.from_mapping(json.loads(text))
    assert math.isnan(read.final.loss or 0.0)
    assert replace(read, rounds=(replace(read.final, loss=0.0),)) == replace(
        OUTCOME, rounds=(replace(ROUND, loss=0.0),)
    )


def test_times_and_records_do_not_enter_the_hash() -> None:
    assert replace(OUTCOME, seconds=9.0, cpu_s=9.0, record="").metrics_sha256 == OUTCOME.metrics_sha256


@pytest.mark.parametrize(
    "changed", [replace(OUTCOME, attackers=(0,)), replace(OUTCOME, rounds=(replace(ROUND, step_norm=2.0 + 1e-15),))]
)
def test_everything_that_was_measured_enters_the_hash(changed: Outcome) -> None:
    assert changed.metrics_sha256 != OUTCOME.metrics_sha256


def test_a_mapping_that_lacks_something_is_refused() -> None:
    mapping = OUTCOME.to_mapping()
    del mapping["digest"]
    with pytest.raises(TypeError):
        Outcome.from_mapping(mapping)
