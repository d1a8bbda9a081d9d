"""Attacks that try the defense before they strike: the worst z or τ against the rule in force.

ALIE and IPM with a fixed factor are easy to resist once the factor is known. Here the factor is searched for the one
round, by maximising how far the step lands from the honest mean. Any rule will do: it is called as the server would.
A rule that also offers `weights_of_gram` (all whose step is a weighted sum of updates) is searched without touching a
d-sized array: from one Gram matrix follow the inner products of every candidate, hence the weights, hence the damage.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks._validate import finite, positive, whole
from attacks.base import AttackError, Knowledge, Matrix, Rule, SpanRule, Vector, View, copies
from attacks.span import Direction, Floats, Span, against_mean, along_std, span_of

__all__ = ["OptALIE", "OptIPM", "worst_factor"]

Damage = Callable[[float], float]  # ‖step − μ‖ when the crafted vector has that factor

_CHUNK = 1 << 18


@dataclass(frozen=True)
class _Searched:
    """All f send anchor · μ + t · direction with the worst t that `evals` trials find.

    evals: calls of the rule. start, delta: first factor and first step. ratio: by which the step shrinks.
    """

    evals: int = 20
    start: float = 0.0
    delta: float = 10.0
    ratio: float = 0.8

    name: ClassVar[str]
    knowledge: ClassVar[Knowledge] = Knowledge.DEFENSE
    trains: ClassVar[bool] = False
    anchor: ClassVar[float]
    direction: ClassVar[Direction]

    def __post_init__(self) -> None:
        whole(self.name, 1, evals=self.evals)
        finite(self.name, start=self.start)
        positive(self.name, delta=self.delta)
        if not 0.5 < self.ratio < 1:
            raise AttackError(f"{self.name}(ratio={self.ratio:g})", why="it must lie in (0.5, 1)", fix="try 0.8")

    def craft(self, view: View) -> Matrix:
        """(f, d): f times the worst vector found."""
        honest, rule = view.honest_for(self.name), view.rule_for(self.name)
        span = span_of(honest, type(self).direction)
        damage = _damage(span, honest, view.f, rule, self.anchor)
        factor = worst_factor(damage, evals=self.evals, start=self.start, delta=self.delta, ratio=self.ratio)
        return copies(span.vector(self.anchor, factor), view.f)


@dataclass(frozen=True)
class OptALIE(_Searched):
    """ALIE with the worst z against the rule in force: μ + zσ."""

    name: ClassVar[str] = "opt_alie"
    paper: ClassVar[str] = "Allouah 2023, Fixing by mixing, AISTATS, experiments (Opt-ALIE; arXiv 2302.01772)"
    anchor: ClassVar[float] = 1.0
    direction: ClassVar[Direction] = staticmethod(along_std)


@dataclass(frozen=True)
class OptIPM(_Searched):
    """IPM with the worst τ against the rule in force: −τμ."""

    name: ClassVar[str] = "opt_ipm"
    paper: ClassVar[str] = "Allouah 2023, Fixing by mixing, AISTATS, experiments (Opt-IPM; arXiv 2302.01772)"
    anchor: ClassVar[float] = 0.0
    direction: ClassVar[Direction] = staticmethod(against_mean)


def worst_factor(damage: Damage, *, evals: int, start: float, delta: float, ratio: float) -> float:
    """The factor of largest damage that `evals` trials find, by ByzFL's search.

    Steps double while the damage grows; from the first step that does not pay they shrink by `ratio`, and each that
    pays is taken. NaN never pays.
    """
    best, worst = start, damage(start)
    if math.isnan(worst):
        worst = -math.inf
    growing = True
    for _ in range(evals - 1):
        harm = damage(best + delta)
        if harm > worst:
            best, worst = best + delta, harm
            delta *= 2 if growing else ratio
        else:
            growing, delta = False, delta * ratio
    return best


def _damage(span: Span, honest: Matrix, f: int, rule: Rule, anchor: float) -> Damage:
    if isinstance(rule, SpanRule):
        return _damage_in_span(span, f, rule, anchor)
    return _damage_by_trial(span, honest, f, rule, anchor)


def _damage_in_span(span: Span, f: int, rule: SpanRule, anchor: float) -> Damage:
    """The damage by inner products alone: nothing of size d is touched."""
    rows = span.coordinates(f, anchor, 0.0)

    def damage(factor: float) -> float:
        rows[span.h :, -1] = factor
        deviation = rule.weights_of_gram(span.products(rows)) @ rows
        deviation[-2] -= 1.0  # step − μ
        return math.sqrt(max(float(deviation @ span.gram @ deviation), 0.0))

    return damage


def _damage_by_trial(span: Span, honest: Matrix, f: int, rule: Rule, anchor: float) -> Damage:
    """The damage by running the rule on all n updates, in one buffer."""
    h, d = honest.shape
    updates = np.empty((h + f, d), np.float32)
    updates[:h] = honest

    def damage(factor: float) -> float:
        updates[h:] = span.vector(anchor, factor)
        return _distance(rule(updates), span.mean)

    return damage


def _distance(step: Vector, mean: Floats) -> float:
    """‖step − mean‖, in float64 by chunks."""
    total = 0.0
    for start in range(0, mean.size, _CHUNK):
        difference = step[start : start + _CHUNK] - mean[start : start + _CHUNK]
        total += float(difference @ difference)
    return math.sqrt(total)
