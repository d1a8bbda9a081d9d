"""The calibration of noise in shares: each bound against brute force or an exact law in small."""

from __future__ import annotations

import math

import numpy as np
import pytest

from secure_fl.errors import ConfigError
from secure_fl.privacy import distributed
from secure_fl.privacy.distributed import LEVELS, SharedNoise, rounded_length, slack, sum_distance
from secure_fl.secagg.noise import DRAW_DISTANCE


def law(variance: float, reach: int) -> np.ndarray:
    masses = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * variance))
    return masses / masses.sum()


@pytest.mark.parametrize("dimension", [1, 50, 3_000])
@pytest.mark.parametrize("length", [0.0, 3.0, 200.0])
def test_a_rounding_exceeds_the_likely_length_as_rarely_as_is_said(dimension, length):
    rng = np.random.default_rng(0)
    beta, trials = 0.05, 400
    exceeded = 0
    for _ in range(trials):
        vector = rng.normal(size=dimension)
        vector *= length / np.linalg.norm(vector)
        rounding = float(np.linalg.norm(np.floor(vector + rng.random(dimension))))
        assert rounding <= length + math.sqrt(dimension)
        exceeded += rounding > rounded_length(length, dimension, beta)
    assert exceeded <= beta * trials


def test_the_length_is_inflated_as_little_as_was_measured():
    # Measured for 2.24 million coordinates: 0.28 % at 1e4 steps, 3e-5 at 1e5, 8e-7 at 1e6, there for β = e^(-1/2).
    beta = math.exp(-1 / 2)
    found = [rounded_length(steps, 2_240_000, beta) / steps - 1 for steps in (1e4, 1e5, 1e6)]
    assert found == pytest.approx([2.85e-3, 3.3e-5, 7.8e-7], rel=0.05)
    assert SharedNoise(1.0, 2_240_000, 4).inflation < 2e-4


def test_the_distance_of_a_sum_of_draws_has_the_values_that_are_known():
    known = [sum_distance(sigma**2, 20) for sigma in (1, 2, 5)]
    assert known == pytest.approx([5e-4, 7e-17, 7e-107], rel=0.1)
    assert sum_distance(SharedNoise(0.05, 100, 1000).share, 1000) == 0.0  # below any float, at our steps


@pytest.mark.parametrize(("variance", "sites"), [(0.3, 2), (0.5, 3), (0.8, 5)])
def test_a_sum_of_draws_is_as_near_to_one_draw_as_is_said(variance, sites):
    reach = 40
    total = law(variance, reach)
    for _ in range(sites - 1):
        total = np.convolve(total, law(variance, reach))
    ideal = law(sites * variance, sites * reach)
    middle = ideal > 1e-12  # further out float64 knows nothing of the ratio
    assert np.abs(np.log(total[middle] / ideal[middle])).max() <= sum_distance(variance, sites)


@pytest.mark.parametrize(("kept", "smoothing"), [(2.0, 0.2), (5.0, 0.35)])
def test_a_discrete_gaussian_is_a_rounded_continuous_one_of_a_little_less_variance(kept, smoothing):
    points = np.linspace(-40, 40, 80_001)
    density = np.exp(-(points**2) / (2 * kept)) / math.sqrt(2 * math.pi * kept)
    grid = np.arange(-60, 61)[:, None]
    rounding = np.exp(-((grid - points) ** 2) / (2 * smoothing))
    made = (rounding / rounding.sum(0) * density).sum(1) * (points[1] - points[0])
    ideal = law(kept + smoothing, 60)
    middle = np.abs(grid[:, 0]) <= 6 * math.sqrt(kept)
    assert np.abs(np.log(made[middle] / ideal[middle])).max() <= 4.2 * math.exp(-2 * math.pi**2 * smoothing)


def test_m_shares_make_the_noise_that_the_accountant_counts():
    noise = SharedNoise(noise_multiplier=1.7, dimension=10_000, honest=7)
    assert noise.honest * noise.share == pytest.approx(noise.variance)
    assert math.sqrt(noise.variance - 9) == pytest.approx(1.7 * noise.sensitivity)
    assert LEVELS < noise.sensitivity < LEVELS * 1.0002
    assert noise.longest_squared <= noise.sensitivity**2 < noise.longest_squared + 1


def test_the_steps_that_a_sum_needs_hold_contributions_and_noise():
    noise = SharedNoise(noise_multiplier=2.0, dimension=100, honest=4)
    assert noise.steps_needed(5, 5) > 5 * LEVELS + 10 * math.sqrt(5 / 4) * 2.0 * LEVELS
    assert noise.steps_needed(5, 5) < 2**31


def test_slack_is_next_to_nothing_and_grows_with_rounds_and_epsilon():
    assert slack(1000, 8.0) < 1e-15
    assert slack(2000, 8.0) == pytest.approx(2 * slack(1000, 8.0))
    assert slack(1, 60.0) > 1e3 > slack(1, 20.0)
    assert math.isfinite(slack(10, 1e9))


def test_slack_counts_draws_as_the_sampler_states_them():
    assert distributed._DRAWS_DISTANCE == DRAW_DISTANCE * 2.0**44


@pytest.mark.parametrize("honest", [0, -2])
def test_noise_that_nobody_honest_adds_is_refused(honest):
    with pytest.raises(ConfigError, match="sure to be honest"):
        SharedNoise(1.0, 100, honest)


def test_steps_too_coarse_for_so_many_parameters_are_refused():
    SharedNoise(1.0, 2_240_000, 4, levels=1 << 13)
    with pytest.raises(ConfigError, match=r"would cost 1\.\d% more noise"):
        SharedNoise(1.0, 2_240_000, 4, levels=5_000)


@pytest.mark.parametrize("wrong", [{"noise_multiplier": 0.0}, {"noise_multiplier": math.inf}, {"dimension": 0}])
def test_noise_without_meaning_is_refused(wrong):
    with pytest.raises(ConfigError, match="no noise has multiplier"):
        SharedNoise(**{"noise_multiplier": 1.0, "dimension": 10, "honest": 1, **wrong})
