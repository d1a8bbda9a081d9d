"""The coordinator of a simulation: defenses by name, and weights by numbers of images where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.rules import coordinator_of
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Submissions

RNG = np.random.default_rng(0)
UPDATES = RNG.standard_normal((9, 6)).astype(np.float32)
SAMPLES = np.arange(1.0, 10.0)


def submitted(updates: Any = UPDATES) -> Submissions:
    return Submissions(
        updates=updates,
        samples=SAMPLES,
        weights=np.zeros(6, np.float32),
        batches=np.zeros((9, 0), np.int64),
        reference=None,
    )


def step(defense: str, updates: Any = UPDATES, **settings: Any) -> Any:
    scenario = Scenario(**{"clients": 9, "byzantine": 2, "defense": defense, **settings})
    return coordinator_of(scenario).aggregate(submitted(updates), np.random.default_rng(0))


@pytest.mark.parametrize("settings", [{"defense": "fedavg"}, {"defense": "mean", "weighting": "samples"}])
def test_fedavg_weights_by_images(settings: dict[str, Any]) -> None:
    found = step(**settings)
    np.testing.assert_allclose(found.step, SAMPLES @ UPDATES / SAMPLES.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.weights, SAMPLES / SAMPLES.sum())


def test_flowers_multi_krum_weights_what_it_kept_by_images() -> None:
    plain, weighted = step("multi_krum"), step("multi_krum", weighting="samples")
    assert np.array_equal(plain.kept, weighted.kept) and plain.kept.sum() == 7
    wanted = np.where(plain.kept, SAMPLES, 0)
    np.testing.assert_allclose(weighted.weights, wanted / wanted.sum())
    np.testing.assert_allclose(weighted.step, wanted @ UPDATES / wanted.sum(), rtol=1e-4, atol=1e-6)


def test_coordinate_rules_do_not_weight() -> None:
    np.testing.assert_array_equal(step("median", weighting="samples").step, step("median").step)


def test_a_masked_row_does_not_reach_a_weighted_step() -> None:
    updates = UPDATES.copy()
    updates[8, 0] = np.nan
    found = step("mean", updates, weighting="samples")
    np.testing.assert_allclose(found.step, SAMPLES[:8] @ UPDATES[:8] / SAMPLES[:8].sum(), rtol=1e-4, atol=1e-6)


def test_a_snapshot_leaves_the_memory_of_a_rule_alone() -> None:
    scenario = Scenario(clients=9, byzantine=2, defense="centered_clipping")
    tried, untouched = coordinator_of(scenario), coordinator_of(scenario)
    rng = np.random.default_rng(0)
    for coordinator in (tried, untouched):
        coordinator.aggregate(submitted(), rng)
    tried.snapshot().aggregate(submitted(UPDATES * 100), rng)
    assert np.array_equal(tried.aggregate(submitted(), rng).step, untouched.aggregate(submitted(), rng).step)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"defense": "nonsense"}, "nonsense"),
        ({"defense": "krum", "byzantine": 4}, "krum"),
        ({"defense": "fltrust", "root_samples": 0}, "root-samples"),
    ],
)
def test_a_defense_that_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        coordinator_of(Scenario(**{"clients": 9, "byzantine": 2, **settings}))
    assert words in f"{caught.value} {caught.value.fix}"
