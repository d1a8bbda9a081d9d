"""Rules that look for a centre: the mean, the mean of clipped updates, clipping around the last step, the
geometric median.

All are weights of the updates, computed from inner products alone. Norms and distances have the scale of the updates,
which no default can know, so a default of 0 means a scale that is taken from the round itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee, Surroundings, Vector
from defenses.gram import ORIGIN, REFERENCE
from defenses.parameters import at_least, whole
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = [
    "CenteredClipping",
    "GeometricMedian",
    "Mean",
    "NormClipping",
    "centered_clipping_weights",
    "geometric_median_weights",
]

_MOST_ITERATIONS = 5000


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
        return Weighted(np.full(scene.n, 1.0 / scene.n))


@dataclass(frozen=True)
class NormClipping(Rule):
    """The mean of the updates, each shortened to norm `bound`; 0: to the median of their norms."""

    bound: float = 0.0

    name = "norm_clipping"
    geometric = True
    measures_distances = False
    guarantee = Guarantee(
        paper="Sun et al. 2019, Can You Really Backdoor Federated Learning?, Section 3.2",
        tolerates="f attackers move the step by at most 2·f·bound/n, whatever they send",
        breaks="when small steps in one direction add up over rounds; with bound 0 and f ≥ n/2 also in one round",
        costs="one read for the norms, one for the mean",
    )

    def __post_init__(self) -> None:
        at_least(0.0, self.name, bound=self.bound)

    def least_rows(self, f: int) -> int:
        """With a given bound f + 1; the median of the norms is honest from 2f + 1."""
        return f + 1 if self.bound > 0 else 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """Weight min(1, bound/‖x‖)/m."""
        norms = np.sqrt(scene.gram.distances2_to(ORIGIN))
        bound = self.bound or float(np.median(norms))
        return Weighted(np.minimum(1.0, bound / np.maximum(norms, bound or 1.0)) / scene.n)


@dataclass(frozen=True)
class CenteredClipping(Rule):
    """From the last step v, add the mean of the differences x_i − v, each shortened to `tau`; `iterations` times.

    `tau` 0: the median of the differences' norms, anew in each iteration. In the first round v is zero.
    """

    tau: float = 0.0
    iterations: float = 1

    name = "centered_clipping"
    geometric = True
    guarantee = Guarantee(
        paper="Karimireddy et al. 2021, Learning from History, Algorithm 2",
        tolerates="f < n/2 when tau has the scale of the honest spread and clients send momentum",
        breaks="when v starts far off: it moves by at most tau an iteration; ROP aims at its own last step",
        costs="one read for the Gram around v, one for the sum; v is kept",
    )

    def __post_init__(self) -> None:
        at_least(0.0, self.name, tau=self.tau)
        whole(1, self.name, iterations=self.iterations)

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def anchor(self, surroundings: Surroundings, memory: Any) -> Vector | None:
        """The last step."""
        return None if memory is None else np.asarray(memory, np.float32)

    def decide(self, scene: Scene) -> Decision:
        """Weights of the updates; the rest is that of the last step."""
        seen_from = ORIGIN if scene.anchor is None else REFERENCE
        weights = centered_clipping_weights(scene.gram.around(seen_from), self.tau, int(self.iterations))
        return Weighted(weights, rest=1.0 - float(weights.sum()), memory=lambda step: step)


@dataclass(frozen=True)
class GeometricMedian(Rule):
    """The point with the least sum of distances to the updates, by smoothed Weiszfeld iterations.

    `smoothing`: below this part of the median distance a distance counts as that part. `tolerance`: the iterations end
    when the gradient, a sum of n unit vectors, is shorter than tolerance·n; the optimality gap is at most that times
    the distance that is left.
    """

    smoothing: float = 1e-3
    tolerance: float = 1e-6

    name = "geometric_median"
    geometric = True
    guarantee = Guarantee(
        paper="Pillutla et al. 2022, Robust Aggregation for Federated Learning (RFA), Algorithm 2",
        tolerates="f < n/2: at most 2(n−f)/(n−2f) times the honest updates' largest distance from their mean",
        breaks="as f nears n/2; attackers who agree on a direction inside the honest spread move it (ALIE, IPM)",
        costs="one read for the Gram, one for the sum; iterations cost n² each",
    )

    def __post_init__(self) -> None:
        at_least(1e-9, self.name, smoothing=self.smoothing, tolerance=self.tolerance)

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """Convex weights."""
        return Weighted(geometric_median_weights(scene.gram.inner, self.smoothing, self.tolerance))


def centered_clipping_weights(around: NDArray[np.float64], tau: float, iterations: int) -> NDArray[np.float64]:
    """(n,) weights a with v ← v + Σ a_i (x_i − v); `around`: (n, n) products ⟨x_i − v, x_j − v⟩ for the first v."""
    n = len(around)
    weights = np.zeros(n)
    for _ in range(iterations):
        distances = _distances(around, weights)
        radius = tau or float(np.median(distances))
        factors = radius / np.maximum(distances, radius or 1.0) / n
        weights = weights + factors - factors.sum() * weights
    return weights


def geometric_median_weights(inner: NDArray[np.float64], smoothing: float, tolerance: float) -> NDArray[np.float64]:
    """(n,) convex weights of the geometric median; `inner`: (n, n) products around any centre."""
    # An adaptive attack asks for hundreds of iterations on ten numbers each, so what counts here are calls and their
    # operands: `dot` starts sooner than `@`, and a vector of one value sooner than the value.
    inner = np.ascontiguousarray(inner)
    n, norms, across = len(inner), inner.diagonal().copy(), -2.0 * inner
    between = np.sqrt(np.maximum(np.add.outer(norms, norms) + across, 0.0))
    ordered = np.sort(between, axis=1)
    medians = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    middle = int(medians.argmin())
    distances, scale = between[middle], float(medians[middle])
    if scale == 0.0:  # more than half of the updates are one and the same, and so is their geometric median
        return np.asarray((distances == 0.0) / np.count_nonzero(distances == 0.0))
    zeros, least = np.zeros(n), np.full(n, smoothing * scale)
    pull = 1.0 / np.maximum(distances, scale)
    target = pull / pull.sum()
    for _ in range(_MOST_ITERATIONS):
        weights = target
        distances = across.dot(weights)  # here −2⟨x_i, v⟩ of the combination v, below ‖x_i − v‖
        norm2 = -0.5 * weights.dot(distances)
        distances += norms
        distances += norm2
        np.maximum(distances, zeros, out=distances)
        np.sqrt(distances, out=distances)
        np.maximum(distances, least, out=distances)
        pull = np.reciprocal(distances, out=distances)
        total = float(np.add.reduce(pull))
        target = pull / total
        move = target - weights
        if total * math.sqrt(max(float(move.dot(inner).dot(move)), 0.0)) <= tolerance * n:
            break
    return np.asarray(weights)


def _distances(inner: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): distance of each vector to the combination by `weights`, all seen from the centre of `inner`."""
    across = inner @ weights
    return np.asarray(np.sqrt(np.maximum(inner.diagonal() - 2 * across + weights @ across, 0.0)))
