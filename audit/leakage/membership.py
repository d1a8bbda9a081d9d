"""Membership inference: can somebody who holds a picture tell from the model whether it was trained on?

Two attacks, both of an adversary who sees the model's outputs:

    loss   score = −loss (Yeom et al. 2018, "Privacy Risk in Machine Learning", section 3.2)
    rmia   score = share of population pictures z with  (p(x)/p̄(x)) / (p(z)/p̄(z)) ≥ γ  (Zarifzadeh, Liu & Shokri 2024,
           "Low-Cost High-Power Membership Inference Attacks", ICML, section 3), p the probability of
           the true label by the model, p̄ by reference models that were trained without x: one or two are enough

What counts is how many members are found at a small false positive rate (Carlini et al. 2022, section 3.2), so the
true positive rate stands at 1 % and 0.1 %, with exact intervals, and not at all where there are too few pictures to
know (fewer than one false positive allowed).

A lower bound of ε follows from any threshold, since TPR ≤ e^ε FPR + δ for (ε, δ)-DP (Kairouz, Oh & Viswanath 2015,
theorem 2.1). The threshold is chosen on one half of the pictures and the bound is taken on the other, so the choice
costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.leakage.distributions import Interval, clopper_pearson, normal_quantile

__all__ = ["MembershipAudit", "Roc", "TruePositives", "audit_membership", "loss_scores", "reference_scores", "roc"]

Floats = npt.NDArray[np.float64]

ASSUMES = (
    "members and non-members are drawn alike, and their scores are independent (one model makes them all, so intervals"
    " and the bound of ε are approximate)"
)
LEAST_PICTURES = 30  # of members and of non-members; fewer say nothing
RATES = (0.01, 0.001)
_POINTS = 200
_CANDIDATES = np.linspace(0, 1, 51)  # quantiles of the scores that may become the threshold


@dataclass(frozen=True)
class TruePositives:
    """At the false positive rate `at`: `rate` of the members is found, with its 95 % interval; None: not resolvable
    with so few non-members."""

    at: float
    rate: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Roc:
    """(false positive rate, true positive rate), from (0, 0) to (1, 1), at most 201 points; all are on the curve."""

    points: tuple[tuple[float, float], ...]
    auc: float
    auc_interval: Interval


@dataclass(frozen=True)
class MembershipAudit:
    """`epsilon_low`: one-sided, with probability `confidence`; `advantage`: the largest TPR − FPR."""

    attack: str
    members: int
    nonmembers: int
    roc: Roc
    true_positives: tuple[TruePositives, ...]
    advantage: float
    epsilon_low: float
    delta: float
    confidence: float
    assumes: str = ASSUMES


def audit_membership(
    attack: str,
    members: npt.ArrayLike,
    nonmembers: npt.ArrayLike,
    *,
    delta: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> MembershipAudit:
    """What an attack's scores amount to; a higher score means "rather a member".

    members: (n,), nonmembers: (k,) scores; rng: splits the pictures into the half that chooses a threshold and the
    half that judges it.

    Raises:
        ValueError: fewer than 30 of either, or a score is NaN.
    """
    inside, outside = np.asarray(members, np.float64), np.asarray(nonmembers, np.float64)
    if min(inside.size, outside.size) < LEAST_PICTURES or inside.ndim != 1 or outside.ndim != 1:
        raise ValueError(
            f"{inside.shape} members and {outside.shape} non-members: at least {LEAST_PICTURES} of each are needed"
        )
    if np.isnan(inside).any() or np.isnan(outside).any():
        raise ValueError("a score is not a number")
    fpr, tpr = _curve(inside, outside)
    return MembershipAudit(
        attack=attack,
        members=len(inside),
        nonmembers=len(outside),
        roc=roc(inside, outside),
        true_positives=tuple(_true_positives(inside, outside, rate) for rate in RATES),
        advantage=float((tpr - fpr).max()),
        epsilon_low=_epsilon_low(inside, outside, delta, confidence, rng),
        delta=delta,
        confidence=confidence,
    )


def roc(members: Floats, nonmembers: Floats) -> Roc:
    """The curve, the area under it, and DeLong's 95 % interval of the area (DeLong et al. 1988, on the logit)."""
    fpr, tpr = _curve(members, nonmembers)
    keep = np.unique(np.linspace(0, len(fpr) - 1, min(_POINTS + 1, len(fpr))).astype(int))
    points = tuple((float(x), float(y)) for x, y in zip(fpr[keep], tpr[keep], strict=True))
    # For each score, the share of the other group that it beats, ties counting half.
    wins, losses = _beaten(members, nonmembers), 1 - _beaten(nonmembers, members)
    area = float(wins.mean())
    variance = float(wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses))
    return Roc(points, area, _logit_interval(area, math.sqrt(variance), len(members) + len(nonmembers)))


