"""Pre-aggregators: what makes the updates more alike, or shorter, before a rule looks at them.

Each is a matrix that mixes the updates and the origin (clipping moves an update towards zero): it is applied to the
Gram matrix of a span rule, or to each chunk of a coordinate rule while that is in the cache. No (n, d) copy is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee
from defenses.gram import ORIGIN
from defenses.parameters import at_least, whole
from defenses.scene import PreAggregator, Scene

__all__ = ["ARC", "NNM", "Bucketing", "Clipping", "nnm_mixing"]

Mixing = NDArray[np.float64]


@dataclass(frozen=True)
class NNM(PreAggregator):
    """Nearest-neighbour mixing: each update becomes the mean of the n − f nearest, itself among them."""

    name = "nnm"
    geometric = True
    keeps_clients = False
    guarantee = Guarantee(
        paper="Allouah et al. 2023, Fixing by Mixing, Algorithm 2",
        tolerates="f < n/2; brings the rule behind it to the optimal order of error under skewed data",
        breaks="by attackers who are the nearest neighbours of honest updates (mimic, ALIE)",
        costs="one read for the Gram; the mixing itself is n³, or n²·d in front of a coordinate rule",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def mix(self, scene: Scene) -> Mixing:
        """Rows with n − f entries of 1/(n − f)."""
        return _with_anchors(nnm_mixing(scene.gram.distances2(), scene.f), scene)


@dataclass(frozen=True)
class Bucketing(PreAggregator):
    """The means of `s` updates each, in an order that is drawn anew every round; the last bucket may be smaller."""

    s: float = 2

    name = "bucketing"
    draws = True
    keeps_clients = False
    guarantee = Guarantee(
        paper="Karimireddy et al. 2022, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing, Algorithm 1",
        tolerates="f hostile buckets of ⌈n/s⌉, if the rule behind it does; honest buckets differ less by 1/s",
        breaks="when s is so large that every second bucket has an attacker",
        costs="nothing beside the permutation",
    )

    def __post_init__(self) -> None:
        whole(1, self.name, s=self.s)

    def least_rows(self, f: int) -> int:
        """One; the rule behind it counts the buckets."""
        return 1

    def rows_after(self, n: int) -> int:
        """⌈n/s⌉."""
        return math.ceil(n / self.s)

    def mix(self, scene: Scene) -> Mixing:
        """One row a bucket."""
        size = int(self.s)
        order = scene.rng.permutation(scene.n)
        mixing = np.zeros((self.rows_after(scene.n), scene.n))
        for bucket in range(len(mixing)):
            members = order[bucket * size : (bucket + 1) * size]
            mixing[bucket, members] = 1.0 / len(members)
        return _with_anchors(mixing, scene)


@dataclass(frozen=True)
class Clipping(PreAggregator):
    """Shorten each update to norm `c`."""

    c: float

    name = "clipping"
    geometric = True
    measures_distances = False
    keeps_clients = True
    guarantee = Guarantee(
        paper="Sun et al. 2019, Can You Really Backdoor Federated Learning?, Section 3.2",
        tolerates="nothing by itself: it bounds what one update can do by c",
        breaks="when c is far from the honest norms: above it does nothing, below it throws the honest norms away",
        costs="one read for the norms",
    )

    def __post_init__(self) -> None:
        at_least(1e-30, self.name, c=self.c)

    def least_rows(self, f: int) -> int:
        """One."""
        return 1

    def mix(self, scene: Scene) -> Mixing:
        """A diagonal; what is missing to 1 lies on the origin."""
        return _shortened(np.sqrt(scene.gram.distances2_to(ORIGIN)), self.c, scene)


@dataclass(frozen=True)
class ARC(PreAggregator):
    """Adaptive robust clipping: shorten the ⌊2(f/n)(n − f)⌋ longest updates to the norm of the next."""

    name = "arc"
    geometric = True
    measures_distances = False
    keeps_clients = True
    guarantee = Guarantee(
        paper="Allouah et al. 2025, Adaptive Gradient Clipping for Robust Federated Learning (ARC), Algorithm 2",
        tolerates="f < n/2; keeps the guarantee of the rule behind it, and bounds the step by an honest norm",
        breaks="nothing that the rule behind it would tolerate",
        costs="one read for the norms",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def mix(self, scene: Scene) -> Mixing:
        """A diagonal; what is missing to 1 lies on the origin."""
        norms = np.sqrt(scene.gram.distances2_to(ORIGIN))
        clipped = 2 * scene.f * (scene.n - scene.f) // scene.n
        return _shortened(norms, float(np.sort(norms)[scene.n - clipped - 1]), scene)


def nnm_mixing(distances2: NDArray[np.float64], f: int) -> Mixing:
    """(n, n): row i is 1/(n − f) at the n − f rows nearest to i, itself first; of equal distances the lower row."""
    n = len(distances2)
    order = np.argsort(distances2 - np.eye(n), axis=1, kind="stable")[:, : n - f]
    mixing = np.zeros((n, n))
    np.put_along_axis(mixing, order, 1.0 / (n - f), axis=1)
    return mixing


def _with_anchors(mixing: Mixing, scene: Scene) -> Mixing:
    return np.hstack([mixing, np.zeros((len(mixing), scene.anchors))])


def _shortened(norms: NDArray[np.float64], bound: float, scene: Scene) -> Mixing:
    factors = np.where(norms > bound, bound / np.where(norms > 0, norms, 1.0), 1.0)
    mixing = _with_anchors(np.diag(factors), scene)
    mixing[:, scene.n + ORIGIN] = 1.0 - factors
    return mixing
