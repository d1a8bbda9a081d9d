"""The Gaussian audit: closed forms against dp-accounting, coverage and power by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

from audit.leakage.gaussian import audit_gaussian, composed_mu, delta_of_gdp, epsilon_of_gdp, mu_for

ROUNDS, DELTA = 60, 1e-5


def canaries(seed: int, noise_multiplier: float, m: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    return coins * float(ROUNDS) + rng.standard_normal(m) * noise_multiplier * math.sqrt(ROUNDS), coins


def noise_for(epsilon: float) -> float:
    return math.sqrt(ROUNDS) / mu_for(epsilon, DELTA)


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 8.0])
def test_delta_of_one_gaussian_is_dp_accountings(noise_multiplier, epsilon):
    expected = GaussianPrivacyLoss(noise_multiplier).get_delta_for_epsilon(epsilon)
    assert delta_of_gdp(1 / noise_multiplier, epsilon) == pytest.approx(expected, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(("noise_multiplier", "rounds"), [(10.0, 50), (4.0, 20), (1.0, 3)])
def test_composed_rounds_cost_what_googles_accountant_says(noise_multiplier, rounds):
    accountant = PLDAccountant().compose(GaussianDpEvent(noise_multiplier), rounds)
    ours = epsilon_of_gdp(composed_mu(noise_multiplier, rounds), DELTA)
    assert ours == pytest.approx(accountant.get_epsilon(DELTA), abs=2e-3)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 50.0])
def test_epsilon_and_mu_are_each_others_inverse(epsilon):
    assert epsilon_of_gdp(mu_for(epsilon, DELTA), DELTA) == pytest.approx(epsilon, rel=1e-9)


def test_a_perfectly_private_mechanism_has_no_epsilon_and_a_hopeless_one_has_no_finite_one():
    assert epsilon_of_gdp(0.0, DELTA) == 0.0
    assert epsilon_of_gdp(1e4, DELTA) == math.inf


@pytest.mark.parametrize(("mu", "delta"), [(-1.0, 1e-5), (1.0, 0.0), (1.0, 1.0), (math.nan, 1e-5)])
def test_numbers_without_meaning_are_refused(mu, delta):
    with pytest.raises(ValueError, match="have no ε"):
        epsilon_of_gdp(mu, delta)


@pytest.mark.parametrize(("m", "epsilon"), [(50, 8.0), (500, 1.0)])
def test_the_lower_bound_of_mu_holds_as_often_as_it_says(m, epsilon):
    noise, trials = noise_for(epsilon), 2_000
    truth = composed_mu(noise, ROUNDS)
    above = sum(
        audit_gaussian(*canaries(seed, noise, m), delta=DELTA, confidence=0.95).mu_low > truth for seed in range(trials)
    )
    assert above / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials) + 0.01


@pytest.mark.parametrize("ratio", [0.5, math.sqrt(0.5)])
def test_halved_noise_and_a_wrong_sensitivity_exceed_their_claim_and_correct_noise_does_not(ratio):
    claim, noise = 8.0, noise_for(8.0)
    wrong = [audit_gaussian(*canaries(seed, noise * ratio), delta=DELTA).epsilon_low for seed in range(40)]
    right = [audit_gaussian(*canaries(seed, noise), delta=DELTA).epsilon_low for seed in range(200)]
    assert min(wrong) > claim > max(right) > 0.8 * claim


@pytest.mark.parametrize(
    ("scores", "coins", "reason"),
    [
        (np.zeros(49), np.ones(49, bool), "at least 50 canaries"),
        (np.zeros(60), np.ones(59, bool), "at least 50 canaries"),
        (np.zeros(60), np.arange(60) < 55, "at least 10 of each"),
        (np.full(60, np.nan), np.arange(60) < 30, "not finite"),
        (np.zeros(60), np.arange(60) < 30, "no noise at all"),
    ],
)
def test_canaries_that_say_nothing_are_refused(scores, coins, reason):
    with pytest.raises(ValueError, match=reason):
        audit_gaussian(scores, coins, delta=DELTA)
