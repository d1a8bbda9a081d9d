"""The Gaussian audit: how far apart the noise leaves those who took part from those who did not.

m canaries are coordinates that no training moves. Each is included, or not, by a secret coin; an included one adds C
to its coordinate in every round, and all pass the noise of the mechanism. With shift Δ and standard deviation s, the
scores of both groups are N(Δ, s²) and N(0, s²), and μ = Δ/s is all there is to know: the mechanism is μ-GDP (Dong,
Roth & Su 2022, "Gaussian Differential Privacy", JRSS B, definition 4), which is (ε, δ(ε))-DP with

    δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2)                                   (corollary 1)

and T rounds of noise multiplier σ compose to μ = √T/σ (corollary 2). So a lower bound of μ is a lower bound of ε.
It is a parametric one: it believes that the noise is Gaussian (`noise` tests that), and in return needs few canaries
where the bound without assumptions (`one_run`) stays far below the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.leakage.distributions import normal_log_lower_tail, normal_lower_tail, normal_quantile

__all__ = ["CONFIDENCE", "GaussianAudit", "audit_gaussian", "composed_mu", "delta_of_gdp", "epsilon_of_gdp", "mu_for"]

ASSUMES = (
    "the noise is Gaussian and equal for all canaries; they were included by fair, secret coins; every included canary"
    " counted in every round (no subsampling); add-or-remove adjacency"
)
CONFIDENCE = 0.9995
"""Of the bound: correct noise exceeds its claim in 5 of 10,000 audits."""
LEAST_CANARIES = 50  # the normal approximation of μ's error is tested from here on
_MOST_EPSILON = 1e6


@dataclass(frozen=True)
class GaussianAudit:
    """`mu_low`, `epsilon_low`: one-sided lower bounds that hold with probability `confidence`."""

    canaries: int
    included: int
    mu: float
    mu_low: float
    epsilon: float
    epsilon_low: float
    delta: float
    confidence: float
    assumes: str = ASSUMES


def audit_gaussian(
    scores: npt.ArrayLike, included: npt.ArrayLike, *, delta: float, confidence: float = CONFIDENCE
) -> GaussianAudit:
    """The lower bound of ε from the canaries' scores.

    scores: (m,) what came out in each canary's coordinate, summed over rounds; included: (m,) bool.

    Raises:
        ValueError: fewer than 50 canaries, a group has fewer than 10, a score is not finite, or there is no noise.
    """
    values, coins = np.asarray(scores, np.float64), np.asarray(included, bool)
    m = len(values)
    if values.shape != coins.shape or values.ndim != 1 or m < LEAST_CANARIES:
        raise ValueError(f"{values.shape} scores and {coins.shape} coins are not at least {LEAST_CANARIES} canaries")
    inside, outside = values[coins], values[~coins]
    if min(len(inside), len(outside)) < 10:
        raise ValueError(f"{len(inside)} canaries took part and {len(outside)} did not: at least 10 of each are needed")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
    std = math.sqrt(squares / (m - 2))
    if std == 0:
        raise ValueError("the scores have no noise at all")
    mu = float(inside.mean() - outside.mean()) / std
    # The error of the two means, and of the standard deviation below them (noncentral t, to first order).
    error = math.sqrt(1 / len(inside) + 1 / len(outside) + mu * mu / (2 * (m - 2)))
    low = max(0.0, mu - normal_quantile(confidence) * error)
    return GaussianAudit(
        canaries=m,
        included=len(inside),
        mu=mu,
        mu_low=low,
        epsilon=epsilon_of_gdp(max(mu, 0.0), delta),
        epsilon_low=epsilon_of_gdp(low, delta),
        delta=delta,
        confidence=confidence,
    )


def composed_mu(noise_multiplier: float, rounds: int) -> float:
    """μ of `rounds` Gaussian mechanisms of sensitivity 1 and noise σ, without subsampling."""
    return math.sqrt(rounds) / noise_multiplier


def delta_of_gdp(mu: float, epsilon: float) -> float:
    """The least δ with which a μ-GDP mechanism is (ε, δ)-DP; μ ≥ 0, ε ≥ 0."""
    if mu == 0:
        return 0.0
    above = normal_lower_tail(-epsilon / mu + mu / 2)
    below = math.exp(epsilon + normal_log_lower_tail(-epsilon / mu - mu / 2))
    return max(0.0, above - below)


def epsilon_of_gdp(mu: float, delta: float) -> float:
    """The least ε ≥ 0 with which a μ-GDP mechanism is (ε, δ)-DP; δ(ε) falls, so bisection finds it.

    Raises:
        ValueError: δ is not between 0 and 1, or μ is negative.
    """
    if not 0 < delta < 1 or not mu >= 0:
        raise ValueError(f"μ = {mu} and δ = {delta} have no ε")
    if delta_of_gdp(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of_gdp(mu, high) > delta:
        low, high = high, 2 * high
        if high > _MOST_EPSILON:
            return math.inf
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of_gdp(mu, middle) > delta else (low, middle)
    return high


def mu_for(epsilon: float, delta: float) -> float:
    """The largest μ whose mechanism is (ε, δ)-DP: what a claim allows. The inverse of `epsilon_of_gdp`."""
    low, high = 0.0, 1.0
    while delta_of_gdp(high, epsilon) <= delta:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of_gdp(middle, epsilon) <= delta else (low, middle)
    return low
