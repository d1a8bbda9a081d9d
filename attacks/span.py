"""The honest updates of a round as the adversary computes with them: mean, one direction, and one Gram matrix.

Most crafted vectors have the form a · mean + t · direction. Every distance and inner product among them and the h
honest updates then follows from one (h+2, h+2) matrix, so that a search over t costs nothing that grows with d. The
rows are centred before they are multiplied: products of raw updates would cancel when their differences are small.

One pass over the data in chunks, float64 throughout; no temporary of the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.base import Matrix

__all__ = ["Direction", "Floats", "Span", "against_mean", "against_sign", "against_std", "along_std", "span_of"]

Floats = NDArray[np.float64]
Direction = Callable[[Floats, Floats], Floats]  # of a chunk's mean (m,) and centred updates (h, m)

# 16 Ki coordinates of 20 updates in float64 are 2.6 MB: they stay in the cache between centring and product.
_CHUNK = 1 << 14


def along_std(mean: Floats, centred: Floats) -> Floats:
    """σ, the honest updates' standard deviation (h − 1 degrees of freedom)."""
    std: Floats = np.sqrt(np.einsum("ij,ij->j", centred, centred) / max(len(centred) - 1, 1))
    return std


def against_std(mean: Floats, centred: Floats) -> Floats:
    """−σ."""
    return -along_std(mean, centred)


def against_mean(mean: Floats, centred: Floats) -> Floats:
    """−μ, the way back."""
    return -mean


def against_sign(mean: Floats, centred: Floats) -> Floats:
    """−sign(μ), the way back with the same step on each coordinate."""
    return -np.sign(mean)


@dataclass(frozen=True)
class Span:
    """span{x_1, …, x_h, direction} of h honest updates x_i with mean μ.

    mean, direction: (d,) float64.
    gram: (h+2, h+2) float64, inner products of x_1 − μ, …, x_h − μ, μ, direction.
    """

    mean: Floats
    direction: Floats
    gram: Floats

    @property
    def h(self) -> int:
        """Honest clients."""
        return len(self.gram) - 2

    def vector(self, a: float, t: float) -> Floats:
        """(d,): a · mean + t · direction."""
        return a * self.mean + t * self.direction

    def coordinates(self, f: int, a: float, t: float) -> Floats:
        """(h+f, h+2): the honest updates, then f times a · mean + t · direction, in the basis of `gram`."""
        rows = np.zeros((self.h + f, self.h + 2))
        rows[: self.h, : self.h] = np.eye(self.h)
        rows[: self.h, -2] = 1.0
        rows[self.h :, -2:] = a, t
        return rows

    def products(self, coordinates: Floats) -> Floats:
        """(m, m): inner products of m vectors given by their (m, h+2) coordinates."""
        return coordinates @ self.gram @ coordinates.T

    def squared_distances(self, coordinates: Floats) -> Floats:
        """(m, m): ‖v_i − v_j‖² of m vectors given by their (m, h+2) coordinates."""
        differences = coordinates[:, None, :] - coordinates[None, :, :]
        squared: Floats = ((differences @ self.gram) * differences).sum(axis=2)
        return np.maximum(squared, 0.0)


def span_of(honest: Matrix, direction: Direction) -> Span:
    """The span of (h, d) honest updates and the direction made of their mean and deviations."""
    h, d = honest.shape
    mean, towards = np.empty(d), np.empty(d)
    gram = np.zeros((h + 2, h + 2))
    buffer = np.empty((h + 2, min(d, _CHUNK)))
    for start in range(0, d, _CHUNK):
        part = slice(start, min(d, start + _CHUNK))
        rows = buffer[:, : part.stop - part.start]
        rows[:h] = honest[:, part]
        np.mean(rows[:h], axis=0, out=mean[part])
        rows[:h] -= mean[part]
        towards[part] = direction(mean[part], rows[:h])
        rows[h], rows[h + 1] = mean[part], towards[part]
        gram += rows @ rows.T
    return Span(mean, towards, gram)
