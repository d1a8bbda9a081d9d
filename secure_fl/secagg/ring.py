"""Fixed point in Z_2^b: real updates as integers whose sum over sites is exact and cannot wrap.

A site clips its update in L2, multiplies it by its integer weight and a common scale, and rounds stochastically to
integers, two's complement modulo 2^b. The scale is derived, not chosen: with L = ⌊(2^(b-1) − 1) / members⌋ it puts
the largest coordinate that any honest site can have at L, so that a sum of `members` of them stays within the signed
range, whatever the updates are. The budget is data-independent: it may be public.

Rounding. z becomes ⌊z⌋ or ⌊z⌋ + 1 and never anything else, with a probability that is a multiple of 2^-15; so the
expectation differs from z by at most 2^-16 of a step (plus float64's rounding of z, below 2^-21), and by nothing
where z is a multiple of 2^-15. How: in units of 2^-16 steps, an odd 16-bit random integer is added, and adding
1.5·2^68 makes the float64 unit round to a whole step, whose low 32 bits then are the mantissa's (the trick of adding
1.5·2^52, shifted by 16 bits). z + random is exact enough: z < 2^31 leaves 53 − 47 bits below the random integer.

What it does not do: it binds honest code only. A malicious site can put any words into its vector and shift each
coordinate of the sum as it likes; the ring does not show that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from secure_fl.secagg.errors import BudgetTooSmall, NonFinite, OutOfRange
from secure_fl.secagg.keystream import KeyStream

__all__ = ["CHUNK", "FEWEST_LEVELS", "BoundedFixedPoint", "Encoding", "FixedPoint", "Ring", "Vector", "Words"]

FEWEST_LEVELS: Final = 4
"""Steps between zero and the largest coordinate, at least."""

Vector = npt.NDArray[np.float32]
"""An update: (d,)."""
Words = npt.NDArray[np.unsignedinteger[Any]]
"""Ring elements: (d,), uint16 or uint32."""

CHUNK: Final = 1 << 17
"""Coordinates that are encoded at a time, so that they stay in the cache."""
_UNIT: Final = 2.0**16  # random integers are in units of 2^-16 steps
_WHOLE_STEPS: Final = 1.5 * 2.0**68  # float64's spacing here is 2^16 units: one step
_SLACK: Final = 1 - 2.0**-30  # above all float64 rounding of norm, factor and product, for d < 2^40


@dataclass(frozen=True)
class Ring:
    """The integers modulo 2^bits, 16 or 32."""

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (16, 32):
            raise ValueError(f"bits={self.bits}: a ring has 16 or 32")

    @property
    def dtype(self) -> np.dtype[Any]:
        """How an element is stored."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint32)

    @property
    def signed(self) -> np.dtype[Any]:
        """The same bits, read as two's complement."""
        return np.dtype(np.int16 if self.bits == 16 else np.int32)

    @property
    def largest(self) -> int:
        """The largest signed value."""
        return (1 << (self.bits - 1)) - 1


class Encoding(NamedTuple):
    """What encoding did to an update: the factor of the L2 clip (1: none), and how many coordinates it clamped."""

    factor: float
    clamped: int


@dataclass(frozen=True)
class FixedPoint:
    """The encoding that `members` sites share: L2 norms up to `clip`, integer weights from 1 to `max_weight`.

    Guarantee: the words of at most `members` honest sites, added modulo 2^b, decode to the exact sum of their rounded
    values. The mean then differs from that of the clipped updates by less than members / (scale · total weight) in
    each coordinate. Raises BudgetTooSmall when fewer than FEWEST_LEVELS steps remain.

    With 16 bits, L2 alone is a poor bound: a coordinate of size clip takes all steps, and the typical one, 1/√d of
    it, hardly any. BoundedFixedPoint after a rotation is made for that.
    """

    ring: Ring
    members: int
    clip: float
    max_weight: int

    def __post_init__(self) -> None:
        if self.members < 1 or self.max_weight < 1 or not 0 < self.clip < math.inf:
            raise ValueError("members and max_weight are at least 1; clip is positive and finite")
        if self.levels < FEWEST_LEVELS:
            raise BudgetTooSmall(
                f"{self.members} members leave {self.levels} steps in a ring of {self.ring.bits} bits",
                why=f"at least {FEWEST_LEVELS} are needed so that an update is more than its signs",
                fix="use 32 bits, or smaller groups",
            )
        if not 0 < self.scale < math.inf:
            raise BudgetTooSmall(
                f"clip={self.clip:g} and max_weight={self.max_weight} have no scale in float64",
                fix="use a clip nearer to the norm of an update",
            )

    @property
    def levels(self) -> int:
        """Steps from zero to the largest coordinate at full weight: what one site may take up of the ring."""
        return self.ring.largest // self.members

    @property
    def scale(self) -> float:
        """Steps per unit of weight times update."""
        return self.levels * _SLACK / (self.max_weight * self.clip)

    def encode(self, update: Vector, weight: int, out: Words, *, rounding: bytes) -> float:
        """Write the update, clipped and weighted, to `out`; the factor (at most 1) by which it was clipped.

        update, out: (d,). rounding: 32 bytes that serve nothing else. Raises NonFinite for NaN and infinities,
        OutOfRange for a weight outside of 1 to max_weight, ValueError for shapes or types that do not fit.
        """
        _check(update, out, self.ring)
        factor = _clip_factor(update, self.clip)
        _round(update, self.scale * _weighed(weight, self.max_weight) * factor, out, rounding)
        return factor

    def decode(self, words: Words, total_weight: int) -> Vector:
        """The weighted mean (d,) that a sum of encodings stands for; total_weight: the sum of their weights."""
        return _decode(words, self, total_weight)


