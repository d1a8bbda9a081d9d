"""The updates of a round as rows of float32, read in chunks that fit the cache.

Nothing here makes a second (n, d) matrix: rows may be the views of one matrix or vectors that arrived one by one, and
whatever is computed from them is computed chunk by chunk. A row with a NaN or an infinity is found here and set aside.
Many combinations at once are formed by `defenses.compiled_mixing` where llvmlite is installed, else by a BLAS; they
differ by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import DefenseError, Mask, Matrix, Vector

__all__ = ["Rows", "all_finite", "chunks", "combine", "finite_rows", "gather", "mix", "rows_of"]

Rows = list[Vector]
_CHUNK_BYTES = 1 << 21  # measured: smaller pieces cost more in calls than they gain in the cache
_LARGEST = float(np.finfo(np.float32).max)

# Above so many rows a BLAS is as fast.
_MOST_COMPILED = 64


def rows_of(updates: Sequence[Vector] | NDArray[Any]) -> Rows:
    """The updates as contiguous float32 vectors of one length; float64 is rounded, anything else refused."""
    rows = [np.asarray(each) for each in updates]
    if not rows:
        raise DefenseError("no updates", "there is nothing to aggregate", "wait for more sites")
    shape = rows[0].shape
    for index, row in enumerate(rows):
        if row.dtype.kind != "f":
            why = f"row {index} is {row.dtype}: counters and flags are not parameters"
            raise DefenseError("updates that are not floats", why, "flatten floating-point arrays only")
        if row.ndim != 1 or row.shape != shape or row.size == 0:
            why = f"row {index} has shape {row.shape}, row 0 has {shape}"
            raise DefenseError("updates that are not vectors of one length", why, "have the guard check each shape")
    with np.errstate(over="ignore"):
        return [np.ascontiguousarray(row, dtype=np.float32) for row in rows]


def finite_rows(rows: Rows) -> Mask:
    """(n,) bool: which rows have only finite entries; one read of the data."""
    step = _CHUNK_BYTES // 4
    starts = range(0, rows[0].size, step)
    return np.array([all(all_finite(row[start : start + step]) for start in starts) for row in rows])


def all_finite(values: Vector) -> bool:
    """Whether every entry is finite. A finite sum of squares settles it; each is looked at where that overflows."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return bool(np.isfinite(values @ values)) or bool(np.isfinite(values).all())


def chunks(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Ends of the pieces into which `size` columns of `rows` rows fall, each small enough for the cache."""
    step = max(256, _CHUNK_BYTES // (4 * rows) // 64 * 64)
    return ((start, min(size, start + step)) for start in range(0, size, step))


def gather(rows: Sequence[Vector], start: int, stop: int, out: Matrix) -> Matrix:
    """The columns from `start` to `stop` in the first rows of `out`, as a (n, stop − start) view."""
    view = out[: len(rows), : stop - start]
    for index, row in enumerate(rows):
        view[index] = row[start:stop]
    return view


def mix(rows: Rows, mixing: NDArray[np.float64]) -> Matrix:
    """(m, d): `mixing` (m, n) times the rows. The one function here whose result is as large as its input."""
    size = rows[0].size
    out = np.empty((len(mixing), size), np.float32)
    weights = mixing.astype(np.float32)
    compiled = _compiled() if len(rows) <= _MOST_COMPILED else None
    if compiled and len(out) >= compiled.RESULTS and size >= compiled.COLUMNS:
        compiled.mix_into(rows, weights, out)
        return out
    buffer = np.empty((len(rows), _width(len(rows), size)), np.float32)
    for start, stop in chunks(len(rows), size):
        np.matmul(weights, gather(rows, start, stop, buffer), out=out[:, start:stop])
    return out


def combine(rows: Rows, weights: NDArray[np.float64]) -> Vector:
    """(d,): Σ weights_i rows_i, finite whenever the rows are: what would overflow float32 stops at its largest."""
    used = np.flatnonzero(weights)
    size = rows[0].size
    out = np.empty(size, np.float32)
    if not used.size:
        out[:] = 0.0
        return out
    picked, factors = [rows[i] for i in used], weights[used].astype(np.float32)
    buffer = np.empty((len(picked), _width(len(picked), size)), np.float32)
    for start, stop in chunks(len(picked), size):
        chunk, part = gather(picked, start, stop, buffer), out[start:stop]
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(factors, chunk, out=part)
        if not all_finite(part):
            wide = weights[used] @ chunk.astype(np.float64)
            part[:] = np.clip(wide, -_LARGEST, _LARGEST)
    return out


def _width(rows: int, size: int) -> int:
    return next(stop - start for start, stop in chunks(rows, size))


@cache
def _compiled() -> ModuleType | None:
    """`defenses.compiled_mixing`, imported at the first use; None where it cannot be used."""
    try:
        from defenses import compiled_mixing

        one = np.zeros(compiled_mixing.COLUMNS, np.float32)
        several = np.zeros((compiled_mixing.RESULTS, one.size), np.float32)
        compiled_mixing.mix_into([one], several[:, :1], several)
    except (ImportError, OSError, RuntimeError):  # no llvmlite, or a system that allows no code in memory
        return None
    return compiled_mixing
