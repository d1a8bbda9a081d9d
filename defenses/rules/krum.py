"""Krum and what is built on it: prefer the updates whose nearest neighbours are near.

The score of an update is the sum of the squared distances to its n − f − 2 nearest others, as in the paper and in
Flower (byzfl counts n − f − 1). Of equal scores the lower row wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = ["Krum", "MultiKrum", "krum_scores"]

_PAPER = "Blanchard et al. 2017, Machine Learning with Adversaries"


def krum_scores(distances2: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """(n,): for each row the sum of its smallest squared distances to `neighbours` others."""
    others = np.sort(distances2 + np.diag(np.full(len(distances2), np.inf)), axis=1)
    return np.asarray(others[:, :neighbours].sum(axis=1))


@dataclass(frozen=True)
class Krum(Rule):
    """The one update with the best score."""

    name = "krum"
    geometric = True
    guarantee = Guarantee(
        paper=f"{_PAPER}, Section 4",
        tolerates="f with n ≥ 2f + 3: the step is an update near an honest one",
        breaks="under skewed data: one site's update stands for all; and by attackers near the mean (ALIE)",
        costs="one read for the Gram (n²·d operations), one row",
    )

    def least_rows(self, f: int) -> int:
        """2f + 3."""
        return 2 * f + 3

    def decide(self, scene: Scene) -> Decision:
        """Weight 1 for the winner."""
        scores = krum_scores(scene.gram.distances2(), scene.n - scene.f - 2)
        return _mean_of(np.argsort(scores, kind="stable")[:1], scene.n)


@dataclass(frozen=True)
class MultiKrum(Rule):
    """The mean of the n − f updates with the best scores."""

    name = "multi_krum"
    geometric = True
    guarantee = Guarantee(
        paper=f"{_PAPER}, Section 5 (m-Krum with m = n − f)",
        tolerates="f with n ≥ 2f + 3",
        breaks="under skewed data: it drops the rare site and may keep f attackers who agree (α = 0.1: below FedAvg)",
        costs="one read for the Gram (n²·d operations), one for the mean",
    )

    def least_rows(self, f: int) -> int:
        """2f + 3."""
        return 2 * f + 3

    def decide(self, scene: Scene) -> Decision:
        """Equal weights for the selected."""
        scores = krum_scores(scene.gram.distances2(), scene.n - scene.f - 2)
        return _mean_of(np.argsort(scores, kind="stable")[: scene.n - scene.f], scene.n)


def _mean_of(selected: NDArray[np.int64], n: int) -> Decision:
    weights = np.zeros(n)
    weights[selected] = 1.0 / len(selected)
    return Weighted(weights=weights, kept=weights > 0)
