"""Discrete Gaussian noise: tables against exact probabilities, draws against their law."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from secure_fl.secagg.noise import DRAW_DISTANCE, DiscreteGaussian, _AliasTable, _table, digits_of


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def law(variance: float, reach: int) -> np.ndarray:
    """N_Z(0, variance) on -reach … reach, in float64."""
    masses = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * variance))
    return masses / masses.sum()


def exact(variance: float, reach: int) -> dict[int, Decimal]:
    """The same to 60 digits, each mass by an exponential of its own."""
    with localcontext() as context:
        context.prec = 60
        side = [(Decimal(-x * x) / (2 * Decimal(variance))).exp() for x in range(reach + 1)]
        total = 2 * sum(side) - 1
        return {sign * x: mass / total for x, mass in enumerate(side) for sign in (1, -1)}


@pytest.mark.parametrize("variance", [1.0, 30.25, 700.0**2, 1024.0**2])
def test_a_table_is_within_the_stated_distance_of_the_law(variance):
    table = _table(variance)
    cells, full = len(table.high), 1 << 128
    masses: Counter[int] = Counter()
    for cell, (high, low, alias) in enumerate(zip(table.high, table.low, table.alias, strict=True)):
        threshold = int(high) << 64 | int(low)
        masses[cell - table.reach] += threshold
        masses[int(alias) - table.reach] += full - threshold
    ideal = exact(variance, 2 * table.reach)
    distance = sum(abs(Fraction(masses[x], cells * full) - Fraction(mass)) for x, mass in ideal.items()) / 2
    assert sum(masses.values()) == cells * full
    assert distance < DRAW_DISTANCE / 8


@pytest.mark.parametrize("sigma", [1030.0, 5000.0])
def test_two_digits_make_one_discrete_gaussian(sigma):
    low, high = digits_of(sigma**2)
    reach = math.ceil(9 * math.sqrt(high))
    made: Counter[int] = Counter()
    small = law(low, 6000)
    for y, mass in zip(range(-reach, reach + 1), law(high, reach), strict=True):
        for z in range(-256, 257, 64):
            if abs(z - 128 * y) <= 6000:
                made[z] += mass * small[z - 128 * y + 6000]
    ideal = law(sigma**2, 60_000)
    for z, mass in made.items():
        assert mass == pytest.approx(ideal[z + 60_000], rel=1e-11)


@pytest.mark.parametrize("sigma", [1.0, 1024.5, 30_000.0, 1e5, 1e8])
def test_the_digits_have_the_variance_and_are_smooth_enough(sigma):
    digits = digits_of(sigma**2)
    assert sum(each * 128 ** (2 * place) for place, each in enumerate(digits)) == pytest.approx(sigma**2, rel=1e-12)
    for place in range(len(digits) - 1):
        rest = sum(each * 128 ** (2 * step) for step, each in enumerate(digits[place + 1 :]))
        tau_squared = digits[place] * rest / (digits[place] + 128**2 * rest)
        assert 2.1 * math.exp(-2 * math.pi**2 * tau_squared) < 2.0**-330


@pytest.mark.parametrize("sigma", [1.0, 3.7, 30.0, 300.0, 1500.0])
def test_draws_follow_the_law(sigma):
    drawn = DiscreteGaussian(sigma**2).sample(400_000, key(1))
    reach = math.ceil(14 * sigma)
    edges = np.unique(np.round(np.linspace(-3.5 * sigma, 3.5 * sigma, 41))).astype(int)  # between integers
    observed = np.bincount(np.searchsorted(edges, drawn), minlength=len(edges) + 1)
    cells = np.searchsorted(edges, np.arange(-reach, reach + 1))
    expected = np.bincount(cells, weights=law(sigma**2, reach)) * len(drawn)
    assert stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("sigma", [2.0, 512.0, 65_000.0, 1e7])
def test_draws_have_the_moments_symmetry_and_tails_of_a_gaussian(sigma):
    count = 400_000
    standard = DiscreteGaussian(sigma**2).sample(count, key(2)) / sigma
    assert abs(standard.mean()) < 4 / math.sqrt(count)
    assert abs(standard.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((standard**3).mean()) < 4 * math.sqrt(15 / count)
    assert abs(np.mean(standard > 0) - np.mean(standard < 0)) < 4 / math.sqrt(count)
    if sigma > 100:
        expected = count * 2 * stats.norm.sf(4)
        assert abs(np.sum(np.abs(standard) > 4) - expected) < 4 * math.sqrt(expected)
        assert stats.kstest(standard, "norm").pvalue > 1e-4


def test_coordinates_are_independent_of_each_other():
    drawn = DiscreteGaussian(1e8).sample(200_000, key(3)) / 1e4
    for lag in (1, 2, 1 << 14):
        assert abs(np.mean(drawn[lag:] * drawn[:-lag])) < 4 / math.sqrt(len(drawn) - lag)


def test_a_key_gives_one_stream_and_another_key_another():
    noise = DiscreteGaussian(1e6)
    long, short = noise.sample(20_000, key(4)), noise.sample(1 << 14, key(4))
    assert np.array_equal(long[: 1 << 14], short)
    assert np.mean(long == noise.sample(20_000, key(5))) < 0.01
    assert len(noise.sample(0, key(4))) == 0


def test_a_tie_of_the_upper_halves_is_decided_by_the_lower():
    class Draws:
        """Two coins that equal the threshold's upper half, and what decides: once below, once not."""

        def __init__(self) -> None:
            self.lower = iter([4, 5])

        def block(self, count):
            return np.array([7, 7, 6, 8], np.uint64)[:count], np.zeros(count, np.uint16)

        def more(self):
            return next(self.lower)

    table = _AliasTable(0, np.array([7, 0], np.uint64), np.array([5, 0], np.uint64), np.array([1, 1], np.uint16))
    assert table.sample(4, Draws()).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("variance", [0.0, 0.99, -1.0, math.nan, math.inf, 2.0**81])
def test_a_variance_that_no_proof_covers_is_refused(variance):
    with pytest.raises(ValueError, match="variance"):
        DiscreteGaussian(variance)
