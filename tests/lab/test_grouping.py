"""A simulated coordinator that sees sums decides over the means of groups, and says of each client what it says of its
group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.deployment import run_config
from secure_fl.lab.engine import simulate
from secure_fl.lab.grouping import GroupedCoordinator, clipped, dealt
from secure_fl.lab.rules import coordinator_of
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Submissions

N, D = 12, 6
GROUPED: dict[str, Any] = {
    "clients": N, "byzantine": 2, "defense": "median", "secagg": "grouped", "secagg_group_size": 2, "secagg_clip": 50.0,
}  # fmt: skip
DRAW = np.random.default_rng(0)
UPDATES = DRAW.normal(1, 1, (N, D)).astype(np.float32)
SAMPLES = np.arange(1.0, N + 1)


def submitted(updates: Any = UPDATES, clients: tuple[int, ...] = (), samples: Any = SAMPLES) -> Submissions:
    return Submissions(updates, samples, np.zeros(D, np.float32), np.zeros((N, 0), np.int64), None, clients)


def judged(submissions: Submissions, **settings: Any) -> Any:
    return coordinator_of(Scenario(**{**GROUPED, **settings})).aggregate(submissions, np.random.default_rng(0))


def means(groups: tuple[tuple[int, ...], ...]) -> Any:
    return np.array([np.average(UPDATES[list(each)], axis=0, weights=SAMPLES[list(each)]) for each in groups])


def test_the_rule_sees_the_mean_of_each_group_weighted_by_images_as_sites_weight_it() -> None:
    groups = dealt(Scenario(**GROUPED))
    np.testing.assert_allclose(judged(submitted()).step, np.median(means(groups), axis=0), rtol=1e-5)


def test_the_mean_over_groups_by_images_is_the_one_sum_of_full_mode() -> None:
    whole = np.average(UPDATES, axis=0, weights=SAMPLES)
    full = {"secagg": "full", "secagg_group_size": 0, "defense": "fedavg"}
    for settings in ({"defense": "fedavg"}, full):
        found = judged(submitted(), **settings)
        np.testing.assert_allclose(found.step, whole, rtol=1e-5)
        np.testing.assert_allclose(found.weights, SAMPLES / SAMPLES.sum())


def test_what_is_said_of_a_group_is_said_of_its_members() -> None:
    groups = dealt(Scenario(**GROUPED))
    updates = UPDATES.copy()
    updates[groups[3][0]] = 40.0  # alone it would reach 97 %; the mean of its group is far off the others
    found = judged(submitted(updates), defense="multi_krum", byzantine=1)
    assert not found.kept[list(groups[3])].any() and found.weights[list(groups[3])].sum() == 0
    assert found.weights.sum() == pytest.approx(1.0)


def test_rows_in_another_order_are_still_those_of_their_clients() -> None:
    order = DRAW.permutation(N)
    turned = judged(submitted(UPDATES[order], tuple(order.tolist()), SAMPLES[order]), defense="multi_krum", byzantine=1)
    straight = judged(submitted(), defense="multi_krum", byzantine=1)
    np.testing.assert_allclose(turned.step, straight.step, rtol=1e-6)
    np.testing.assert_array_equal(turned.kept, straight.kept[order])


def test_a_mean_that_honest_members_cannot_reach_is_turned_away() -> None:
    groups = dealt(Scenario(**GROUPED))
    updates = UPDATES.copy()
    updates[groups[0][0]] = 1e4
    found = judged(submitted(updates))
    assert found.masked[list(groups[0])].all() and found.masked.sum() == len(groups[0])
    assert np.abs(found.step).max() < 10


def test_groups_last_for_the_run_and_come_of_the_seed() -> None:
    scenario = Scenario(**GROUPED)
    assert dealt(scenario) == dealt(scenario) != dealt(scenario.changed(seed=1))
    assert [len(each) for each in dealt(scenario)] == [2] * 6
    assert dealt(scenario.changed(secagg="full", secagg_group_size=0, defense="mean")) == (tuple(range(N)),)
    assert dealt(Scenario()) == ()


def test_a_snapshot_is_the_coordinator_of_the_same_groups() -> None:
    coordinator = coordinator_of(Scenario(**GROUPED))
    assert isinstance(coordinator, GroupedCoordinator)
    assert coordinator.snapshot().groups == coordinator.groups


def test_honest_updates_are_shortened_to_the_clip_and_no_further() -> None:
    long = np.full(4, 3.0, np.float32)
    assert np.linalg.norm(clipped(long, 2.0)) == pytest.approx(2.0, rel=1e-6)
    assert clipped(long, 6.0) is long


def test_an_adaptive_attacker_tries_the_rule_over_groups(small: Scenario) -> None:
    scenario = small.changed(
        clients=8, byzantine=1, attack="opt_alie", defense="median", secagg="grouped", secagg_group_size=2, rounds=2
    )
    assert simulate(scenario).metrics_sha256 == simulate(scenario).metrics_sha256


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secagg_group_size": 1}, "hides nothing"),
        ({"secagg_group_size": 5}, "which of two is wrong"),
        ({"secagg": "full"}, "`secagg-group-size` is 2 but `secagg` is full"),
        ({"secagg": "none"}, "`secagg-group-size` is 2 but `secagg` is none"),
        ({"secagg": "full", "secagg_group_size": 0}, "only their sum is seen"),
        ({"defense": "unguarded_mean"}, "only sums are seen"),
        ({"weighting": "samples"}, "masked, too"),
        ({"byzantine": 3}, "f=3"),
    ],
)
def test_what_sums_cannot_give_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        coordinator_of(Scenario(**{**GROUPED, **change}))
    assert said in f"{refused.value.what} {refused.value.why}"


def test_a_real_run_of_the_scenario_has_the_same_mode() -> None:
    config = run_config(Scenario(**{**GROUPED, "model": "light_cnn"}))
    assert (config.secagg, config.secagg_group_size, config.secagg_clip) == ("grouped", 2, 50.0)
