"""What a handful of seeds can and cannot show. Pure functions of numbers; nothing here knows what was measured.

- Intervals: percentile bootstrap of the mean (Efron and Tibshirani 1993, chapter 13). Few values have few
  resamples, so up to nine the bootstrap distribution is enumerated: it is exact and needs no random numbers.
  It is too narrow for few values (Hesterberg 2015, section 3.2); `COVERAGE` says by how much.
- Paired tests: exact sign-flip permutation (Fisher 1935). Of two-sided tests without a distribution it keeps
  the sizes of the differences, which the signed-rank test gives up, and ties do not trouble it. It assumes that
  a difference is as likely as its negative. With k pairs no p is below 2^(1 - k), whatever was measured.
- Many comparisons: Holm (1979), which holds under any dependence.
- Breakdown: the bracket of attackers between which a defense gives way; a curve that was measured at a few
  points does not have a point of breakdown that is known any better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = [
    "COVERAGE",
    "Breakdown",
    "Estimate",
    "WorstCase",
    "breakdown",
    "estimate",
    "holm",
    "least_p",
    "pairs_needed",
    "sign_flip_p",
    "worst_case",
]

Numbers = npt.NDArray[np.float64]

CONFIDENCE = 0.95
# How often a nominal 95 % interval holds the mean of a normal variable, by the number of values: simulated, ±0.01.
COVERAGE = {3: 0.75, 4: 0.80, 5: 0.84, 6: 0.86, 8: 0.89, 10: 0.90, 20: 0.93}
FEWEST = 3  # values for which an interval is given at all
_ENUMERATED = 9  # values up to which the distribution is exact: at most 24,310 distinct resamples
_DRAWN = 10_000  # resamples, or sign patterns, where there are too many to list
_PATTERNS = 16  # pairs up to which all 2^k sign patterns are listed
_SLACK = 1e-12  # relative; sums that are equal on paper differ by rounding


@dataclass(frozen=True)
class Estimate:
    """A mean of `count` values, with an interval where there are enough values for one."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class WorstCase:
    """The attack (its row) with the lowest mean; the interval takes into account that the lowest was picked."""

    row: int
    estimate: Estimate


@dataclass(frozen=True)
class Breakdown:
    """Where a falling curve crosses a threshold: it holds at `holds` attackers and is below at `breaks`.

    `holds` None: below at once. `breaks` None: never below within what was tried.
    """

    holds: int | None
    breaks: int | None


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """Mean and percentile bootstrap interval at 95 % of finite values; no interval for fewer than three.

    Args:
        seed: of the resampling, used only for ten values or more.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    return _estimate(_finite(values)[None, :], lambda means: means[0], seed)


def worst_case(values: npt.ArrayLike, *, seed: int = 0) -> WorstCase:
    """The row of `values` (attacks, seeds) with the lowest mean.

    The seeds are resampled for all rows at once and the lowest is picked anew in each resample.

    Raises:
        ValueError: no row, no column, or a value that is not finite.
    """
    rows = _finite(values)
    return WorstCase(int(rows.mean(axis=1).argmin()), _estimate(rows, lambda means: means.min(axis=0), seed))


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p of "each difference is as likely as its negative", from the sum of k differences.

    All 2^k sign patterns are listed up to k = 16; beyond, 10,000 are drawn, and the pattern that was seen is
    counted among them so that p is never zero (Phipson and Smyth 2010).

    Raises:
        ValueError: no difference, or one that is not finite.
    """
    values = _finite(differences)
    # Of all terms, not of the sum: in a sum that cancels rounding is as large as the terms make it.
    seen = abs(values.sum()) - _SLACK * np.abs(values).sum()
    if len(values) <= _PATTERNS:
        return float(np.mean(np.abs(_sign_patterns(len(values)) @ values) >= seen))
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (_DRAWN, len(values)))
    return float((1 + np.sum(np.abs(signs @ values) >= seen)) / (1 + _DRAWN))


def least_p(pairs: int) -> float:
    """The smallest p that a two-sided sign-flip test of so many pairs can give: 2^(1 - pairs)."""
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_needed(comparisons: int, level: float = 0.05) -> int:
    """Seeds from which the strongest of so many comparisons can pass Holm's first step at `level`."""
    return math.ceil(math.log2(max(1, comparisons) / level) + 1 - _SLACK)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: reject those ≤ α, and the chance of any false one is ≤ α.

    p_(i) becomes max over j ≤ i of min(1, (m - j + 1) p_(j)).
    """
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    adjusted, floor = [0.0] * len(ps), 0.0
    for step, at in enumerate(order):
        floor = max(floor, min(1.0, (len(ps) - step) * ps[at]))
        adjusted[at] = floor
    return adjusted


def breakdown(curve: Sequence[tuple[int, float]], threshold: float) -> Breakdown:
    """The bracket in which `curve`, pairs of (attackers, value), first falls below `threshold`.

    A curve that comes back later has broken down all the same: an attacker may choose to send fewer.
    """
    holds = None
    for attackers, value in sorted(curve):
        if not value >= threshold:
            return Breakdown(holds, attackers)
        holds = attackers
    return Breakdown(holds, None)


def _estimate(rows: Numbers, pick: Callable[[Numbers], Numbers], seed: int) -> Estimate:
    """`pick` maps means (rows, resamples) to the statistic (resamples,)."""
    count = rows.shape[1]
    mean = float(pick(rows.mean(axis=1, keepdims=True))[0])
    if count < FEWEST:
        return Estimate(mean, None, None, count)
    weights, chances = _resamples(count, seed)
    low, high = _percentiles(pick(rows @ weights.T), chances)
    return Estimate(mean, low, high, count)


@lru_cache(maxsize=32)
def _resamples(count: int, seed: int) -> tuple[Numbers, Numbers]:
    """Weights of each value, (R, count), and the chance of each resample, (R,)."""
    if count > _ENUMERATED:
        drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, _DRAWN)
        return drawn / count, np.full(_DRAWN, 1 / _DRAWN)
    times = np.array(
        [np.bincount(pick, minlength=count) for pick in itertools.combinations_with_replacement(range(count), count)]
    )
    ways = [math.factorial(count) / math.prod(math.factorial(each) for each in row) for row in times.tolist()]
    return times / count, np.array(ways) / count**count


def _percentiles(statistic: Numbers, chances: Numbers) -> tuple[float, float]:
    """The two quantiles that cut 2.5 % off each end, by the same rule from either side."""
    order = np.argsort(statistic)
    sorted_values, sorted_chances = statistic[order], chances[order]
    tail = (1 - CONFIDENCE) / 2 * (1 - _SLACK)
    low = sorted_values[np.searchsorted(np.cumsum(sorted_chances), tail)]
    high = sorted_values[::-1][np.searchsorted(np.cumsum(sorted_chances[::-1]), tail)]
    return float(low), float(high)


@lru_cache(maxsize=32)
def _sign_patterns(count: int) -> Numbers:
    """All of {-1, 1}^count, (2^count, count)."""
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    return np.asarray(1 - 2 * bits, dtype=np.float64)


def _finite(values: npt.ArrayLike) -> Numbers:
    array = np.asarray(values, dtype=np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError("statistics need at least one value, and finite ones only")
    return array
