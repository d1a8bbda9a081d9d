"""The coordinate kernels in NumPy: exact, for every machine; `defenses.compiled` gives the same bits faster.

Chunks of columns that fit the cache are sorted along the rows by a network of `numpy.minimum` and `numpy.maximum`
over whole rows, which is ten times faster than `numpy.sort` along the first axis. Sums are formed in float64: equal
inputs come back unchanged, and nothing overflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from defenses.base import Matrix, Vector
from defenses.networks import Network, network
from defenses.rows import all_finite, chunks, gather

__all__ = ["closest_mean_kernel", "order_mean_kernel"]


def order_mean_kernel(n: int, low: int, high: int) -> partial[bool]:
    """The mean of the order statistics `low` to `high` − 1 of n rows; called with rows and output, see `Kernel`."""
    return partial(_run, network(n, low, high), low, high, None)


def closest_mean_kernel(n: int, count: int) -> partial[bool]:
    """The mean of the `count` values nearest to the median of n rows."""
    return partial(_run, network(n, 0, n), n - count, n, count)


def _run(steps: Network, low: int, high: int, count: int | None, rows: Sequence[Vector], out: Vector) -> bool:
    pieces = list(chunks(len(rows), out.size))
    buffer = np.empty((len(rows), max(stop - start for start, stop in pieces)), np.float32)
    for start, stop in pieces:
        values = gather(rows, start, stop, buffer)
        if not all_finite(values.ravel() if values.flags.c_contiguous else values.flatten()):
            return False
        ordered = _sorted(values, steps)
        if count is not None:
            _narrow(ordered, count)
        total = np.zeros(stop - start)
        for row in ordered[low:high]:
            total += row
        out[start:stop] = total / (high - low)
    return True


def _sorted(values: Matrix, steps: Network) -> list[Vector]:
    """The rows after the network has run over them; `values` is overwritten."""
    rows, spare = list(values), np.empty_like(values[0])
    for i, j, smaller, larger in steps.tolist():
        if smaller and larger:
            np.minimum(rows[i], rows[j], out=spare)
            np.maximum(rows[i], rows[j], out=rows[j])
            rows[i], spare = spare, rows[i]
        elif smaller:
            np.minimum(rows[i], rows[j], out=rows[i])
        else:
            np.maximum(rows[i], rows[j], out=rows[j])
    return rows


def _narrow(ordered: list[Vector], count: int) -> None:
    """Bring the `count` values nearest to the median into the last rows of `ordered`, which ascend.

    They are neighbours in the order. The window moves up while the value that it leaves is farther from the median
    than the one it gains, and a value that it keeps takes the place of one that it does not reach. Nothing is
    subtracted from a running sum, so an outlier leaves no rounding behind.
    """
    n = len(ordered)
    twice_median: NDArray[np.float64] = ordered[(n - 1) // 2].astype(np.float64) + ordered[n // 2]
    moves = [ordered[j].astype(np.float64) + ordered[j + count] < twice_median for j in range(n - count)]
    for j, moved in enumerate(moves):
        np.copyto(ordered[j + count], ordered[j], where=~moved)
