"""Who shares masks and secrets with whom: everybody up to 32 members, a random regular graph beyond.

With all pairs the work of a site grows with n and that of the coordinator, once sites drop out, with n². A k-regular
graph needs k neighbours only (Bell et al., "Secure single-server aggregation with (poly)logarithmic overhead", CCS
2020, section 3). The graph is a circle on which everybody knows the k/2 next on either side, in an order drawn from the
digest of all keys, so that no site chooses its neighbours.

k and t are the smallest for which, a tenth of the members corrupt and a tenth dropping out at random, with a union
bound over the members: 2t > k + 1 + corrupt neighbours fails with probability below 2^-40 (two sets of holders of t
share an honest one), and fewer than t holders are left with probability below 2^-20. What this leaves out: a
coordinator that tries many subsets of adverts biases the order; and the (small) chance that the honest survivors'
graph falls apart is not counted. Against an active coordinator the complete graph is the stronger choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Final

from secure_fl.secagg import encoding

__all__ = [
    "COMPLETE_UP_TO",
    "CORRUPT",
    "DROPPING",
    "LIVENESS_BITS",
    "PRIVACY_BITS",
    "Shape",
    "neighbourhoods",
    "shape_of",
    "threshold_of",
]

COMPLETE_UP_TO: Final = 32
"""Members with whom the graph is complete."""
CORRUPT, DROPPING = Fraction(1, 10), Fraction(1, 10)
"""Assumed parts of the members, for sparse graphs."""
PRIVACY_BITS, LIVENESS_BITS = 40, 20


@dataclass(frozen=True)
class Shape:
    """Neighbours of each member, and how many holders (the neighbours and the member itself) open its secrets."""

    neighbours: int
    threshold: int


def threshold_of(members: int) -> int:
    """⌊2n/3⌋ + 1: two sets of so many share an honest member while fewer than about a third collude."""
    return 2 * members // 3 + 1


@lru_cache(maxsize=64)
def shape_of(members: int) -> Shape:
    """The graph for so many members."""
    if members <= COMPLETE_UP_TO:
        return Shape(members - 1, threshold_of(members))
    others = members - 1
    corrupt, dropping = int(members * CORRUPT), int(members * DROPPING)
    for k in range(2, others, 2):
        spare = _tail_below(others, corrupt, k, Fraction(1, members << PRIVACY_BITS))
        threshold = (k + 1 + spare) // 2 + 1
        lost = _tail_below(others, dropping, k, Fraction(1, members << LIVENESS_BITS))
        if threshold <= k - lost:
            return Shape(k, threshold)
    return Shape(others, threshold_of(members))


def neighbourhoods(members: Iterable[int], neighbours: int, transcript: bytes) -> dict[int, tuple[int, ...]]:
    """The neighbours of each member, ascending; everybody else where there are no more than `neighbours`."""
    ids = sorted(members)
    n = len(ids)
    if neighbours >= n - 1:
        return {index: tuple(other for other in ids if other != index) for index in ids}
    circle = sorted(ids, key=lambda index: encoding.digest("place", transcript, encoding.index_bytes(index)))
    steps = [step for half in range(1, neighbours // 2 + 1) for step in (half, -half)]
    return {index: tuple(sorted(circle[(at + step) % n] for step in steps)) for at, index in enumerate(circle)}


def _tail_below(population: int, marked: int, draws: int, chance: Fraction) -> int:
    """The smallest m for which more than m marked ones among the draws are less probable than `chance`."""
    total, tail = comb(population, draws), 0
    for drawn in range(min(marked, draws), 0, -1):
        tail += comb(marked, drawn) * comb(population - marked, draws - drawn)
        if Fraction(tail, total) >= chance:
            return drawn
    return 0
