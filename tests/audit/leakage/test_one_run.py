"""The one-run bound: the authors' own code as oracle, validity and limits by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from audit.leakage.gaussian import mu_for
from audit.leakage.one_run import SHARES, audit_one_run, p_value

DELTA = 1e-5


def reference_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Steinke et al. 2023, appendix D, as printed there."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = scipy.stats.binom.sf(v - 1, r, q)
    alpha, total = 0.0, 0.0
    for i in range(1, v + 1):
        total += scipy.stats.binom.pmf(v - i, r, q)
        alpha = max(alpha, total / i)
    return min(beta + alpha * delta * 2 * m, 1)


def gaussian_scores(seed: int, epsilon: float, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    return coins * mu_for(epsilon, DELTA) + rng.standard_normal(m), coins


@pytest.mark.parametrize(("r", "v"), [(10, 10), (100, 60), (1_000, 999), (1_000, 400), (50, 0)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0, 8.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_p_value_is_the_authors(r, v, epsilon, delta):
    expected = reference_p_value(1_000, r, v, epsilon, delta)
    assert p_value(1_000, r, v, epsilon, delta) == pytest.approx(expected, rel=1e-8, abs=1e-15)


def test_the_bound_is_refuted_up_to_itself_and_not_beyond():
    scores, coins = gaussian_scores(0, 4.0, 2_000)
    found = audit_one_run(scores, coins, delta=DELTA)
    level = 0.05 / len(SHARES)
    assert p_value(2_000, found.guesses, found.right, found.epsilon_low, DELTA) < level
    assert p_value(2_000, found.guesses, found.right, found.epsilon_low + 1e-4, DELTA) >= level


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_bound_exceeds_the_truth_less_often_than_it_allows(epsilon):
    found = [audit_one_run(*gaussian_scores(seed, epsilon, 300), delta=DELTA).epsilon_low for seed in range(150)]
    assert sum(each > epsilon for each in found) <= 0.05 * 150


def test_scores_without_information_prove_nothing():
    rng = np.random.default_rng(1)
    assert audit_one_run(rng.random(1_000), rng.random(1_000) < 0.5, delta=DELTA).epsilon_low == 0.0


def test_perfect_scores_reach_the_ceiling_which_grows_with_the_canaries():
    found = []
    for m in (500, 5_000):
        coins = np.random.default_rng(2).random(m) < 0.5
        found.append(audit_one_run(coins * 3.0, coins, delta=DELTA))
        assert found[-1].epsilon_low == found[-1].ceiling and found[-1].right == found[-1].guesses
    assert found[0].ceiling < found[1].ceiling == pytest.approx(5.73, abs=0.01)


def test_the_bound_stays_below_halved_noise_at_epsilon_8_which_is_why_the_noise_is_tested_too():
    scores, coins = gaussian_scores(3, 18.6, 5_000)  # the true ε of half the noise that ε = 8 needs
    assert 4.5 < audit_one_run(scores, coins, delta=DELTA).epsilon_low < 8.0


@pytest.mark.parametrize(
    ("scores", "coins", "reason"),
    [
        (np.zeros(19), np.zeros(19, bool), "at least 20"),
        (np.zeros(30), np.zeros(31, bool), "at least 20"),
        (np.full(30, np.nan), np.zeros(30, bool), "not a number"),
    ],
)
def test_canaries_that_say_nothing_are_refused(scores, coins, reason):
    with pytest.raises(ValueError, match=reason):
        audit_one_run(scores, coins, delta=DELTA)
