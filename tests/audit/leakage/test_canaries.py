"""Mislabelled canaries: coins that bind and hide, and a model that gives its canaries away."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from audit.leakage.canaries import CanaryPlan, commitment, opens, plan_canaries, scores
from audit.leakage.one_run import audit_one_run

NONCE = bytes(range(32))


def plan(labels: np.ndarray, count: int, seed: int = 0) -> CanaryPlan:
    return plan_canaries(labels, 10, count, rng=np.random.default_rng(seed), nonce=NONCE)


def test_candidates_are_distinct_and_every_label_is_wrong():
    labels = np.arange(500) % 10
    made = plan(labels, 200)
    assert len(set(made.positions.tolist())) == 200
    assert (made.labels != labels[made.positions]).all() and set(made.labels.tolist()) == set(range(10))
    assert 60 < made.included.sum() < 140


def test_a_commitment_opens_with_its_own_coins_nonce_and_run_alone():
    made = plan(np.arange(100) % 10, 9)
    published = made.commitment("run-1")
    assert published.startswith("sha256:") and opens(published, made.included, NONCE, run="run-1")
    for position in range(9):
        other = made.included.copy()
        other[position] ^= True
        assert not opens(published, other, NONCE, run="run-1")
    assert not opens(published, made.included[:8], NONCE, run="run-1")
    assert not opens(published, np.append(made.included, False), NONCE, run="run-1")  # packed into the same bytes
    assert not opens(published, made.included, bytes(32), run="run-1")
    assert not opens(published, made.included, NONCE, run="run-2")


@pytest.mark.parametrize(("count", "classes"), [(0, 10), (101, 10), (5, 1)])
def test_a_plan_that_cannot_be_made_is_refused(count, classes):
    with pytest.raises(ValueError, match="canaries of"):
        plan_canaries(np.zeros(100, np.int64), classes, count, rng=np.random.default_rng(0), nonce=NONCE)


def test_a_short_nonce_is_refused():
    with pytest.raises(ValueError, match="needs 32"):
        commitment(np.ones(3, bool), b"short", run="r")


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # it is stopped early
def test_a_model_that_learned_its_canaries_by_heart_is_caught_and_one_that_never_saw_them_is_not():
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8)
    made = plan(labels, 300)
    others = np.setdiff1d(np.arange(700), made.positions)
    chosen = made.positions[made.included]

    def bound(with_canaries: np.ndarray, wrong: np.ndarray) -> float:
        pictures, truth = np.concatenate([images[others], with_canaries]), np.concatenate([labels[others], wrong])
        model = MLPClassifier(100, max_iter=120, random_state=0, alpha=0).fit(pictures / 16.0, truth)

        def losses(given: np.ndarray, said: np.ndarray) -> np.ndarray:
            return -model.predict_log_proba(given / 16.0)[np.arange(len(said)), said]

        return audit_one_run(scores(made, images, losses), made.included, delta=1e-5).epsilon_low

    assert bound(images[chosen], made.labels[made.included]) > 1.0
    assert bound(images[:0], made.labels[:0]) == 0.0
