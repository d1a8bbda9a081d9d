"""Is the noise that came out the noise that was promised: its size, and its shape.

Where a coordinate holds nothing but noise, its square over the promised variance is χ² distributed; over n such
coordinates the sum is χ²(n), exactly, whatever n is. Noise of 0.95 of what is claimed makes ε larger by a twentieth
and is found with about 5,000 coordinates (`coordinates_needed`), where bounds of ε by guessing need far more.

Size alone is fooled by noise that is large in a few coordinates and absent in the others, so two shape tests stand
beside it: Kolmogorov and Smirnov's distance to a normal law of the measured width (as the width is fitted, it flags
less often than its level: Lilliefors 1967), and Anscombe & Glynn's test of the kurtosis (1983).

The levels below add up to 7 false flags in 10,000 audits of correct noise. Too little noise breaks a promise of
privacy; too much does not, but it says that what ran is not what was described.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.leakage.distributions import (
    Interval,
    chi2_lower_tail,
    chi2_quantile,
    chi2_upper_tail,
    kolmogorov_upper_tail,
    normal_lower_tail,
)

__all__ = [
    "FALSE_FLAGS",
    "TOO_LARGE",
    "TOO_SMALL",
    "WRONG_SHAPE",
    "NoiseTest",
    "coordinates_needed",
    "judge_noise",
    "power",
]

TOO_SMALL, TOO_LARGE, WRONG_SHAPE = "noise-too-small", "noise-too-large", "noise-not-gaussian"

_SMALL_LEVEL, _LARGE_LEVEL, _SHAPE_LEVEL = 4e-4, 1e-4, 1e-4
FALSE_FLAGS = _SMALL_LEVEL + _LARGE_LEVEL + 2 * _SHAPE_LEVEL
"""Most probability that correct noise gets any flag."""
LEAST_COORDINATES = 20
_CONFIDENCE = 0.999

ASSUMES = (
    "the coordinates hold noise alone, drawn independently for each; the test sees the noise in these coordinates and"
    " not in others"
)


@dataclass(frozen=True)
class NoiseTest:
    """`ratio`: measured over claimed standard deviation, with its 99.9 % interval; `p_…`: of each test."""

    coordinates: int
    ratio: float
    ratio_interval: Interval
    p_small: float
    p_large: float
    p_distance: float
    p_kurtosis: float
    flags: tuple[str, ...]
    assumes: str = ASSUMES


def judge_noise(values: npt.ArrayLike, claimed_std: npt.ArrayLike) -> NoiseTest:
    """Hold pure noise against its claim.

    values: (n,), n ≥ 20; claimed_std: a number above 0, or (n,) of them.

    Raises:
        ValueError: too few values, a value is not finite, or a claim is not above zero.
    """
    noise, claim = np.asarray(values, np.float64), np.asarray(claimed_std, np.float64)
    if noise.ndim != 1 or len(noise) < LEAST_COORDINATES:
        raise ValueError(f"noise of shape {noise.shape} is not at least {LEAST_COORDINATES} coordinates")
    if not np.isfinite(noise).all():
        raise ValueError("the noise is not finite")
    if not ((claim > 0) & np.isfinite(claim)).all():
        raise ValueError("a claimed standard deviation is not above zero")
    n, standard = len(noise), noise / claim
    squares = float((standard**2).sum())
    ratio = math.sqrt(squares / n)
    tail = (1 - _CONFIDENCE) / 2
    interval = (math.sqrt(squares / chi2_quantile(1 - tail, n)), math.sqrt(squares / chi2_quantile(tail, n)))
    p_small, p_large = chi2_lower_tail(squares, n), chi2_upper_tail(squares, n)
    # Noise that is exactly zero everywhere has no shape.
    p_distance, p_kurtosis = (_distance_p(standard / ratio), _kurtosis_p(standard)) if ratio > 0 else (0.0, 0.0)
    flags = [
        name
        for name, raised in (
            (TOO_SMALL, p_small < _SMALL_LEVEL),
            (TOO_LARGE, p_large < _LARGE_LEVEL),
            (WRONG_SHAPE, min(p_distance, p_kurtosis) < _SHAPE_LEVEL),
        )
        if raised
    ]
    return NoiseTest(n, ratio, interval, p_small, p_large, p_distance, p_kurtosis, tuple(flags))


def power(coordinates: int, ratio: float) -> float:
    """The probability that Gaussian noise of `ratio` times what is claimed is flagged for its size."""
    low = chi2_quantile(_SMALL_LEVEL, coordinates)
    high = chi2_quantile(1 - _LARGE_LEVEL, coordinates)
    return chi2_lower_tail(low / ratio**2, coordinates) + chi2_upper_tail(high / ratio**2, coordinates)


def coordinates_needed(ratio: float, *, wanted_power: float = 0.95) -> int:
    """The fewest coordinates with which noise of `ratio` times the claim is flagged with the wanted probability.

    Raises:
        ValueError: the ratio is 1 (or so near that a million coordinates do not tell), or no power is asked for.
    """
    if not 0 < ratio < math.inf or not 0 < wanted_power < 1:
        raise ValueError(f"no number of coordinates tells a ratio of {ratio} with power {wanted_power}")
    low, high = 1, 2
    while power(high, ratio) < wanted_power:
        low, high = high, 2 * high
        if high > 1 << 20:
            raise ValueError(f"a ratio of {ratio} cannot be told from 1 by a million coordinates")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(middle, ratio) < wanted_power else (low, middle)
    return high


def _distance_p(standard: npt.NDArray[np.float64]) -> float:
    n = len(standard)
    expected = 0.5 * np.vectorize(math.erfc, otypes=[float])(-np.sort(standard) / math.sqrt(2))
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    return kolmogorov_upper_tail(distance, n)


def _kurtosis_p(values: npt.NDArray[Any]) -> float:
    """Two-sided p of the fourth moment (Anscombe & Glynn 1983, equations 1 to 5)."""
    n = len(values)
    centred = values - values.mean()
    spread = float((centred**2).mean())
    if spread == 0:
        return 0.0
    b2 = float((centred**4).mean()) / spread**2
    expected = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (b2 - expected) / math.sqrt(variance)
    skew = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / skew * (2 / skew + math.sqrt(1 + 4 / skew**2))
    denominator = 1 + x * math.sqrt(2 / (a - 4))
    cube = math.copysign((1 - 2 / a) ** (1 / 3) / abs(denominator) ** (1 / 3), denominator) if denominator else math.inf
    z = (1 - 2 / (9 * a) - cube) / math.sqrt(2 / (9 * a))
    return 2 * normal_lower_tail(-abs(z))