@dataclass(frozen=True)
class BoundedFixedPoint:
    """Like FixedPoint, for updates whose coordinates are known to be small: each is clamped to ±bound.

    A rotation (secure_fl.secagg.rotation) makes all coordinates about clip/√d, so bound = c·clip/√d costs nothing
    but a clamped coordinate in 10^7 (c = 5.5) and spends all steps where the update is.

    Guarantee: as for FixedPoint, sums cannot wrap: clamping is what guarantees it, and not the rotation, so it holds
    for every update. What a clamped coordinate loses is lost; `encode` tells how many were.
    """

    ring: Ring
    members: int
    clip: float
    max_weight: int
    bound: float

    def __post_init__(self) -> None:
        if not 0 < self.bound <= self.clip < math.inf:
            raise ValueError("a bound is positive and at most the clip, which bounds coordinates already")
        _ = self._by_coordinate  # refuses what it cannot hold

    @property
    def _by_coordinate(self) -> FixedPoint:
        return FixedPoint(self.ring, self.members, self.bound, self.max_weight)

    @property
    def levels(self) -> int:
        """Steps from zero to the bound at full weight."""
        return self._by_coordinate.levels

    @property
    def scale(self) -> float:
        """Steps per unit of weight times update."""
        return self._by_coordinate.scale

    def encode(self, update: Vector, weight: int, out: Words, *, rounding: bytes) -> Encoding:
        """Write the update, clipped, weighted and clamped, to `out`. Shapes and errors as FixedPoint.encode's."""
        _check(update, out, self.ring)
        factor = _clip_factor(update, self.clip)
        scale = self.scale * _weighed(weight, self.max_weight)
        limit = self.bound / factor if factor else math.inf
        clamped = _round(update, scale * factor, out, rounding, limit=limit)
        return Encoding(factor, clamped)

    def decode(self, words: Words, total_weight: int) -> Vector:
        """The weighted mean (d,) that a sum of encodings stands for; total_weight: the sum of their weights."""
        return _decode(words, self, total_weight)


def _check(update: Vector, out: Words, ring: Ring) -> None:
    if update.ndim != 1 or update.dtype != np.float32:
        raise ValueError("an update is a vector of float32")
    if out.shape != update.shape or out.dtype != ring.dtype:
        raise ValueError(f"out has to be {ring.dtype} of shape {update.shape}, not {out.dtype} of {out.shape}")


def _weighed(weight: int, most: int) -> int:
    if not 1 <= weight <= most:
        raise OutOfRange(f"weight {weight} is outside of 1 to {most}", why="the scale was derived from that range")
    return weight


def _clip_factor(update: Vector, clip: float) -> float:
    """min(1, clip / norm), with the norm in float64."""
    wide = np.empty(min(CHUNK, update.size))
    square = 0.0
    for at in range(0, update.size, CHUNK):
        part = update[at : at + CHUNK]
        values = wide[: part.size]
        np.copyto(values, part)
        square += float(np.dot(values, values))
    if not math.isfinite(square):
        raise NonFinite("the update holds NaN or an infinity", fix="train with a smaller learning rate")
    norm = math.sqrt(square)
    return 1.0 if norm <= clip else clip / norm


def _round(update: Vector, scale: float, out: Words, seed: bytes, *, limit: float = math.inf) -> int:
    """Stochastic rounding of scale·update, clamped to ±limit before scaling; how many coordinates were clamped."""
    stream = KeyStream(seed)
    zeros, buffer = memoryview(bytes(2 * CHUNK)), bytearray(2 * CHUNK + 15)
    random = np.frombuffer(buffer, "<i2", CHUNK)
    steps, noise = np.empty(CHUNK), np.empty(CHUNK)
    clamped = 0
    for at in range(0, update.size, CHUNK):
        part = update[at : at + CHUNK]
        z, u, r = steps[: part.size], noise[: part.size], random[: part.size]
        stream.fill(zeros[: r.nbytes], buffer)
        np.copyto(z, part)
        if limit < math.inf and max(float(part.max()), -float(part.min())) > limit:  # compared in float64
            clamped += int(np.count_nonzero(np.abs(z) > limit))
            np.clip(z, -limit, limit, out=z)
        z *= scale * _UNIT
        np.bitwise_or(r, 1, out=r)
        np.copyto(u, r)
        z += u
        z += _WHOLE_STEPS
        np.copyto(out[at : at + part.size], z.view(np.int64), casting="unsafe")
    return clamped


def _decode(words: Words, by: FixedPoint | BoundedFixedPoint, total_weight: int) -> Vector:
    if words.dtype != by.ring.dtype:
        raise ValueError(f"words of this ring are {by.ring.dtype}, not {words.dtype}")
    if not 1 <= total_weight <= by.members * by.max_weight:
        raise OutOfRange(f"total weight {total_weight} is outside of 1 to {by.members * by.max_weight}")
    step = np.float32(1 / (by.scale * total_weight))
    mean: Vector = np.multiply(words.view(by.ring.signed), step, dtype=np.float32)
    return mean
