"""Rules as other frameworks compute them, to be seen failing: never offered to a real run.

Each keeps one defect that was found by running the original (Flower 1.41, ByzFL 0.0.11). A scenario that names one
shows what the defect costs; the same scenario under ours shows that it need not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from defenses.base import Aggregation, Surroundings
from defenses.trials import Trial
from secure_fl.lab.submissions import Coordinator, Matrix, Submissions

__all__ = ["EXHIBITS", "ByzflKrum", "FlowerMultiKrum", "UnguardedMean"]


@dataclass(frozen=True)
class _Exhibit(ABC):
    """Made for n clients of which f are Byzantine; remembers nothing."""

    n: int
    f: int
    needs_reference: bool = False

    def trial(self, surroundings: Callable[[], Surroundings]) -> Trial | None:
        return None  # it looks at more than the updates

    def snapshot(self) -> _Exhibit:
        return self

    @abstractmethod
    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """As the original does."""


class UnguardedMean(_Exhibit):
    """The mean of whatever arrives: one NaN is the end of the model."""

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """Equal weights for all rows, finite or not."""
        n = len(submissions.updates)
        return _taken(submissions, np.full(n, 1 / n))


class ByzflKrum(_Exhibit):
    """ByzFL's Krum: the score of a NaN row is NaN, and `argmin` takes NaN for the least."""

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """The row with the least sum of squared distances to its n - f - 1 nearest others."""
        updates = submissions.updates
        with np.errstate(invalid="ignore", over="ignore"):
            distances = np.array([np.square(updates - each).sum(axis=1) for each in updates])
            scores = np.sort(distances, axis=1)[:, 1 : self.n - self.f].sum(axis=1)
        return _taken(submissions, np.eye(len(updates))[int(np.argmin(scores))])


class FlowerMultiKrum(_Exhibit):
    """Flower's Multi-Krum: raw weights and BatchNorm's integer counters in one float32 vector, distances uncentred.

    A counter of batches differs by tens between honest clients and outweighs every weight; and |x|² + |y|² - 2xy
    cancels where updates are small against the weights, down to negative squared distances.
    """

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """The n - f rows with the least scores (n - f - 2 neighbours), weighted by claimed samples."""
        raw = submissions.weights + submissions.updates
        flat = np.concatenate([raw, submissions.batches.astype(np.float32)], axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            norms = np.square(flat).sum(axis=1)
            distances = norms[:, None] + norms[None, :] - 2 * flat @ flat.T
            nearest = np.argsort(distances, axis=1)[:, 1 : max(1, self.n - self.f - 2) + 1]
            scores = np.take_along_axis(distances, nearest, axis=1).sum(axis=1)
        selected = np.argsort(scores)[: self.n - self.f]
        weights = np.zeros(len(flat))
        weights[selected] = submissions.samples[selected] / submissions.samples[selected].sum()
        return _taken(submissions, weights)


EXHIBITS: Mapping[str, Callable[[int, int], Coordinator]] = MappingProxyType(
    {"unguarded_mean": UnguardedMean, "byzfl_krum": ByzflKrum, "flower_multi_krum": FlowerMultiKrum}
)


def _taken(submissions: Submissions, weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Aggregation:
    """The weighted sum of the rows with a weight, NaN and all."""
    updates: Matrix = submissions.updates
    kept = weights > 0
    with np.errstate(invalid="ignore", over="ignore"):
        step = (weights[kept] @ updates[kept].astype(np.float64)).astype(np.float32)
    return Aggregation(step, weights, kept, np.array([not np.isfinite(each).all() for each in updates]))
