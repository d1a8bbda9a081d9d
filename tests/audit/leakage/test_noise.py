"""The noise test: its level and its power by simulation, its parts by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from audit.leakage.noise import FALSE_FLAGS, coordinates_needed, judge_noise, power

ENOUGH = 5_000


def noise(seed: int, ratio: float = 1.0, n: int = ENOUGH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n) * ratio


def flagged(ratio: float, trials: int, first: int) -> float:
    return sum(bool(judge_noise(noise(seed, ratio), 1.0).flags) for seed in range(first, first + trials)) / trials


def test_the_parts_are_scipys():
    values = noise(3, 1.02, 700)
    found = judge_noise(values, 1.0)
    squares = float((values**2).sum())
    assert found.p_small == pytest.approx(scipy.stats.chi2.cdf(squares, 700), rel=1e-8)
    assert found.p_large == pytest.approx(scipy.stats.chi2.sf(squares, 700), rel=1e-8)
    assert found.p_kurtosis == pytest.approx(scipy.stats.kurtosistest(values).pvalue, rel=1e-8)
    assert found.p_distance == pytest.approx(scipy.stats.kstest(values / found.ratio, "norm").pvalue, rel=0.02)
    low, high = found.ratio_interval
    assert low < found.ratio < high


def test_correct_noise_is_flagged_less_than_once_in_a_thousand_audits():
    trials = 4_000
    assert FALSE_FLAGS < 1e-3
    # Twelve is what a rate of 1 in 1,000 exceeds with probability 1e-4; the fixed seeds give fewer than four.
    assert flagged(1.0, trials, first=0) * trials < 4


def test_noise_of_095_of_its_claim_is_flagged_at_least_19_times_in_20():
    assert flagged(0.95, 1_000, first=10_000) >= 0.95
    assert coordinates_needed(0.95) <= ENOUGH


@pytest.mark.parametrize("ratio", [0.9, 0.9999, 1.04])
@pytest.mark.parametrize("n", [200, 2_000])
def test_the_power_is_that_of_a_simulation(ratio, n):
    sums = scipy.stats.chi2.rvs(n, size=20_000, random_state=1) * ratio**2
    outside = (sums < scipy.stats.chi2.ppf(4e-4, n)) | (sums > scipy.stats.chi2.isf(1e-4, n))
    assert power(n, ratio) == pytest.approx(outside.mean(), abs=0.012)


def test_the_needed_number_of_coordinates_is_the_least():
    needed = coordinates_needed(0.9, wanted_power=0.99)
    assert power(needed, 0.9) >= 0.99 > power(needed - 1, 0.9)


@pytest.mark.parametrize(("ratio", "wanted"), [(1.0, 0.95), (0.9999, 0.95), (0.5, 1.0), (0.0, 0.5)])
def test_what_no_number_of_coordinates_can_tell_is_refused(ratio, wanted):
    with pytest.raises(ValueError, match=r"told from 1|tells a ratio"):
        coordinates_needed(ratio, wanted_power=wanted)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        (noise(1, 0.5), "noise-too-small"),
        (noise(1, 2.0), "noise-too-large"),
        (np.zeros(100), "noise-too-small"),
        (np.where(np.arange(ENOUGH) % 2, 0.0, np.sqrt(2)) * noise(2), "noise-not-gaussian"),  # half has none
        (np.random.default_rng(5).choice([-1.0, 1.0], ENOUGH), "noise-not-gaussian"),
        (np.random.default_rng(5).laplace(0, np.sqrt(0.5), ENOUGH), "noise-not-gaussian"),
    ],
)
def test_noise_that_is_not_what_was_promised_is_named(values, flag):
    assert flag in judge_noise(values, 1.0).flags


def test_each_coordinate_can_have_a_claim_of_its_own():
    widths = np.linspace(0.1, 9.0, ENOUGH)
    assert judge_noise(noise(4) * widths, widths).flags == ()
    assert judge_noise(noise(4) * widths, widths.mean()).flags


@pytest.mark.parametrize(
    ("values", "claim", "reason"),
    [
        (np.ones(19), 1.0, "at least 20"),
        (np.ones((30, 2)), 1.0, "at least 20"),
        (np.full(30, np.inf), 1.0, "not finite"),
        (np.ones(30), 0.0, "above zero"),
    ],
)
def test_values_that_say_nothing_are_refused(values, claim, reason):
    with pytest.raises(ValueError, match=reason):
        judge_noise(values, claim)
