"""Measures of a simulation, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.lab.measures import Damage, Measures, damage, measure
from secure_fl.lab.scenario import Scenario

SCENARIO = Scenario(model="softmax", clients=4)


def measured(*per_class: float | None) -> Measures:
    return Measures(0.5, None, None, None, None, per_class)


def test_accuracy_and_success_are_those_of_the_last_round(lab: Any) -> None:
    rounds = [lab.round_outcome(round=1, accuracy=0.99, attack_success=0.1)]
    rounds.append(lab.round_outcome(round=2, accuracy=0.4, attack_success=0.7))
    found = measure(lab.outcome(SCENARIO, *rounds, attackers=(0,)))
    assert (found.accuracy, found.attack_success) == (0.4, 0.7)


def test_precision_and_recall_count_all_clients_of_all_rounds(lab: Any) -> None:
    # Attackers 0 and 1. Round 1 turns 0 and 2 away, round 2 turns 0 away: 2 of 3 were attackers, 2 of 4 were caught.
    one = lab.round_outcome(round=1, kept=(False, True, False, True))
    two = lab.round_outcome(round=2, kept=(False, True, True, True))
    found = measure(lab.outcome(SCENARIO, one, two, attackers=(0, 1)))
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1 / 2)


def test_a_rule_that_turns_nobody_away_has_no_precision_and_catches_nobody(lab: Any) -> None:
    found = measure(lab.outcome(SCENARIO, attackers=(0,)))
    assert (found.precision, found.recall) == (None, 0.0)


def test_where_nobody_attacks_there_is_no_recall_and_no_weight(lab: Any) -> None:
    found = measure(lab.outcome(SCENARIO, lab.round_outcome(kept=(False, True, True, True))))
    assert (found.precision, found.recall, found.weight) == (0.0, None, None)


def test_the_attackers_weight_is_their_share_of_absolute_weights_mean_over_rounds(lab: Any) -> None:
    one = lab.round_outcome(round=1, weights=(-0.5, 0.5, 0.5, 0.5))
    two = lab.round_outcome(round=2, weights=(0.0, 0.0, 0.6, 0.0))
    idle = lab.round_outcome(round=3, weights=(0.0,) * 4)
    assert measure(lab.outcome(SCENARIO, one, two, idle, attackers=(0,))).weight == pytest.approx((0.25 + 0) / 2)


def test_a_rule_by_coordinate_has_no_weights(lab: Any) -> None:
    assert measure(lab.outcome(SCENARIO, lab.round_outcome(weights=None), attackers=(0,))).weight is None


def test_an_outcome_without_a_last_test_is_refused(lab: Any) -> None:
    with pytest.raises(ValueError, match="no accuracy"):
        measure(lab.outcome(SCENARIO, lab.round_outcome(accuracy=None)))


def test_damage_is_the_largest_mean_drop_seed_by_seed() -> None:
    clean = [measured(0.9, 0.8, 1.0), measured(1.0, 0.8, 1.0)]
    hit = [measured(0.9, 0.2, 0.9), measured(0.8, 0.6, 0.9)]
    assert damage(clean, hit) == Damage(1, pytest.approx(0.4))


def test_a_class_that_a_seed_did_not_test_is_left_out() -> None:
    assert damage([measured(0.9, 0.9)], [measured(None, 0.8)]) == Damage(1, pytest.approx(0.1))
    assert damage([measured(None)], [measured(0.5)]) is None
    assert damage([measured()], [measured()]) is None


def test_where_every_class_gained_the_damage_is_negative() -> None:
    assert damage([measured(0.5, 0.5)], [measured(0.6, 0.9)]) == Damage(0, pytest.approx(-0.1))
