"""Rules that treat each coordinate by itself: means of order statistics, and of what is closest to the median.

A mixing matrix is applied to a chunk of columns while it is in the cache, so NNM in front of a median needs no (n, d)
copy. The kernels come from `defenses.compiled` where llvmlite is installed, else from `defenses.portable`; the results
are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from defenses import portable
from defenses.base import Matrix, Vector
from defenses.rows import Rows, all_finite, chunks, gather

__all__ = ["Mixing", "NotFiniteError", "closest_mean", "mixed_chunks", "order_mean"]

Mixing = NDArray[np.float64]
Kernel = Callable[[Sequence[Vector], Vector], bool]

# The code of a straight line grows as n·log² n; up to here it is made in about a second.
_MOST_COMPILED = 100
_LARGEST = np.finfo(np.float32).max


class NotFiniteError(ArithmeticError):
    """A row has a NaN or an infinity; the caller has to find it and leave it out."""


def order_mean(rows: Rows, low: int, high: int, mixing: Mixing | None = None) -> Vector:
    """(d,): in each coordinate the mean of the order statistics `low` to `high` − 1 of the (mixed) rows.

    Raises `NotFiniteError`.
    """
    n = len(rows) if mixing is None else len(mixing)
    return _applied(_kernels(n).order_mean_kernel(n, low, high), rows, mixing)


def closest_mean(rows: Rows, count: int, mixing: Mixing | None = None) -> Vector:
    """(d,): in each coordinate the mean of the `count` values nearest to the median of the (mixed) rows.

    Of two values equally near the smaller is taken. The median of an even number is the mean of the two in the middle.
    Raises `NotFiniteError`.
    """
    n = len(rows) if mixing is None else len(mixing)
    return _applied(_kernels(n).closest_mean_kernel(n, count), rows, mixing)


def mixed_chunks(rows: Rows, mixing: Mixing | None) -> Iterator[tuple[int, int, Matrix]]:
    """Start, stop and the (m, stop − start) values there; the values are the caller's to change until the next."""
    size = rows[0].size
    weights = None if mixing is None else mixing.astype(np.float32)
    pieces = list(chunks(len(rows), size))
    buffer = np.empty((len(rows), max(stop - start for start, stop in pieces)), np.float32)
    for start, stop in pieces:
        values = gather(rows, start, stop, buffer)
        if weights is not None:
            with np.errstate(over="ignore"):
                values = weights @ values
            if not all_finite(values.ravel()):  # the mean of float32's largest numbers, rounded up
                np.clip(values, -_LARGEST, _LARGEST, out=values)
        yield start, stop, values


def _applied(kernel: Kernel, rows: Rows, mixing: Mixing | None) -> Vector:
    out = np.empty(rows[0].size, np.float32)
    if mixing is None:
        finite = kernel(rows, out)
    else:
        pieces = mixed_chunks(rows, mixing)
        finite = all(kernel(list(values), out[start:stop]) for start, stop, values in pieces)
    if not finite:
        raise NotFiniteError("a row has an entry that is not finite")
    return out


def _kernels(n: int) -> ModuleType:
    fast = _compiled() if n <= _MOST_COMPILED else None
    return fast or portable


@cache
def _compiled() -> ModuleType | None:
    """`defenses.compiled`, imported at the first use and not at start-up; None where it cannot be used."""
    try:
        from defenses import compiled

        compiled.order_mean_kernel(1, 0, 1)
    except (ImportError, OSError, RuntimeError):  # no llvmlite, or a system that allows no code in memory
        return None
    return compiled
