"""Tails and quantiles of four distributions, exact to rounding: normal, χ², binomial, Kolmogorov.

An audit's confidence is only as good as its quantiles, so there are no approximations that hold "for large n" here,
Kolmogorov's limit law excepted. They are few enough to be read, need nothing but NumPy, and are held to SciPy's in
the tests, relative error 1e-9.

χ²: regularised incomplete gamma function by its series below the mean and Lentz's continued fraction above it
(Press et al., "Numerical Recipes", third edition, section 6.2). Binomial intervals: Clopper & Pearson 1934.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = [
    "Interval",
    "binomial_log_pmf",
    "binomial_upper_tail",
    "chi2_lower_tail",
    "chi2_quantile",
    "chi2_upper_tail",
    "clopper_pearson",
    "kolmogorov_upper_tail",
    "normal_log_lower_tail",
    "normal_lower_tail",
    "normal_quantile",
]

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

_MOST_TERMS = 100_000
_TINY = 1e-300
_STANDARD = NormalDist()


def normal_lower_tail(x: float) -> float:
    """Φ(x) = P[N(0, 1) ≤ x]."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def normal_log_lower_tail(x: float) -> float:
    """ln Φ(x), also where Φ(x) is below the smallest float."""
    if x > -30.0:
        return math.log(normal_lower_tail(x))
    # Mills' ratio, to relative 1e-9 at -30 and better beyond (Abramowitz & Stegun 26.2.12).
    s = 1 / (x * x)
    return (
        -0.5 * x * x - math.log(-x * math.sqrt(2 * math.pi)) + math.log1p(-s * (1 - 3 * s * (1 - 5 * s * (1 - 7 * s))))
    )


def normal_quantile(p: float) -> float:
    """The x with Φ(x) = p, 0 < p < 1 (Wichura 1988, AS 241)."""
    return _STANDARD.inv_cdf(p)


def chi2_lower_tail(x: float, degrees: float) -> float:
    """P[χ²(degrees) ≤ x]."""
    return _gamma_tails(degrees / 2, x / 2)[0]


def chi2_upper_tail(x: float, degrees: float) -> float:
    """P[χ²(degrees) > x], exact also where it is tiny."""
    return _gamma_tails(degrees / 2, x / 2)[1]


@lru_cache(maxsize=64)
def chi2_quantile(p: float, degrees: float) -> float:
    """The x with P[χ²(degrees) ≤ x] = p, 0 < p < 1."""
    high = degrees
    while chi2_lower_tail(high, degrees) < p:
        high *= 2
    return _root(lambda x: chi2_lower_tail(x, degrees) - p, 0.0, high)


def binomial_log_pmf(n: int, p: float) -> Floats:
    """(n + 1,): ln P[Bin(n, p) = k] for k = 0 .. n, 0 < p < 1."""
    logs = _log_factorials(n)
    k = np.arange(n + 1)
    found: Floats = logs[n] - logs - logs[::-1] + k * math.log(p) + (n - k) * math.log1p(-p)
    return found


def binomial_upper_tail(k: int, n: int, p: float) -> float:
    """P[Bin(n, p) ≥ k]."""
    if k <= 0 or p >= 1:
        return 1.0 if k <= n else 0.0
    if k > n or p <= 0:
        return 0.0
    return min(1.0, float(np.exp(binomial_log_pmf(n, p)[k:]).sum()))


def clopper_pearson(hits: int, trials: int, *, confidence: float) -> Interval:
    """The exact two-sided interval of a probability of which `hits` of `trials` were seen.

    Raises:
        ValueError: there were no trials, or more hits than trials.
    """
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"{hits} hits of {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _root(lambda p: binomial_upper_tail(hits, trials, p) - tail, 0.0, 1.0)
    high = 1.0
    if hits < trials:
        # P[Bin(n, p) ≤ k] = P[Bin(n, 1 − p) ≥ n − k]
        high = _root(lambda p: tail - binomial_upper_tail(trials - hits, trials, 1 - p), 0.0, 1.0)
    return low, high


def kolmogorov_upper_tail(distance: float, n: int) -> float:
    """P[D > distance] for the largest gap D between the step function of n values and their distribution.

    The limit law with Stephens' correction (1970): two digits right from n = 20 on.
    """
    root = math.sqrt(n)
    argument = (root + 0.12 + 0.11 / root) * distance
    if argument < 0.3:
        return 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2 * (k * argument) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * sum(terms)))


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Floats:
    """(n + 1,): ln k! for k = 0 .. n."""
    found: Floats = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return found


def _gamma_tails(a: float, x: float) -> tuple[float, float]:
    """The regularised incomplete gamma functions P(a, x) and Q(a, x) = 1 − P."""
    if x <= 0:
        return 0.0, 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        lower = min(1.0, scale * _gamma_series(a, x))
        return lower, 1 - lower
    upper = min(1.0, scale * _gamma_fraction(a, x))
    return 1 - upper, upper


def _gamma_series(a: float, x: float) -> float:
    term = total = 1 / a
    for k in range(1, _MOST_TERMS):
        term *= x / (a + k)
        total += term
        if term < total * 1e-17:
            break
    return total


def _gamma_fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    found = d
    for k in range(1, _MOST_TERMS):
        step = -k * (k - a)
        b += 2
        d = 1 / _apart(step * d + b)
        c = _apart(b + step / c)
        found *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return found


def _apart(value: float) -> float:
    """`value`, moved away from zero, by which Lentz's method divides."""
    return value if abs(value) > _TINY else _TINY


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero between `low` and `high`, by bisection to the last bit."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high
