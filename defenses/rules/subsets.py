"""Rules that search for the n − f updates which agree best: by diameter (MDA), by variance (SMEA), around one (MoNNA).

MDA and SMEA are searches over subsets. Both are exact here and both are bounded: MDA is a vertex cover in the graph of
the pairs that are too far apart, which branches O(1.47^f) times at worst; SMEA prunes by the variance of a part of the
subset, which a larger subset cannot undercut. Sizes at which an attacker could make the search endless are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import DefenseError, Guarantee
from defenses.parameters import whole
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = ["MDA", "SMEA", "MoNNA", "least_diameter_subset", "least_variance_subset", "mean_of"]

_MOST_REMOVED = 30  # MDA: 1.47^30 = 1e5 branches
_MOST_SUBSETS = 100_000  # SMEA: a few seconds


@dataclass(frozen=True)
class MDA(Rule):
    """The mean of the n − f updates whose largest distance is least; of equal subsets the first in row order."""

    name = "mda"
    geometric = True
    guarantee = Guarantee(
        paper="El Mhamdi et al. 2021, Collaborative Learning in the Jungle, Section 4.1; Rousseeuw 1985",
        tolerates="f < n/2",
        breaks="by attackers inside the honest diameter, which is large under skewed data",
        costs=f"one read for the Gram, one for the mean, and a search that grows as 1.47^f; f ≤ {_MOST_REMOVED}",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def refuse(self, n: int, f: int) -> None:
        """An f at which the search could be made endless."""
        if f > _MOST_REMOVED:
            raise DefenseError(f"mda with f={f}", f"an attacker could make the search take 1.47^{f} steps", "use caf")

    def decide(self, scene: Scene) -> Decision:
        """Equal weights for the subset."""
        return mean_of(least_diameter_subset(scene.gram.distances2(), scene.f), scene.n)


@dataclass(frozen=True)
class SMEA(Rule):
    """The mean of the n − f updates whose covariance has the least largest eigenvalue; of equal ones the first."""

    name = "smea"
    geometric = True
    guarantee = Guarantee(
        paper="Allouah et al. 2023, On the Privacy-Robustness-Utility Trilemma, Section 4.2",
        tolerates="f < n/2, with an error of the order of f/n times the largest honest variance in one direction",
        breaks="by attackers inside the honest spread",
        costs=f"one read for the Gram, one for the mean, and a search over up to {_MOST_SUBSETS} subsets",
    )

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def refuse(self, n: int, f: int) -> None:
        """More subsets than can be searched in seconds."""
        if math.comb(n, f) > _MOST_SUBSETS:
            why = f"{n} vectors have {math.comb(n, f)} subsets without f={f} of them"
            raise DefenseError("smea with too many subsets", why, "use caf, which has the same kind of guarantee")

    def decide(self, scene: Scene) -> Decision:
        """Equal weights for the subset."""
        return mean_of(least_variance_subset(scene.gram.centred(), scene.f), scene.n)


@dataclass(frozen=True)
class MoNNA(Rule):
    """The mean of the n − f updates that are nearest to that of row `pivot`, itself among them."""

    pivot: float = 0

    name = "monna"
    geometric = True
    guarantee = Guarantee(
        paper="Farhadkhani et al. 2023, Robust Collaborative Learning with Linear Gradient Overhead, Algorithm 1",
        tolerates="f < n/2, if the pivot is honest",
        breaks="when the pivot is Byzantine or its data are unlike the others'",
        costs="one read for the Gram, one for the mean",
    )

    def __post_init__(self) -> None:
        whole(0, self.name, pivot=self.pivot)

    def least_rows(self, f: int) -> int:
        """2f + 1, and the pivot has to be one of them."""
        return max(2 * f, int(self.pivot)) + 1

    def decide(self, scene: Scene) -> Decision:
        """Equal weights for the neighbourhood."""
        distances2 = scene.gram.distances2()[int(self.pivot)]
        distances2[int(self.pivot)] = -1.0
        return mean_of(np.argsort(distances2, kind="stable")[: scene.n - scene.f], scene.n)


def mean_of(selected: NDArray[np.int64], n: int) -> Decision:
    """The mean of the selected among n vectors."""
    weights = np.zeros(n)
    weights[selected] = 1.0 / len(selected)
    return Weighted(weights, kept=weights > 0)


def least_diameter_subset(distances2: NDArray[np.float64], f: int) -> NDArray[np.int64]:
    """The n − f indices of least diameter, in ascending order; of equal subsets the lexicographically first."""
    n = len(distances2)
    limits = np.unique(distances2)
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        if _coverable(_conflicts(distances2 > limits[middle]), (1 << n) - 1, f):
            high = middle
        else:
            low = middle + 1
    conflicts, alive, left = _conflicts(distances2 > limits[low]), (1 << n) - 1, f
    chosen: list[int] = []
    for index in range(n):
        if not alive >> index & 1 or len(chosen) == n - f:
            continue
        lost = conflicts[index] & alive
        if _coverable(conflicts, alive & ~lost, left - lost.bit_count()):
            chosen.append(index)
            alive, left = alive & ~lost, left - lost.bit_count()
        else:
            alive, left = alive & ~(1 << index), left - 1
    return np.array(chosen)


def _conflicts(too_far: NDArray[np.bool_]) -> list[int]:
    """For each vertex the set of those it may not stay with, as the bits of an integer."""
    return [sum(1 << int(j) for j in np.flatnonzero(row)) for row in too_far]


def _coverable(conflicts: list[int], alive: int, left: int) -> bool:
    """Whether removing at most `left` of the `alive` vertices ends all conflicts among the rest."""
    while True:
        if left < 0:
            return False
        degrees = {v: (conflicts[v] & alive).bit_count() for v in _bits(alive)}
        worst = max(degrees, key=degrees.__getitem__, default=-1)
        if worst < 0 or degrees[worst] == 0:
            return True
        if sum(degrees.values()) > 2 * left * degrees[worst]:
            return False  # no `left` vertices touch that many conflicts
        leaf = next((v for v, degree in degrees.items() if degree == 1), None)
        if leaf is not None:  # its only neighbour is as good a choice as itself, or better
            alive, left = alive & ~conflicts[leaf], left - 1
        elif degrees[worst] == 2 or degrees[worst] > left:  # a ring, or a vertex that has to go
            alive, left = alive & ~(1 << worst), left - 1
        else:
            break
    neighbours = conflicts[worst] & alive
    without = _coverable(conflicts, alive & ~(1 << worst), left - 1)
    return without or _coverable(conflicts, alive & ~neighbours, left - neighbours.bit_count())


def _bits(members: int) -> list[int]:
    return [v for v in range(members.bit_length()) if members >> v & 1]


def least_variance_subset(inner: NDArray[np.float64], f: int) -> NDArray[np.int64]:
    """The n − f indices whose scatter matrix has the least largest eigenvalue; `inner`: (n, n) products."""
    n, size = len(inner), len(inner) - f
    best = np.argsort(inner.diagonal(), kind="stable")[:size]
    least = _largest_eigenvalue(inner, best)
    found = False

    def extend(chosen: list[int], following: int) -> None:
        nonlocal best, least, found
        if len(chosen) > 1:
            bound = _largest_eigenvalue(inner, np.array(chosen))
            # The start is only a bound: until the search has found a subset itself, an equal one is taken.
            if bound > least or (found and bound >= least * (1 - 1e-12)):
                return
        else:
            bound = 0.0
        if len(chosen) == size:
            best, least, found = np.array(chosen), bound, True
            return
        for index in range(following, n - (size - len(chosen)) + 1):
            extend([*chosen, index], index + 1)

    extend([], 0)
    return np.sort(best)


def _largest_eigenvalue(inner: NDArray[np.float64], subset: NDArray[np.int64]) -> float:
    part = inner[np.ix_(subset, subset)]
    mean = part.mean(axis=0)
    return float(np.linalg.eigvalsh(part - mean[:, None] - mean[None, :] + mean.mean())[-1])
