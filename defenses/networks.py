"""Sorting networks: which pairs to compare, in which order, so that the wanted order statistics come out.

Batcher's odd-even merge sort (Knuth, TAOCP 3, 5.2.2) orders n values by comparisons that do not depend on the values,
so thousands of coordinates are sorted side by side by minima and maxima. Comparisons that cannot reach a wanted
output are pruned; where only one result of a comparison is needed, only that one is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Network", "batcher", "network"]

Network = NDArray[np.int16]
"""(comparisons, 4): rows i and j, then whether the minimum (kept in i) and the maximum (kept in j) are needed."""


@cache
def batcher(n: int) -> tuple[tuple[int, int], ...]:
    """The comparisons (i, j), i < j, that sort n values in ascending order.

    Each half is sorted to its end before the other is touched, so that a few values at a time are at work: they stay
    in registers.
    """
    return tuple(_sorted(0, 1 << max(0, n - 1).bit_length(), n))


def _sorted(start: int, size: int, n: int) -> Iterator[tuple[int, int]]:
    """Those among the values from `start` on, `size` of them, a power of two; values from n on do not exist."""
    if size < 2 or start >= n:
        return
    half = size // 2
    yield from _sorted(start, half, n)
    yield from _sorted(start + half, half, n)
    gap = half
    while gap >= 1:
        for first in range(start + gap % half, start + size - gap, 2 * gap):
            yield from ((i, i + gap) for i in range(first, min(first + gap, start + size - gap)) if i + gap < n)
        gap //= 2


@cache
def network(n: int, low: int, high: int) -> Network:
    """What puts the order statistics `low` to `high` − 1 of n values in their places, and nothing else."""
    needed = set(range(low, high))
    kept = []
    for i, j in reversed(batcher(n)):
        if i in needed or j in needed:
            kept.append((i, j, i in needed, j in needed))
            needed |= {i, j}
    found = np.array(kept[::-1], np.int16).reshape(-1, 4)
    found.flags.writeable = False
    return found
