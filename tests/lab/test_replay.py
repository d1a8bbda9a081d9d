"""Open loop says what a rule would have made of the recorded updates; closed loop trains again."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.engine import simulate
from secure_fl.lab.replay import record_of, replay_closed, replay_open
from secure_fl.lab.scenario import Scenario


@pytest.fixture
def attacked(small: Scenario) -> Scenario:
    return small.changed(attack="scaled(factor=-5)", byzantine=2, defense="multi_krum")


def test_the_recorded_defense_does_in_open_loop_what_it_did(attacked: Scenario, tmp_path: Path) -> None:
    outcome = simulate(attacked, updates_to=tmp_path)
    (same,) = replay_open(record_of(attacked, tmp_path), ["multi_krum"])
    assert [each.kept for each in same.rounds] == [each.kept for each in outcome.rounds]
    assert [each.weights for each in same.rounds] == [each.weights for each in outcome.rounds]
    assert same.accuracy == outcome.final.accuracy


def test_open_loop_tells_a_rule_that_lets_attackers_in(attacked: Scenario, tmp_path: Path) -> None:
    mean, robust = replay_open(record_of(attacked, tmp_path), ["mean", "multi_krum"])
    assert all(each.kept[client] for each in mean.rounds for client in mean.attackers)
    assert not any(each.kept[client] for each in robust.rounds for client in robust.attackers)
    for bad, good in zip(mean.rounds, robust.rounds, strict=True):
        assert good.cosine == pytest.approx(1.0, abs=1e-6) and good.deviation < 1e-5
        assert bad.cosine < good.cosine and bad.deviation > 0.5


def test_a_record_that_is_there_is_not_made_again(attacked: Scenario, tmp_path: Path) -> None:
    record = record_of(attacked, tmp_path)
    before = (tmp_path / "record.json").stat().st_mtime_ns
    assert record_of(attacked.changed(name="other"), tmp_path) == record
    assert (tmp_path / "record.json").stat().st_mtime_ns == before
    assert record_of(attacked.changed(seed=1), tmp_path) != record


def test_closed_loop_is_a_simulation_for_each_defense(attacked: Scenario) -> None:
    outcomes = replay_closed(attacked, ["mean", "median"])
    assert [each.scenario["defense"] for each in outcomes] == ["mean", "median"]
    assert outcomes[1].metrics_sha256 == simulate(attacked.changed(defense="median")).metrics_sha256


def test_a_defense_that_cannot_be_is_refused_before_anything_is_trained(attacked: Scenario) -> None:
    def nothing(defense: str) -> None:
        raise AssertionError(f"trained under {defense}")

    with pytest.raises(ConfigError):
        replay_closed(attacked, ["mean", "nonsense"], on_round=nothing)  # type: ignore[arg-type]
