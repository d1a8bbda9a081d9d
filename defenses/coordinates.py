"""Rules that treat each coordinate by itself: means of order statistics, in chunks that stay in the cache.

A chunk of (m, c) values is sorted along its rows by a network (see `defenses.networks`), and the wanted order
statistics are added up in float64: equal inputs come back unchanged, and no sum overflows. An optional mixing matrix
is applied to the chunk while it is in the cache, so that NNM in front of a median needs no (n, d) copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defenses.base import Matrix, Vector
from defenses.networks import Network, network
from defenses.rows import Rows, chunks, gather

__all__ = ["Mixing", "order_mean"]

Mixing = NDArray[np.float64]


def order_mean(rows: Rows, low: int, high: int, mixing: Mixing | None = None) -> Vector:
    """(d,): in each coordinate the mean of the order statistics `low` to `high` − 1 of the (mixed) rows."""
    size = rows[0].size
    weights = None if mixing is None else mixing.astype(np.float32)
    n = len(rows) if weights is None else len(weights)
    steps = network(n, low, high)
    out = np.empty(size, np.float32)
    width = max(stop - start for start, stop in chunks(len(rows), size))
    buffer, spare = np.empty((len(rows), width), np.float32), np.empty(width, np.float32)
    for start, stop in chunks(len(rows), size):
        chunk = gather(rows, start, stop, buffer)
        values = chunk if weights is None else weights @ chunk
        placed = _sorted(values, steps, spare[: stop - start])
        total = np.zeros(stop - start)
        for index in range(low, high):
            total += placed[index]
        out[start:stop] = total / (high - low)
    return out


def _sorted(values: Matrix, steps: Network, spare: Vector) -> list[Vector]:
    """The rows after the network has run over them; `values` is overwritten."""
    rows = list(values)
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
