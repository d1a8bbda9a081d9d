"""One Gram matrix of a round: all that a rule has to know about vectors that it only combines linearly.

Distances from float32 norms cancel: ‖x‖² + ‖y‖² − 2⟨x,y⟩ of two updates that agree in four digits has none left.
Here each chunk of columns is first moved to a centre among the rows, products are added up in float64, and of the
result only what does not depend on the centre is used: distances, and inner products as seen from a point.

The centre is the mean of the ⌈n/2⌉ shortest rows of the chunk. A minority of attackers cannot push it farther out than
an honest row reaches, so rows of 1e18 cost the honest ones no digits. If attackers pull it away from rows that lie
close together, the Gram is formed again around the row in their middle. A chunk whose squares would leave float32's
range is multiplied in float64.

Beside the clients stand *anchors*: the origin always, then a point that the rule brings (the last step, the server's
own update). Norms are distances to the origin, so rules that clip need no second matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defenses.base import Mask, Vector
from defenses.rows import Rows, all_finite, chunks

__all__ = ["ORIGIN", "REFERENCE", "Gram", "PortableProducts", "gram", "plain_gram"]

ORIGIN, REFERENCE = 0, 1
"""Which anchor: the zero vector, or the point that the rule brought."""

# Squares of entries within these bounds neither overflow float32 when a chunk is added up nor vanish.
_SMALLEST_NORM2, _LARGEST_NORM2 = 1e-26, 1e30
_FAR = 1e3  # a centre so many times farther (squared) than the middle row's neighbours costs more than three digits

# Above so many points a BLAS is as fast.
_MOST_COMPILED = 64

Products = NDArray[np.float64]


@dataclass(frozen=True)
class Gram:
    """`products`: (p, p) float64, inner products of the clients, then the anchors, around a centre nobody names."""

    products: Products
    clients: int

    @property
    def inner(self) -> Products:
        """(n, n): the clients' products around the centre; for results that do not depend on it."""
        return self.products[: self.clients, : self.clients]

    def distances2(self) -> Products:
        """(n, n): squared distances between clients."""
        return _distances2(self.inner)

    def distances2_to(self, anchor: int) -> NDArray[np.float64]:
        """(n,): squared distances of the clients to an anchor."""
        n, a = self.clients, self.clients + anchor
        norms = self.products.diagonal()
        found: NDArray[np.float64] = np.maximum(norms[:n] + norms[a] - 2 * self.products[:n, a], 0.0)
        return found

    def around(self, anchor: int) -> Products:
        """(n, n): ⟨x_i − a, x_j − a⟩ of the clients; around `ORIGIN` the plain Gram matrix."""
        n, a = self.clients, self.clients + anchor
        column = self.products[:n, a]
        found: Products = self.products[:n, :n] - column[:, None] - column[None, :] + self.products[a, a]
        return found

    def centred(self) -> Products:
        """(n, n): the clients' products around their mean."""
        mean = self.inner.mean(axis=0)
        found: Products = self.inner - mean[:, None] - mean[None, :] + mean.mean()
        return found

    def along(self, anchor: int) -> NDArray[np.float64]:
        """(n,): ⟨x_i, a⟩ of the clients with an anchor, both seen from the origin."""
        n, o, a = self.clients, self.clients + ORIGIN, self.clients + anchor
        k = self.products
        found: NDArray[np.float64] = k[:n, a] - k[:n, o] - k[o, a] + k[o, o]
        return found

    def norm2_of(self, anchor: int) -> float:
        """‖a‖² of an anchor."""
        o, a = self.clients + ORIGIN, self.clients + anchor
        return max(float(self.products[a, a] + self.products[o, o] - 2 * self.products[a, o]), 0.0)

    def mixed(self, mixing: NDArray[np.float64]) -> Gram:
        """The Gram of mixing @ points: `mixing` is (m, p), each row adds up to 1, so the centre stays out of it."""
        full = np.vstack([mixing, np.eye(len(self.products))[self.clients :]])
        products = full @ self.products @ full.T
        return Gram((products + products.T) / 2, len(mixing))


def plain_gram(rows: Rows, anchor: Vector | None = None) -> tuple[Gram, Mask]:
    """The same around the origin, for rules that compare norms and directions and may face a hostile majority.

    A majority chooses the centre of `gram`. Here an inner product is as exact as its two vectors are long, whatever the
    others are, but differences of vectors that are nearly the same lose digits.
    """
    products, masked = _accumulate(rows, anchor, len(rows) + ORIGIN)
    return _restricted(products, masked), masked


def gram(rows: Rows, anchor: Vector | None = None) -> tuple[Gram, Mask]:
    """The Gram of the finite rows, the origin and `anchor` (d,), with the (n,) mask of the rows left out.

    One read of the data, O(n·chunk) memory. A second read only when the first centre turns out to be far off.
    """
    products, masked = _accumulate(rows, anchor, None)
    kept = np.flatnonzero(~masked)
    if kept.size:
        middle, far = _middle(products[np.ix_(kept, kept)])
        if far:
            products, _ = _accumulate(rows, anchor, int(kept[middle]))
    return _restricted(products, masked), masked


