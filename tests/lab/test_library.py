"""Each bundled scenario can be run, says what it teaches, and really shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import NotFoundError
from secure_fl.lab.adversary import adversary_of
from secure_fl.lab.engine import simulate
from secure_fl.lab.library import bundled, bundled_names, find_scenario
from secure_fl.lab.networks import network_named
from secure_fl.lab.rules import coordinator_of


def test_there_are_at_least_a_dozen() -> None:
    assert len(bundled_names()) >= 12


@pytest.mark.parametrize("name", bundled_names())
def test_each_resolves_to_objects_and_teaches_something(name: str) -> None:
    scenario = bundled(name)
    adversary_of(scenario)
    coordinator_of(scenario)
    network_named(scenario.model)
    assert scenario.name == name
    assert len(scenario.teaches.split()) > 10
    assert "  " not in scenario.teaches


# Name, a defense that fails there, one that does not, and by how many points of accuracy; in few rounds, for speed.
@pytest.mark.parametrize(
    ("name", "fails", "holds", "gap"),
    [
        ("one-nan", "unguarded_mean", "mean", 0.5),
        ("lying-sample-count", "fedavg", "multi_krum", 0.5),
        ("sign-flip-against-the-mean", "mean", "krum", 0.4),
        ("small-steps-back", "median", "mean", 0.05),
    ],
)
def test_a_lesson_is_true(name: str, fails: str, holds: str, gap: float) -> None:
    scenario = bundled(name).changed(rounds=5, evaluate_every=5)
    failed, held = (simulate(scenario.changed(defense=each)).final.accuracy for each in (fails, holds))
    assert failed is not None and held is not None
    assert held - failed > gap


def test_sums_of_groups_outvote_attackers_that_one_sum_hides() -> None:
    grouped = bundled("sums-of-groups-outvote").changed(rounds=5, evaluate_every=5, samples=720)
    alone = bundled("one-sum-hides-the-attacker").changed(rounds=5, evaluate_every=5, samples=720)
    clean, held, lost = (simulate(each).final.accuracy or 0.0 for each in (grouped.changed(attack=""), grouped, alone))
    assert held > clean - 0.05 and lost < 0.25


def test_float32_distances_let_attackers_in_that_ours_turn_away() -> None:
    scenario = bundled("float32-cancellation").changed(rounds=3, evaluate_every=3)
    theirs, ours = (simulate(scenario.changed(defense=each)) for each in ("flower_multi_krum", "multi_krum"))
    assert sum(each.kept[client] for each in theirs.rounds for client in theirs.attackers) >= 4
    assert not any(each.kept[client] for each in ours.rounds for client in ours.attackers)


def test_a_name_that_is_not_known_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_scenario("one-nam")
    assert caught.value.fix == "did you mean one-nan?"


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("rounds = 2")
    assert find_scenario(str(tmp_path / "mine.toml")).rounds == 2
