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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Mask, Vector
from defenses.rows import Rows, chunks, gather

__all__ = ["ORIGIN", "REFERENCE", "Gram", "gram"]

ORIGIN, REFERENCE = 0, 1
"""Which anchor: the zero vector, or the point that the rule brought."""

# Squares of entries within these bounds neither overflow float32 when a chunk is added up nor vanish.
_SMALLEST_NORM2, _LARGEST_NORM2 = 1e-26, 1e30
_FAR = 1e3  # a centre so many times farther (squared) than the middle row's neighbours costs more than three digits

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


def gram(rows: Rows, anchor: Vector | None = None) -> tuple[Gram, Mask]:
    """The Gram of the finite rows, the origin and `anchor` (d,), with the (n,) mask of the rows left out.

    One read of the data, O(n·chunk) memory. A second read only when the first centre turns out to be far off.
    """
    products, masked = _accumulate(rows, anchor, None)
    kept = np.flatnonzero(~masked)
    if kept.size:
        middle, far = _middle(products[np.ix_(kept, kept)])
        if far:
            products, _ = _accumulate(rows, anchor, rows[kept[middle]])
    points = np.concatenate([kept, np.arange(len(rows), len(products))])
    return Gram(products[np.ix_(points, points)], len(kept)), masked


def _accumulate(rows: Rows, anchor: Vector | None, centre: Vector | None) -> tuple[Products, Mask]:
    n, size = len(rows), rows[0].size
    points = [*rows, np.zeros(size, np.float32)] if anchor is None else [*rows, np.zeros(size, np.float32), anchor]
    masked = np.zeros(n, bool)
    total = np.zeros((len(points), len(points)))
    buffer = np.empty((len(points), max(stop - start for start, stop in chunks(len(points), size))), np.float32)
    for start, stop in chunks(len(points), size):
        chunk = gather(points, start, stop, buffer)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            norms2 = np.einsum("ij,ij->i", chunk, chunk)
        if not np.isfinite(norms2[:n]).all():
            masked |= ~np.isfinite(chunk[:n]).all(axis=1)
        chunk[:n][masked] = 0.0
        total += _products(chunk, norms2, masked, None if centre is None else centre[start:stop])
    return total, masked


def _products(chunk: NDArray[np.float32], norms2: NDArray[np.float32], masked: Mask, centre: Vector | None) -> Products:
    """The chunk's inner products around `centre`, or around the mean of its shorter rows; changes the chunk."""
    n = len(masked)
    if centre is None:
        half = (n - int(masked.sum()) + 1) // 2
        shortest = np.argsort(np.where(masked, np.inf, norms2[:n]), kind="stable")[:half]
        weights = np.zeros(len(chunk), np.float32)
        weights[shortest] = 1.0 / max(half, 1)
        centre = weights @ chunk
    largest = float(np.nanmax(norms2))
    ordinary = largest < _LARGEST_NORM2 and not np.any((norms2 > 0) & (norms2 < _SMALLEST_NORM2))
    if ordinary:
        chunk -= centre
        return (chunk @ chunk.T).astype(np.float64)
    wide = chunk.astype(np.float64) - centre.astype(np.float64)
    return wide @ wide.T


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
