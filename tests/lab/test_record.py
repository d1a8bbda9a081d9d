"""A record of updates is whole and unaltered, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.lab.engine import simulate
from secure_fl.lab.record import UpdateRecord
from secure_fl.lab.scenario import Scenario


def test_what_was_recorded_is_read_back_and_hashed_into_the_outcome(small: Scenario, tmp_path: Path) -> None:
    scenario = small.changed(attack="gaussian", byzantine=2)
    outcome = simulate(scenario, updates_to=tmp_path)
    record = UpdateRecord.open(tmp_path)
    assert (record.sha256, record.attackers) == (outcome.record, outcome.attackers)
    assert record.scenario == scenario
    rounds = list(record.rounds())
    assert len(rounds) == 3
    for submissions, told in zip(rounds, outcome.rounds, strict=True):
        step = submissions.updates.mean(axis=0, dtype=np.float64)
        assert np.linalg.norm(step) == pytest.approx(told.step_norm, rel=1e-5)
    assert np.allclose(rounds[1].weights, rounds[0].weights + rounds[0].updates.mean(axis=0), atol=1e-5)


def test_recording_changes_no_number(small: Scenario, tmp_path: Path) -> None:
    assert simulate(small, updates_to=tmp_path).metrics_sha256 == simulate(small).metrics_sha256


def test_an_altered_round_is_refused(small: Scenario, tmp_path: Path) -> None:
    simulate(small, updates_to=tmp_path)
    file = tmp_path / "round-0002.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"round-0002.* was altered"):
        list(UpdateRecord.open(tmp_path).rounds())
    file.unlink()
    with pytest.raises(IntegrityError, match="cannot read"):
        list(UpdateRecord.open(tmp_path).rounds())


@pytest.mark.parametrize(("old", "new"), [('"seed": 0', '"seed": 1'), ('"format": 1', '"format": 9'), ("{", "")])
def test_an_altered_index_is_refused(small: Scenario, tmp_path: Path, old: str, new: str) -> None:
    simulate(small, updates_to=tmp_path)
    index = tmp_path / "record.json"
    index.write_text(index.read_text().replace(old, new, 1))
    with pytest.raises(IntegrityError):
        UpdateRecord.open(tmp_path)


def test_a_record_that_was_not_completed_is_none(small: Scenario, tmp_path: Path) -> None:
    simulate(small, updates_to=tmp_path)
    (tmp_path / "record.json").unlink()
    with pytest.raises(NotFoundError, match="no complete record"):
        UpdateRecord.open(tmp_path)