def _restricted(products: Products, masked: Mask) -> Gram:
    n = len(masked)
    kept = np.flatnonzero(~masked)
    points = np.concatenate([kept, np.arange(n, len(products))])
    return Gram(products[np.ix_(points, points)], len(kept))


def _accumulate(rows: Rows, anchor: Vector | None, centre: int | None) -> tuple[Products, Mask]:
    """Products of the rows, the origin and the anchor around point `centre`, or around the shorter rows' mean."""
    n, size = len(rows), rows[0].size
    origin = np.zeros(size, np.float32)
    points = [*rows, origin] if anchor is None else [*rows, origin, anchor]
    masked = np.zeros(n, bool)
    total = np.zeros((len(points), len(points)))
    for start, stop, source in _pieces(points):
        norms2 = source.norms2(start, stop)
        if not np.isfinite(norms2[:n]).all():
            faulty = [not all_finite(row[start:stop]) for row in rows]
            for index in np.flatnonzero(faulty & ~masked):
                masked[index] = True
                points[index] = origin
            for index in np.flatnonzero(masked):
                source.replace(int(index), n)
            norms2[:n][masked] = 0.0
        weights = _centre(norms2[:n], masked, len(points)) if centre is None else np.eye(len(points))[centre]
        tiny = np.flatnonzero(norms2 < _SMALLEST_NORM2)
        vanishing = (points[i] for i in tiny if points[i] is not origin)
        if float(norms2.max()) < _LARGEST_NORM2 and not any(point[start:stop].any() for point in vanishing):
            total += source.products(start, stop, weights.astype(np.float32))
        else:
            wide = np.stack([point[start:stop] for point in points]).astype(np.float64)
            wide -= weights @ wide
            total += wide @ wide.T
    return total, masked


def _centre(norms2: NDArray[np.float32], masked: Mask, points: int) -> NDArray[np.float64]:
    """(points,) weights of the mean of the shorter half of the rows."""
    half = (len(masked) - int(masked.sum()) + 1) // 2
    shortest = np.argsort(np.where(masked, np.inf, norms2), kind="stable")[:half]
    weights = np.zeros(points)
    weights[shortest] = 1.0 / max(half, 1)
    return weights


class _Source(Protocol):
    """What multiplies a piece of the points: compiled, or NumPy."""

    def replace(self, index: int, other: int) -> None: ...
    def norms2(self, start: int, stop: int) -> NDArray[np.float32]: ...
    def products(self, start: int, stop: int, weights: NDArray[np.float32]) -> Products: ...


def _pieces(points: list[Vector]) -> Iterator[tuple[int, int, _Source]]:
    """Ends of pieces that fit the cache, with what multiplies them; the last few columns are left to NumPy."""
    size, compiled, portable = points[0].size, _compiled(), PortableProducts(points)
    source = compiled.CompiledProducts(points) if compiled and len(points) <= _MOST_COMPILED else portable
    lanes = compiled.LANES if compiled else 1
    for start, stop in chunks(len(points), size):
        whole = stop - (stop - start) % lanes
        if whole > start:
            yield start, whole, source
        if stop > whole:
            yield whole, stop, portable


@cache
def _compiled() -> ModuleType | None:
    """`defenses.compiled_products`, or None where it cannot be used."""
    try:
        from defenses import compiled_products

        compiled_products.CompiledProducts([np.zeros(compiled_products.LANES, np.float32)]).norms2(0, 8)
    except (ImportError, OSError, RuntimeError):  # no llvmlite, or a system that allows no code in memory
        return None
    return compiled_products


class PortableProducts:
    """Products of `points` by NumPy; see `CompiledProducts`, from which it differs by rounding only."""

    def __init__(self, points: Sequence[Vector]) -> None:
        self._points = list(points)

    def replace(self, index: int, other: int) -> None:
        """Let point `other` stand in for point `index` from now on."""
        self._points[index] = self._points[other]

    def norms2(self, start: int, stop: int) -> NDArray[np.float32]:
        """(n,): squared norms of the columns from `start` to `stop`."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return np.array([point[start:stop] @ point[start:stop] for point in self._points], np.float32)

    def products(self, start: int, stop: int, weights: NDArray[np.float32]) -> Products:
        """(n, n): inner products of these columns around `weights` (n,) times the points."""
        chunk = np.stack([point[start:stop] for point in self._points])
        chunk -= weights @ chunk
        return (chunk @ chunk.T).astype(np.float64)


def _middle(products: Products) -> tuple[int, bool]:
    """The row with the nearest majority, and whether the centre lies far outside of that neighbourhood."""
    distances2 = np.sort(_distances2(products), axis=1)[:, len(products) // 2]
    middle = int(np.argmin(distances2))
    return middle, bool(distances2[middle] * _FAR < products[middle, middle])


def _distances2(products: Products) -> Products:
    norms = products.diagonal()
    found = np.maximum(norms[:, None] + norms[None, :] - 2 * products, 0.0)
    np.fill_diagonal(found, 0.0)
    return found
