"""A lower bound of ε from one run, which believes nothing about the mechanism.

Steinke, Nasr & Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023, algorithm 1. m canaries are
included by independent fair coins; after the run the auditor guesses the coins of r of them (the k highest scores as
in, the k lowest as out) and v guesses are right. If the mechanism is (ε, δ)-DP, then (theorem 5.2)

    P[at least v right] ≤ P[Bin(r, p) ≥ v] + 2mδ · max_i P[v − i ≤ Bin(r, p) < v] / i,      p = e^ε/(1 + e^ε)

so each ε whose right side is below 1 − confidence is refuted, and with it every smaller one. How many to guess has
to be fixed before looking: a grid of k is tried, and each is held to its share of the error (Bonferroni).

The bound cannot pass the ceiling that perfect scores reach with so many canaries; it is reported, because a bound near
it says little about how much larger ε may be. Canaries that each own a coordinate (Dirac canaries) are the sharpest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.leakage.distributions import binomial_log_pmf

__all__ = ["SHARES", "OneRunAudit", "audit_one_run", "p_value"]

ASSUMES = (
    "the coins were fair, independent, secret during the run and fixed before it; nothing is assumed of the mechanism"
)
SHARES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
"""The grid: k as a share of the canaries."""
LEAST_CANARIES = 20
_MOST_EPSILON = 64.0


@dataclass(frozen=True)
class OneRunAudit:
    """`guesses` and `right`: of the grid point with the best bound. `ceiling`: the bound that perfect scores give."""

    canaries: int
    guesses: int
    right: int
    epsilon_low: float
    ceiling: float
    delta: float
    confidence: float
    assumes: str = ASSUMES


def audit_one_run(
    scores: npt.ArrayLike, included: npt.ArrayLike, *, delta: float, confidence: float = 0.95
) -> OneRunAudit:
    """The bound from the canaries' scores (m,) and coins (m,) bool; a higher score means "rather in".

    Ties are broken by position, which the coins do not depend on.

    Raises:
        ValueError: fewer than 20 canaries, or a score is NaN.
    """
    values, coins = np.asarray(scores, np.float64), np.asarray(included, bool)
    m = len(values)
    if values.shape != coins.shape or values.ndim != 1 or m < LEAST_CANARIES:
        raise ValueError(f"{values.shape} scores and {coins.shape} coins are not at least {LEAST_CANARIES} canaries")
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    level = (1 - confidence) / len(_grid(m))
    bound, guesses, right = _best(values, coins, delta, level)
    most, _, _ = _best(coins.astype(np.float64), coins, delta, level)
    return OneRunAudit(m, guesses, right, bound, most, delta, confidence)


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The most probability that an (ε, δ)-DP mechanism lets `right` of `guesses` coins be guessed."""
    if right <= 0:
        return 1.0
    p = 1 / (1 + math.exp(-epsilon))
    mass = np.exp(binomial_log_pmf(guesses, p))
    pure = float(mass[right:].sum())
    below = np.cumsum(mass[right - 1 :: -1])  # P[right − i ≤ Bin < right] for i = 1 .. right
    worst = float((below / np.arange(1, right + 1)).max())
    return min(1.0, pure + 2 * canaries * delta * worst)


def _grid(m: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, math.floor(share * m)) for share in SHARES}))


def _best(
    values: npt.NDArray[np.float64], coins: npt.NDArray[np.bool_], delta: float, level: float
) -> tuple[float, int, int]:
    """The best bound over the grid, with its guesses and how many of them are right."""
    m, order = len(values), np.argsort(-values, kind="stable")
    best = (0.0, 0, 0)
    for k in _grid(m):
        right = int(coins[order[:k]].sum() + (~coins[order[m - k :]]).sum())
        best = max(best, (_bound(m, 2 * k, right, delta, level), 2 * k, right))
    return best


def _bound(m: int, guesses: int, right: int, delta: float, level: float) -> float:
    """The largest ε found that is refuted at `level`; 0 where even 0 is not."""

    def refuted(epsilon: float) -> bool:
        return p_value(m, guesses, right, epsilon, delta) < level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < _MOST_EPSILON:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
