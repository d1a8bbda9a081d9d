"""Rules that look for the direction in which the updates spread most, and distrust what lies far out in it.

The covariance is d×d, its non-zero eigenvalues are those of the n×n Gram matrix around the mean: the exact dominant
eigenpair costs n³ operations, no power iteration on random starts, and the same updates always give the same step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee
from defenses.parameters import at_least, whole
from defenses.rules.subsets import mean_of
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = ["CAF", "DnC", "caf_weights"]


@dataclass(frozen=True)
class CAF(Rule):
    """Covariance-bound agnostic filter: lower the weights of what spreads most, return the calmest mean on the way."""

    name = "caf"
    geometric = True
    guarantee = Guarantee(
        paper="Allouah et al. 2025, Towards Trustworthy Federated Learning with Untrusted Participants, Algorithm 2",
        tolerates="f < n/2, with an error of the order of f/n times the largest honest variance in one direction; "
        "no bound on that variance has to be known",
        breaks="by attackers inside the honest spread",
        costs="one read for the Gram, one for the sum, at most n eigenvalue problems of size n",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """Convex weights."""
        return Weighted(caf_weights(scene.gram.inner, scene.f))


def caf_weights(inner: NDArray[np.float64], f: int) -> NDArray[np.float64]:
    """(n,) convex weights; `inner`: (n, n) products around any centre.

    Every pass takes the whole weight of at least one vector, so there are at most n: the largest deviation is looked
    for among vectors that still have weight. (Among all, one far outlier would stop the others from ever losing any.)
    """
    n = len(inner)
    weights = np.ones(n)
    calmest, best = math.inf, weights / n
    while weights.sum() > n - 2 * f:
        share = weights / weights.sum()
        around = _recentred(inner, share)
        roots = np.sqrt(share)
        values, vectors = np.linalg.eigh(roots[:, None] * around * roots[None, :])
        if values[-1] < calmest:
            calmest, best = float(values[-1]), share
        deviations = np.where(weights > 0, (around @ (roots * vectors[:, -1])) ** 2, 0.0)
        if not deviations.max() > 0:
            break
        weights = weights * (1.0 - deviations / deviations.max())
    return best


def _recentred(inner: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    across = inner @ share
    found: NDArray[np.float64] = inner - across[:, None] - across[None, :] + share @ across
    return found


@dataclass(frozen=True)
class DnC(Rule):
    """Divide and conquer: in random coordinates remove what lies farthest along the main direction; keep the rest.

    `iterations` draws of `coordinates` each; in each draw ⌈`factor`·f⌉ updates are removed.
    """

    iterations: float = 1
    coordinates: float = 10_000
    factor: float = 1.0

    name = "dnc"
    guarantee = Guarantee(
        paper="Shejwalkar and Houmansadr 2021, Manipulating the Byzantine, Algorithm 2",
        tolerates="f < n/2, if the attackers agree on a direction; n > iterations·⌈factor·f⌉",
        breaks="when attackers hide in several directions, or below the honest spread in each",
        costs="a gather of the drawn coordinates, one read for the mean; draws unless d ≤ coordinates",
    )
    draws = True

    def __post_init__(self) -> None:
        whole(1, self.name, iterations=self.iterations, coordinates=self.coordinates)
        at_least(0.0, self.name, factor=self.factor)

    def least_rows(self, f: int) -> int:
        """So many that at least one survives all draws."""
        return max(2 * f, int(self.iterations) * math.ceil(self.factor * f)) + 1

    def decide(self, scene: Scene) -> Decision:
        """Equal weights for those that no draw removed."""
        size, count = len(scene.rows[0]), int(self.coordinates)
        good = np.ones(scene.n, bool)
        for _ in range(int(self.iterations)):
            drawn = np.arange(size) if count >= size else scene.rng.choice(size, count, replace=False)
            columns = scene.columns(drawn).astype(np.float64)
            columns -= columns.mean(axis=0)
            values, vectors = np.linalg.eigh(columns @ columns.T)
            outlying = values[-1] * vectors[:, -1] ** 2
            removed = np.argsort(outlying, kind="stable")[scene.n - math.ceil(self.factor * scene.f) :]
            good[removed] = False
        return mean_of(np.flatnonzero(good), scene.n)
