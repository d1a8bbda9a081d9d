"""Sampling and noise, held against the distributions that the accountants assume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from secure_fl.privacy.randomness import Randomness

MANY = 1_000_000
FINE = 2.0**-40


def noise(source: Randomness, count: int = MANY, std: float = 1.0) -> np.ndarray:
    return source.noised(torch.zeros(count, dtype=torch.float64), std, grid=FINE).numpy()


def test_the_noise_is_standard_normal_in_its_bulk_and_in_its_tails():
    drawn = noise(Randomness.insecure_for_tests(1), 4 * MANY)
    assert scipy.stats.kstest(drawn, "norm").pvalue > 1e-3
    assert scipy.stats.chi2.cdf(float((drawn**2).sum()), len(drawn)) == pytest.approx(0.5, abs=0.4995)
    for edge in (2.0, 3.0, 4.0):
        expected = 2 * scipy.stats.norm.sf(edge) * len(drawn)
        assert (np.abs(drawn) > edge).sum() == pytest.approx(expected, abs=5 * math.sqrt(expected))


def test_the_two_numbers_of_a_pair_and_neighbours_are_independent():
    drawn = noise(Randomness.insecure_for_tests(2), 1 << 20)
    for lag in (1, 1 << 14):  # beside each other, and the sine and the cosine of one angle
        for power in (1, 2):
            a, b = drawn[:-lag] ** power, drawn[lag:] ** power
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(len(a))


def test_a_real_source_has_the_variance_that_is_asked_and_would_be_caught_with_a_twentieth_less():
    drawn = noise(Randomness.from_system(), MANY, std=3.0)

    def deviations(std: float) -> float:
        return abs((drawn.var() / std**2 - 1) / math.sqrt(2 / len(drawn)))

    assert deviations(3.0) < 6 and deviations(3.0 / 0.95) > 50


def test_what_is_noised_lies_on_the_grid_whatever_the_values_are():
    grid, source = 2.0**-10, Randomness.from_system()
    for values in (torch.zeros(1000), torch.full((1000,), 1 / 3), torch.randn(1000)):
        made = source.noised(values.double(), 1.0, grid=grid)
        assert torch.equal(made, (made / grid).round() * grid)


def test_without_noise_the_values_are_only_rounded_and_shape_and_type_stay():
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    made = Randomness.from_system().noised(values, 1e-30, grid=2.0**-20)
    assert made.shape == values.shape and made.dtype == values.dtype
    assert float((made - values).abs().max()) <= 2.0**-21
    assert not torch.equal(made, values)


@pytest.mark.parametrize("count", [0, 1, 32_767, 32_768, 32_769, 80_000])
def test_every_coordinate_has_noise_of_its_own_at_any_size(count):
    drawn = noise(Randomness.from_system(), count)
    assert len(drawn) == count == len(np.unique(drawn))


def test_sources_differ_unless_a_test_asks_for_a_seed_and_a_source_never_repeats_itself():
    one, other = noise(Randomness.from_system(), 1000), noise(Randomness.from_system(), 1000)
    assert not (one == other).any()
    again = [noise(Randomness.insecure_for_tests(7), 1000) for _ in range(2)]
    assert np.array_equal(*again) and not np.array_equal(again[0], noise(Randomness.insecure_for_tests(8), 1000))
    source = Randomness.insecure_for_tests(7)
    assert not (noise(source, 1000) == noise(source, 1000)).any()
    assert Randomness.insecure_for_tests(3).insecure and not Randomness.from_system().insecure


def test_poisson_sampling_draws_each_record_by_itself():
    source = Randomness.from_system()
    draws = [source.poisson(400, 0.1) for _ in range(500)]
    sizes = np.array([len(each) for each in draws])
    assert sizes.mean() == pytest.approx(40, abs=5 * 6 / math.sqrt(500))
    assert sizes.var() == pytest.approx(400 * 0.1 * 0.9, rel=0.35)  # a fixed batch size would have none
    assert all(len(set(each)) == len(each) for each in draws)
    often = np.bincount(np.concatenate(draws), minlength=400) / 500
    assert often.min() > 0.03 and often.max() < 0.18
    assert len(source.poisson(5, 1e-9)) == 0


def test_poisson_sampling_reaches_every_record_of_a_large_site():
    source = Randomness.insecure_for_tests(5)
    assert np.array_equal(source.poisson(80_000, 1.0), np.arange(80_000)) and len(source.poisson(0, 0.5)) == 0
    chosen = source.poisson(80_000, 0.5)
    assert (np.diff(chosen) > 0).all() and chosen.max() > 79_900
    assert len(chosen) == pytest.approx(40_000, abs=5 * 142)
