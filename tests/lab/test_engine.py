"""A simulation is FedAvg with attackers in it, and equal scenarios give equal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.engine import learner_of, simulate
from secure_fl.lab.outcome import Outcome, RoundOutcome
from secure_fl.lab.scenario import Scenario
from secure_fl.training.seeds import derive_seed


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attack": "gaussian", "defense": "median"},
        {"attack": "backdoor_patch", "poisoning": "each-batch", "augment": "flip-pad"},
        {"attack": "opt_alie", "defense": "bucketing+median", "byzantine": 1},
        {"attack": "sign_flip", "defense": "flame"},
    ],
)
def test_the_same_scenario_and_seed_gives_the_same_metrics_hash_twice(
    small: Scenario, settings: dict[str, Any]
) -> None:
    scenario = small.changed(**{"byzantine": 2, **settings})
    assert simulate(scenario).metrics_sha256 == simulate(scenario).metrics_sha256
    assert simulate(scenario.changed(seed=1)).metrics_sha256 != simulate(scenario).metrics_sha256


def test_without_attack_it_is_federated_averaging(small: Scenario) -> None:
    scenario = small.changed(defense="fedavg", rounds=2)
    learner, federation = learner_of(scenario)
    weights, samples = learner.weights(), np.array([len(each) for each in federation.clients])
    for number in (1, 2):
        updates = [
            learner.train(weights, shard, seed=derive_seed(scenario.seed, "batches", number, client))[0]
            for client, shard in enumerate(federation.clients)
        ]
        weights = weights + (samples @ np.array(updates, np.float64) / samples.sum()).astype(np.float32)
    expected = learner.test(weights, federation.test, 10)
    found = simulate(scenario).final
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)


def test_it_learns_and_tells_each_round(small: Scenario) -> None:
    told: list[RoundOutcome] = []
    outcome = simulate(small.changed(rounds=4), on_round=told.append)
    assert tuple(told) == outcome.rounds
    assert [each.round for each in told] == [1, 2, 3, 4]
    assert (outcome.final.accuracy or 0.0) > 0.7
    assert outcome.digest == small.changed(rounds=4).digest()
    assert Outcome.from_mapping(outcome.to_mapping()) == outcome


def test_only_some_rounds_are_tested_but_always_the_last(small: Scenario) -> None:
    outcome = simulate(small.changed(rounds=5, evaluate_every=2))
    assert [each.accuracy is not None for each in outcome.rounds] == [False, True, False, True, True]
    assert simulate(small.changed(rounds=5)).final == outcome.final


def test_attackers_are_let_in_by_a_mean_and_kept_out_by_multi_krum(small: Scenario) -> None:
    scenario = small.changed(attack="gaussian(sigma=2)", byzantine=2)
    mean, robust = simulate(scenario), simulate(scenario.changed(defense="multi_krum"))
    assert mean.attackers == robust.attackers and len(mean.attackers) == 2
    assert all(round.kept[client] for round in mean.rounds for client in mean.attackers)
    assert not any(round.kept[client] for round in robust.rounds for client in robust.attackers)
    assert (robust.final.accuracy or 0.0) > (mean.final.accuracy or 0.0) + 0.1


def test_an_adaptive_attacker_does_not_change_what_the_rule_remembers(small: Scenario) -> None:
    # opt_ipm tries the rule twenty times a round; a rule with a memory must not notice.
    scenario = small.changed(attack="opt_ipm", byzantine=2, defense="centered_clipping")
    assert simulate(scenario).metrics_sha256 == simulate(scenario).metrics_sha256


def test_attack_success_is_told_for_attacks_with_a_trigger(small: Scenario) -> None:
    scenario = small.changed(attack="backdoor_patch(fraction=0.9)", byzantine=3, rounds=5)
    assert (simulate(scenario).final.attack_success or 0.0) > 0.5
    assert simulate(scenario.changed(attack="label_flip")).final.attack_success is None


def test_a_round_with_too_few_usable_rows_is_lost_and_the_model_stays(small: Scenario) -> None:
    scenario = small.changed(attack="nan", byzantine=1, attackers=3, defense="multi_krum")
    outcome = simulate(scenario)
    assert [each.step_norm for each in outcome.rounds] == [0.0, 0.0, 0.0]
    assert not any(kept for each in outcome.rounds for kept in each.kept)


def test_fltrust_is_given_an_update_of_the_coordinators_own(small: Scenario) -> None:
    scenario = small.changed(attack="sign_flip", byzantine=2, attackers=5, defense="fltrust", rounds=5)
    assert (simulate(scenario).final.accuracy or 0.0) > 0.6


@pytest.mark.parametrize(
    "change",
    [{"model": "vgg"}, {"attack": "nonsense"}, {"defense": "nonsense"}, {"attack": "backdoor_patch(size=40)"}],
)
def test_what_cannot_be_is_refused_as_a_setting(small: Scenario, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        simulate(small.changed(**{"byzantine": 1, "attack": "zero", **change}))
