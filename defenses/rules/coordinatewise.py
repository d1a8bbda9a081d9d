"""Rules that look at one coordinate at a time: median, trimmed mean, mean around the median."""

from __future__ import annotations

from dataclasses import dataclass

from defenses.base import Guarantee
from defenses.coordinates import closest_mean, order_mean
from defenses.scene import Decision, Formed, Rule, Scene

__all__ = ["Meamed", "Median", "TrimmedMean"]


@dataclass(frozen=True)
class Median(Rule):
    """In each coordinate the median, for an even number the mean of the two in the middle."""

    name = "median"
    finds_faults = True
    guarantee = Guarantee(
        paper="Yin et al. 2018, Byzantine-Robust Distributed Learning, Definition 1",
        tolerates="f < n/2: each coordinate stays within the honest values' range",
        breaks="under skewed data: the median of different honest updates is not near their mean (ALIE uses this)",
        costs="one read of the data and O(log² n) minima and maxima a value",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """The step itself."""
        return Formed(order_mean(scene.rows, (scene.n - 1) // 2, scene.n // 2 + 1, scene.row_mixing))


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """In each coordinate the mean without the f largest and the f smallest values."""

    name = "trimmed_mean"
    finds_faults = True
    guarantee = Guarantee(
        paper="Yin et al. 2018, Byzantine-Robust Distributed Learning, Definition 2",
        tolerates="f < n/2: each coordinate stays within the honest values' range",
        breaks="when small shifts in all coordinates add up (ALIE, Fang), more so under skewed data",
        costs="one read of the data and O(log² n) minima and maxima a value",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """The step itself."""
        return Formed(order_mean(scene.rows, scene.f, scene.n - scene.f, scene.row_mixing))


@dataclass(frozen=True)
class Meamed(Rule):
    """In each coordinate the mean of the n − f values nearest to the median; of two equally near the smaller."""

    name = "meamed"
    finds_faults = True
    guarantee = Guarantee(
        paper="Xie et al. 2018, Generalized Byzantine-tolerant SGD, Section 4 (mean around median)",
        tolerates="f < n/2: each coordinate stays within f ranks of the median",
        breaks="as the median does, under skewed data and ALIE",
        costs="one read of the data and a full sort of n values a coordinate",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """The step itself."""
        return Formed(closest_mean(scene.rows, scene.n - scene.f, scene.row_mixing))
