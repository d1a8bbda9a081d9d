"""Rules that weigh all updates: the plain mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defenses.base import Guarantee
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean(Rule):
    """The unweighted mean of the updates: FedAvg with equal sites, and the undefended case to compare with."""

    name = "mean"
    guarantee = Guarantee(
        paper="McMahan et al. 2017, Communication-Efficient Learning, Algorithm 1, equal weights",
        tolerates="no Byzantine client",
        breaks="with one: it moves the mean anywhere",
        costs="two reads of the data",
    )

    def least_rows(self, f: int) -> int:
        """One: nothing is promised for any f."""
        return 1

    def decide(self, scene: Scene) -> Decision:
        """Weight 1/m for each."""
        return Weighted(weights=np.full(scene.n, 1.0 / scene.n))
