"""A seeded random rotation that makes all coordinates of an update about equally large, for rings of 16 bits.

Concept. H·D with D random signs and H the orthonormal Walsh–Hadamard matrix of order B = 2^k: every entry of H is
±1/√B, so that each coordinate of H·D·x is a sum of independent signs with norm at most ‖x‖/√B. Hoeffding's inequality
gives P(|coordinate| > c·‖x‖/√B) ≤ 2·exp(−c²/2), for every x that does not depend on the seed (Ailon and Chazelle 2009;
for federated averages Suresh et al. 2017, section 3, and Kairouz et al. 2021, section 3). The L2 bound of an update
thus becomes a bound of its coordinates, √B/c times smaller than the clip; encoding clamps what exceeds it.

Any d without padding: B is the largest power of two up to d. The first B coordinates are rotated, then the last B
with fresh signs. They overlap, every coordinate is the output of one of the two, and the bound holds for each. The
map is orthonormal: errors keep their norm on the way back.

The seed is public and common to all sites of a sum. It hides nothing; it only has to be drawn independently of the
updates. A site that makes its update fit the seed loses its own clamped coordinates, and can wrap nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from secure_fl.secagg.keystream import BLOCK, SEED, KeyStream
from secure_fl.secagg.ring import BoundedFixedPoint, Ring, Vector, Words

__all__ = ["TAIL", "RotatedFixedPoint", "Rotation"]

TAIL: Final = 5.5
"""c of the coordinate bound: at most one coordinate in 1.8 million is clamped, and about one in 26 million where the
sum of signs is near a Gaussian."""

_RADIX: Final = 16  # small products of matrices keep the multipliers busy; larger ones waste flops
_SIGN: Final = np.uint32(1 << 31)


@dataclass(frozen=True)
class Rotation:
    """The rotation of vectors (size,) that a 32-byte seed stands for."""

    size: int
    seed: bytes

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.seed) != SEED:
            raise ValueError(f"a rotation has a size of at least 1 and a seed of {SEED} bytes")

    @property
    def block(self) -> int:
        """B: the largest power of two up to `size`."""
        return 1 << (self.size.bit_length() - 1)

    def rotate(self, vector: Vector) -> Vector:
        """The rotated vector, a new one of the same norm. ValueError unless (size,) of float32."""
        turned = self._copied(vector)
        for part, signs in zip(self._parts(turned), self._signs, strict=True):
            _flip(part, signs)
            _hadamard(part)
        return turned

    def unrotate(self, vector: Vector) -> Vector:
        """The vector that `rotate` turned into this one, up to float32's rounding: about 1e-7 of its norm."""
        turned = self._copied(vector)
        for part, signs in zip(reversed(self._parts(turned)), reversed(self._signs), strict=True):
            _hadamard(part)
            _flip(part, signs)
        return turned

    def _copied(self, vector: Vector) -> Vector:
        if vector.shape != (self.size,) or vector.dtype != np.float32:
            raise ValueError(f"this rotation turns {self.size} values of float32, not {vector.dtype} {vector.shape}")
        return vector.copy()

    def _parts(self, vector: Vector) -> list[Vector]:
        """The first and the last B coordinates: views; one of them where they are the same."""
        return [vector[: self.block], vector[-self.block :]][: 1 if self.block == self.size else 2]

    @cached_property
    def _signs(self) -> list[Words]:
        """For each part B bits, 32 to a word."""
        words = max(1, self.block // 32)
        parts = 1 if self.block == self.size else 2
        bytes_ = -(-4 * words * parts // BLOCK) * BLOCK
        buffer = bytearray(bytes_ + BLOCK - 1)
        KeyStream(self.seed).fill(memoryview(bytes(bytes_)), buffer)
        drawn = np.frombuffer(buffer, "<u4", words * parts).astype(np.uint32)
        return list(drawn.reshape(parts, words))


@dataclass(frozen=True)
class RotatedFixedPoint:
    """The encoding of rotated updates: `encode` and `decode` as FixedPoint has them, with steps √B/TAIL times finer.

    Guarantee: sums never wrap, for any update (clamping sees to it); and for an update that does not depend on the
    seed, the expected number of clamped coordinates is at most 5.4e-7·d. `fixed` counts them.
    """

    ring: Ring
    members: int
    clip: float
    max_weight: int
    rotation: Rotation

    def __post_init__(self) -> None:
        _ = self.fixed  # refuses what it cannot hold

    @property
    def fixed(self) -> BoundedFixedPoint:
        """The encoding that rotated updates are given to."""
        bound = min(1.0, TAIL / math.sqrt(self.rotation.block)) * self.clip
        return BoundedFixedPoint(self.ring, self.members, self.clip, self.max_weight, bound)

    @property
    def scale(self) -> float:
        """Steps per unit of weight times rotated update."""
        return self.fixed.scale

    def encode(self, update: Vector, weight: int, out: Words, *, rounding: bytes) -> float:
        """Write the rotated update to `out`; the factor of the L2 clip. Shapes and errors as FixedPoint.encode's."""
        return self.fixed.encode(self.rotation.rotate(update), weight, out, rounding=rounding).factor

    def decode(self, words: Words, total_weight: int) -> Vector:
        """The weighted mean (d,), turned back."""
        return self.rotation.unrotate(self.fixed.decode(words, total_weight))


def _flip(part: Vector, signs: Words) -> None:
    """Change the sign where the bit is set: slice j of 32 takes bit 31 − j of every word. In place."""
    bits = part.view(np.uint32).reshape(-1, signs.size)
    drawn = np.empty_like(signs)
    for shift, row in enumerate(bits):
        np.left_shift(signs, shift, out=drawn)
        drawn &= _SIGN
        row ^= drawn


def _hadamard(part: Vector) -> None:
    """The orthonormal Walsh–Hadamard transform of 2^k values, in place: H of order r·s is the Kronecker product."""
    values, other = part, np.empty_like(part)
    after = 1
    for matrix in _factors(part.size):
        order = len(matrix)
        if after == 1:  # as one product; a stack of products with single columns would be slow
            np.matmul(values.reshape(-1, order), matrix, out=other.reshape(-1, order))
        else:
            np.matmul(matrix, values.reshape(-1, order, after), out=other.reshape(-1, order, after))
        values, other = other, values
        after *= order
    if values is not part:
        part[:] = values


def _factors(order: int) -> Iterator[Vector]:
    """Orthonormal Hadamard matrices of at most _RADIX whose orders multiply to `order`, a power of two."""
    while order > 1:
        radix = min(order, _RADIX)
        matrix = np.ones((1, 1), np.float32)
        while len(matrix) < radix:
            matrix = np.block([[matrix, matrix], [matrix, -matrix]])
        yield matrix / np.float32(math.sqrt(radix))
        order //= radix
