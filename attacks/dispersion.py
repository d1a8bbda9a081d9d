"""Min-Max and Min-Sum: as far from the mean as the honest updates are from each other, and no farther.

Both send μ + γp for a fixed perturbation p. Min-Max takes the largest γ at which no honest update is farther from the
crafted one than the two most distant honest updates are from each other (eq. 8); Min-Sum bounds the sum of squared
distances by the largest such sum of an honest update (eq. 9). Neither knows the rule; both pass whatever judges by
distance. The papers search γ by bisection (algorithm 1). Both bounds are quadratics in γ, so γ is exact here.

p is −σ, −sign(μ) or −μ/‖μ‖: one class each, as they behave like different attacks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks.base import Knowledge, Matrix, View, copies
from attacks.span import Direction, Span, against_mean, against_sign, against_std, span_of

__all__ = [
    "MinMax",
    "MinMaxSign",
    "MinMaxUnit",
    "MinSum",
    "MinSumSign",
    "MinSumUnit",
    "min_max_factor",
    "min_sum_factor",
]

_PAPER = "Shejwalkar 2021, Manipulating the Byzantine, NDSS, AGR-agnostic attacks, algorithm 1"


@dataclass(frozen=True)
class _Dispersed(ABC):
    name: ClassVar[str]
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = _PAPER
    trains: ClassVar[bool] = False
    direction: ClassVar[Direction] = staticmethod(against_std)

    def craft(self, view: View) -> Matrix:
        """(f, d): f times μ + γp."""
        span = span_of(view.honest_for(self.name), type(self).direction)
        return copies(span.vector(1.0, self.factor(span)), view.f)

    @abstractmethod
    def factor(self, span: Span) -> float:
        """γ."""


class MinMax(_Dispersed):
    """No honest update is farther from the crafted one than honest updates are from each other; p = −σ."""

    name: ClassVar[str] = "min_max"

    def factor(self, span: Span) -> float:
        """γ."""
        return min_max_factor(span)


class MinMaxSign(MinMax):
    """Min-Max with p = −sign(μ)."""

    name: ClassVar[str] = "min_max_sign"
    direction: ClassVar[Direction] = staticmethod(against_sign)


class MinMaxUnit(MinMax):
    """Min-Max with p = −μ/‖μ‖ (its length is of no account, as γ scales with it)."""

    name: ClassVar[str] = "min_max_unit"
    direction: ClassVar[Direction] = staticmethod(against_mean)


class MinSum(_Dispersed):
    """The sum of squared distances to the honest updates is at most the largest such sum of an honest one; p = −σ."""

    name: ClassVar[str] = "min_sum"

    def factor(self, span: Span) -> float:
        """γ."""
        return min_sum_factor(span)


class MinSumSign(MinSum):
    """Min-Sum with p = −sign(μ)."""

    name: ClassVar[str] = "min_sum_sign"
    direction: ClassVar[Direction] = staticmethod(against_sign)


class MinSumUnit(MinSum):
    """Min-Sum with p = −μ/‖μ‖."""

    name: ClassVar[str] = "min_sum_unit"
    direction: ClassVar[Direction] = staticmethod(against_mean)


def min_max_factor(span: Span) -> float:
    """Largest γ with max_i ‖μ + γp − x_i‖² ≤ max_ij ‖x_i − x_j‖²; 0 when p is 0.

    Of c_i = x_i − μ each bound is γ²‖p‖² − 2γ⟨p, c_i⟩ + ‖c_i‖² ≤ D, and ‖c_i‖² ≤ D, so each has one root from 0 up.
    """
    h = span.h
    length, along, norms = span.gram[-1, -1], span.gram[-1, :h], np.diagonal(span.gram)[:h]
    if length == 0:
        return 0.0
    farthest = span.squared_distances(span.coordinates(0, 0.0, 0.0)).max()
    roots = (along + np.sqrt(along**2 + length * np.maximum(farthest - norms, 0.0))) / length
    return float(roots.min())


def min_sum_factor(span: Span) -> float:
    """Largest γ with Σ_i ‖μ + γp − x_i‖² ≤ max_i Σ_j ‖x_i − x_j‖²; 0 when p is 0.

    The deviations from the mean sum to 0, so the left side is Σ‖c_i‖² + hγ²‖p‖².
    """
    length, spread = span.gram[-1, -1], float(np.trace(span.gram[: span.h, : span.h]))
    if length == 0:
        return 0.0
    bound = float(span.squared_distances(span.coordinates(0, 0.0, 0.0)).sum(axis=1).max())
    return math.sqrt(max(bound - spread, 0.0) / (span.h * length))
