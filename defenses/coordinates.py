"""Rules that treat each coordinate by itself, in chunks that stay in the cache: means of order statistics, and of what
is closest to the median.

A chunk of (m, c) values is sorted along its rows by a network (see `defenses.networks`), and what is wanted is added up
in float64: equal inputs come back unchanged, and no sum overflows. A mixing matrix is applied to the chunk while it is
in the cache, so NNM in front of a median needs no (n, d) copy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from defenses.base import Matrix, Vector
from defenses.networks import Network, network
from defenses.rows import Rows, chunks, gather

__all__ = ["Mixing", "closest_mean", "mixed_chunks", "order_mean"]

Mixing = NDArray[np.float64]


def order_mean(rows: Rows, low: int, high: int, mixing: Mixing | None = None) -> Vector:
    """(d,): in each coordinate the mean of the order statistics `low` to `high` − 1 of the (mixed) rows."""
    n = len(rows) if mixing is None else len(mixing)
    steps = network(n, low, high)
    out = np.empty(rows[0].size, np.float32)
    for start, stop, values in mixed_chunks(rows, mixing):
        ordered = _sorted(values, steps)
        out[start:stop] = _mean(ordered[low:high])
    return out


def closest_mean(rows: Rows, count: int, mixing: Mixing | None = None) -> Vector:
    """(d,): in each coordinate the mean of the `count` values nearest to the median of the (mixed) rows.

    Of two values equally near the smaller is taken. The median of an even number is the mean of the two in the middle.
    """
    n = len(rows) if mixing is None else len(mixing)
    steps = network(n, 0, n)
    out = np.empty(rows[0].size, np.float32)
    for start, stop, values in mixed_chunks(rows, mixing):
        ordered = _sorted(values, steps)
        out[start:stop] = _mean(_window(ordered, count))
    return out


def mixed_chunks(rows: Rows, mixing: Mixing | None) -> Iterator[tuple[int, int, Matrix]]:
    """Start, stop and the (m, stop − start) values there; the values are the caller's to change until the next."""
    size = rows[0].size
    weights = None if mixing is None else mixing.astype(np.float32)
    pieces = list(chunks(len(rows), size))
    buffer = np.empty((len(rows), max(stop - start for start, stop in pieces)), np.float32)
    for start, stop in pieces:
        chunk = gather(rows, start, stop, buffer)
        yield start, stop, chunk if weights is None else weights @ chunk


def _sorted(values: Matrix, steps: Network) -> list[Vector]:
    """The rows after the network has run over them; `values` is overwritten."""
    rows, spare = list(values), np.empty_like(values[0])
    for i, j, low, high in steps.tolist():
        if low and high:
            np.minimum(rows[i], rows[j], out=spare)
            np.maximum(rows[i], rows[j], out=rows[j])
            rows[i], spare = spare, rows[i]
        elif low:
            np.minimum(rows[i], rows[j], out=rows[i])
        else:
            np.maximum(rows[i], rows[j], out=rows[j])
    return rows


def _mean(rows: list[Vector]) -> NDArray[np.float64]:
    total = np.zeros(rows[0].size)
    for row in rows:
        total += row
    total /= len(rows)
    return total


def _window(ordered: list[Vector], count: int) -> list[Vector]:
    """The `count` rows of values nearest to the median, from rows in ascending order, which are overwritten.

    They are neighbours in the order: start to start + count − 1. The start moves up while the value that it leaves is
    farther from the median than the one it gains. No value is subtracted again, so an outlier leaves no rounding.
    """
    n = len(ordered)
    twice_median = ordered[(n - 1) // 2].astype(np.float64) + ordered[n // 2]
    moves = [ordered[j].astype(np.float64) + ordered[j + count] < twice_median for j in range(n - count)]
    for j, moved in enumerate(moves):
        np.copyto(ordered[j + count], ordered[j], where=~moved)
    return ordered[n - count :]
