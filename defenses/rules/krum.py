"""Krum and what is built on it: prefer the updates whose nearest neighbours are near.

The score of an update is the sum of the squared distances to its n − f − 2 nearest others, as in the paper and in
Flower (byzfl counts n − f − 1). Of equal scores the lower row wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee
from defenses.coordinates import closest_mean
from defenses.rules.subsets import mean_of
from defenses.scene import Decision, Formed, Rule, Scene

__all__ = ["Bulyan", "Krum", "MultiKrum", "bulyan_selection", "krum_scores"]

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
        return mean_of(np.argsort(scores, kind="stable")[:1], scene.n)


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
        return mean_of(np.argsort(scores, kind="stable")[: scene.n - scene.f], scene.n)


@dataclass(frozen=True)
class Bulyan(Rule):
    """Select n − 2f updates by Krum, one after the other; then in each coordinate the mean of the n − 4f selected
    values that are nearest to their median.
    """

    name = "bulyan"
    geometric = True
    guarantee = Guarantee(
        paper="El Mhamdi et al. 2018, The Hidden Vulnerability of Distributed Learning in Byzantium, Section 4",
        tolerates="f with n ≥ 4f + 3: no coordinate leaves the honest values' neighbourhood by more than O(σ/√d)",
        breaks="under skewed data, as Krum and the median do; it needs twice the clients",
        costs="one read for the Gram, one for the second stage with a full sort of n − 2f values a coordinate",
    )

    def least_rows(self, f: int) -> int:
        """4f + 3."""
        return 4 * f + 3

    def decide(self, scene: Scene) -> Decision:
        """The step itself."""
        selected = bulyan_selection(scene.gram.distances2(), scene.f)
        kept = np.zeros(scene.n, bool)
        kept[selected] = True
        closest = scene.n - 4 * scene.f
        mixing = scene.row_mixing
        if mixing is not None:
            return Formed(closest_mean(scene.rows, closest, mixing[kept]), kept)
        return Formed(closest_mean([row for row, own in zip(scene.rows, kept, strict=True) if own], closest), kept)


def bulyan_selection(distances2: NDArray[np.float64], f: int) -> NDArray[np.int64]:
    """The n − 2f rows that Krum picks when each is taken out before the next is picked, in order of picking."""
    left = np.arange(len(distances2))
    picked = []
    for _ in range(len(distances2) - 2 * f):
        scores = krum_scores(distances2[np.ix_(left, left)], max(len(left) - f - 2, 1))
        best = int(np.argmin(scores)) if len(left) > 1 else 0
        picked.append(left[best])
        left = np.delete(left, best)
    return np.array(picked)