def loss_scores(losses: npt.ArrayLike) -> Floats:
    """Yeom's score of each picture from the model's loss on it."""
    return -np.asarray(losses, np.float64)


def reference_scores(
    model: npt.ArrayLike,
    references: npt.ArrayLike,
    population: npt.ArrayLike,
    population_references: npt.ArrayLike,
    *,
    gamma: float = 2.0,
    offline_a: float = 0.3,
) -> Floats:
    """RMIA's score (n,) of each picture, offline: no reference model has seen any picture that it judges.

    model: (n,) probabilities of the true label by the audited model; references: (r, n) by the reference models;
    population, population_references: the same, (k,) and (r, k), of pictures that nobody trained on.
    gamma: how much more likely than z a picture must be; offline_a: a of the paper's appendix B.2.2, by which the
    mean over models that have not seen x is corrected to one over models of which half have.

    Raises:
        ValueError: there is no population, or a probability is outside of 0 .. 1.
    """
    ratios = _ratios(model, references, offline_a)
    others = np.sort(_ratios(population, population_references, offline_a))
    if not len(others):
        raise ValueError("there are no population pictures")
    found: Floats = np.searchsorted(others, ratios / gamma, side="right") / len(others)
    # The share is a step function of the ratio; pictures on one step are told apart by the ratio itself.
    return found + ratios / (1 + ratios) / len(others) / 2


def _ratios(model: npt.ArrayLike, references: npt.ArrayLike, a: float) -> Floats:
    p, out = np.asarray(model, np.float64), np.atleast_2d(np.asarray(references, np.float64)).mean(axis=0)
    if not (((p >= 0) & (p <= 1)).all() and ((out >= 0) & (out <= 1)).all()):
        raise ValueError("a probability is outside of 0 to 1")
    found: Floats = p / np.maximum(0.5 * ((1 + a) * out + (1 - a)), 1e-12)
    return found


def _curve(members: Floats, nonmembers: Floats) -> tuple[Floats, Floats]:
    """(FPR, TPR) at each distinct threshold, from none called a member to all."""
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([members, nonmembers]))[::-1]])
    return _share_above(nonmembers, thresholds), _share_above(members, thresholds)


def _share_above(scores: Floats, thresholds: Floats) -> Floats:
    found: Floats = (len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")) / len(scores)
    return found


def _beaten(scores: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    found: Floats = (below + upto) / (2 * len(others))
    return found


def _logit_interval(area: float, error: float, n: int) -> Interval:
    """At areas of 0 and 1, where the estimated error is 0, a picture's worth of doubt is left."""
    area = min(max(area, 0.5 / n), 1 - 0.5 / n)
    half = normal_quantile(0.975) * max(error, 0.5 / n) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return 1 / (1 + math.exp(-(centre - half))), 1 / (1 + math.exp(-(centre + half)))


def _true_positives(members: Floats, nonmembers: Floats, at: float) -> TruePositives:
    allowed = math.floor(at * len(nonmembers) + 1e-9)
    if allowed < 1:
        return TruePositives(at, None, None)
    fpr, tpr = _curve(members, nonmembers)
    rate = float(tpr[fpr <= allowed / len(nonmembers) + 1e-12].max())
    return TruePositives(at, rate, clopper_pearson(round(rate * len(members)), len(members), confidence=0.95))


def _epsilon_low(inside: Floats, outside: Floats, delta: float, confidence: float, rng: np.random.Generator) -> float:
    """ε from the other half at the threshold that was best on the first, from both directions of the test."""
    (choosing_in, judging_in), (choosing_out, judging_out) = (
        np.array_split(rng.permutation(each), 2) for each in (inside, outside)
    )
    best = (-math.inf, 0.0)
    for threshold in np.unique(np.quantile(np.concatenate([choosing_in, choosing_out]), _CANDIDATES)):
        best = max(best, (_bound_at(choosing_in, choosing_out, threshold, delta, confidence), float(threshold)))
    return max(0.0, _bound_at(judging_in, judging_out, best[1], delta, confidence))


def _bound_at(inside: Floats, outside: Floats, threshold: float, delta: float, confidence: float) -> float:
    """ln((TPR − δ)/FPR) and ln((TNR − δ)/FNR), with TPR and FPR at the unfavourable ends of their intervals."""
    # Both bounds rest on the same two events, TPR and TNR being above their lower ends, so their errors add up to
    # what is allowed: each end is that of a two-sided interval at `confidence`.
    found, called = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    tpr, fnr_high = _ends(found, len(inside), confidence)
    tnr, fpr_high = _ends(len(outside) - called, len(outside), confidence)
    bounds = [math.log((hit - delta) / miss) for hit, miss in ((tpr, fpr_high), (tnr, fnr_high)) if hit > delta]
    return max(bounds, default=0.0)


def _ends(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """The lower end of the rate of hits, and the upper end of the rate of misses."""
    low, _ = clopper_pearson(hits, trials, confidence=confidence)
    return low, 1 - low
