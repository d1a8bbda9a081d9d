"""Discrete Gaussian noise for the integers of a ring: N_Z(0, σ²), P(x) ∝ exp(-x² / 2σ²) on the whole numbers.

A sum that is opened by secure aggregation is a sum of integers, so the noise in it has to be made of integers, and
its law must be the one that the proof speaks of (Kairouz, Liu & Steinke, ICML 2021; Canonne, Kamath & Steinke,
NeurIPS 2020): a rounded Gaussian is another. Each draw here is off the ideal law by at most `DRAW_DISTANCE` in
statistical distance, which `secure_fl.privacy.distributed` counts as part of δ.

    σ ≤ 1024   inversion by an alias table (Walker 1977; Vose 1991): a random cell, and a coin against its threshold.
               Thresholds have 128 bits, of which the lower 64 are only asked when the upper ones are equal.
    σ > 1024   digits: x + 128·y with x of σ = 512 and y of the rest. The law of such a sum is that of one discrete
               Gaussian up to the smoothing term 2·exp(-2π²τ²), τ = σ_x·σ_y/σ ≥ 3.4 (Micciancio & Walter, CRYPTO 2017,
               section 3; here by Poisson's summation formula, see `digits_of`).

The randomness is a keystream whose key the caller takes from the operating system and uses once. Time does not depend
on the values but for caches: whoever measures this process closely, or reads its memory, is not held off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from secure_fl.secagg.keystream import BLOCK, KeyStream

__all__ = ["DRAW_DISTANCE", "DiscreteGaussian", "digits_of"]

DRAW_DISTANCE = 2.0**-120
"""Most statistical distance of one draw from N_Z(0, σ²), for every σ that is accepted."""

_LEAST_SIGMA, _MOST_SIGMA = 1.0, 2.0**40
# Beyond so many σ on both sides lies less than 2⁻¹³⁰ of the mass.
_REACH = 13.6
_TABLE_SIGMA, _DIGIT_SIGMA, _BASE = 1024.0, 512.0, 128
_COIN_BITS, _HALF_BITS, _WEIGHT_BITS = 128, 64, 256
# Coordinates of a block: its buffers stay in the cache beside the tables.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class DiscreteGaussian:
    """N_Z(0, `variance`), for a variance of 1 to 2⁸⁰.

    Raises:
        ValueError: the variance is outside of that.
    """

    variance: float

    def __post_init__(self) -> None:
        if not _LEAST_SIGMA**2 <= self.variance <= _MOST_SIGMA**2:
            raise ValueError(f"a variance of {self.variance} is not between 1 and 2^80")

    def sample(self, count: int, key: bytes) -> npt.NDArray[np.int64]:
        """(count,) independent draws, all from the keystream of `key`: 32 bytes that nobody else knows, used once."""
        draws, tables = _Draws(key), [_table(each) for each in digits_of(self.variance)]
        drawn = np.empty(count, np.int64)
        for start in range(0, count, _BLOCK):
            block = drawn[start : start + _BLOCK]
            block[:] = tables[-1].sample(len(block), draws)
            for table in reversed(tables[:-1]):
                block *= _BASE
                block += table.sample(len(block), draws)
        return drawn


def digits_of(variance: float) -> tuple[float, ...]:
    """Variances v_0, v_1, … with Σ 128²ⁱ·v_i = `variance`, each small enough for a table.

    Completing the square, with variances a of x and b of y, and τ² = ab / (a + 128²b),

        Σ_y exp(-(z - 128y)² / 2a) · exp(-y² / 2b)  =  exp(-z² / 2(a + 128²b)) · Σ_y exp(-(y - c)² / 2τ²)

    for some c that depends on z. By Poisson summation the last sum is constant in c up to a factor of
    1 ± 2.1·exp(-2π²τ²), which is within 2⁻³³⁰ of 1 here: b ≥ 48 once the variance exceeds 1024².
    """
    digits = []
    while variance > _TABLE_SIGMA**2:
        digits.append(_DIGIT_SIGMA**2)
        variance = (variance - _DIGIT_SIGMA**2) / _BASE**2
    return (*digits, variance)


class _Draws:
    """Coins of 64 bits and cells of 16, block by block."""

    def __init__(self, key: bytes) -> None:
        self._stream = KeyStream(key)
        self._zeros = memoryview(bytes(10 * _BLOCK))
        self._buffer, self._spare = bytearray(10 * _BLOCK + BLOCK - 1), bytearray(2 * BLOCK - 1)
        self._coins = np.frombuffer(self._buffer, np.uint64, _BLOCK)
        self._cells = np.frombuffer(self._buffer, np.uint16, _BLOCK, offset=8 * _BLOCK)

    def block(self, count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint16]]:
        """`count`, at most _BLOCK, coins and cells; valid until the next block."""
        self._stream.fill(self._zeros, self._buffer)
        return self._coins[:count], self._cells[:count]

    def more(self) -> int:
        """Another 64 bits."""
        self._stream.fill(self._zeros[:BLOCK], self._spare)
        return int.from_bytes(self._spare[:8], "little")


@dataclass(frozen=True)
class _AliasTable:
    """Cell i of 2^k stands for i if a coin of 128 bits is below its threshold, else for its alias.

    reach: what is subtracted to make it a value; high, low: the halves of the thresholds.
    """

    reach: int
    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    alias: npt.NDArray[np.uint16]

    def sample(self, count: int, draws: _Draws) -> npt.NDArray[np.int32]:
        """(count,) values."""
        coin, cell = draws.block(count)
        cell = cell & np.uint16(len(self.high) - 1)
        threshold = self.high.take(cell)
        below = coin < threshold
        for tie in np.flatnonzero(coin == threshold):  # once in 2⁶⁴ draws
            below[tie] = draws.more() < int(self.low[cell[tie]])
        return np.where(below, cell, self.alias.take(cell)).astype(np.int32) - np.int32(self.reach)


@lru_cache(maxsize=16)
def _table(variance: float) -> _AliasTable:
    """The alias table of a variance of at most 1024², in integers: off by 2⁻¹²⁸ and by the tails beyond its reach."""
    reach = math.ceil(_REACH * math.sqrt(variance)) + 1
    masses = _masses(variance, reach)
    size = 1 << (len(masses) - 1).bit_length()
    total, full = sum(masses), 1 << _COIN_BITS
    left = [(mass * size << _COIN_BITS) // total for mass in masses] + [0] * (size - len(masses))
    left[reach] += size * full - sum(left)  # what rounding down has left, to the largest
    alias, threshold = list(range(size)), [0] * size
    small = [cell for cell in range(size) if left[cell] < full]
    large = [cell for cell in range(size) if left[cell] >= full]
    while small:  # the mass is exactly `size` cells' worth, so whoever lacks some finds a giver
        cell, giver = small.pop(), large[-1]
        threshold[cell], alias[cell] = left[cell], giver
        left[giver] -= full - left[cell]
        if left[giver] < full:
            small.append(large.pop())
    return _AliasTable(
        reach,
        np.array([each >> _HALF_BITS for each in threshold], np.uint64),
        np.array([each & ((1 << _HALF_BITS) - 1) for each in threshold], np.uint64),
        np.array(alias, np.uint16),
    )


def _masses(variance: float, reach: int) -> list[int]:
    """exp(-x² / 2·variance) for x = -reach … reach, in units of 2⁻²⁵⁶, each off by less than `reach` units."""
    with localcontext() as context:
        context.prec = 100
        one = 1 << _WEIGHT_BITS
        step = int((Decimal(-1) / (2 * Decimal(variance))).exp() * one)
        ratio = int((Decimal(-1) / Decimal(variance)).exp() * one)
    side, mass, factor = [one], one, step  # exp(-(x+1)²/2v) = exp(-x²/2v) · exp(-(2x+1)/2v)
    for _ in range(reach):
        mass = mass * factor >> _WEIGHT_BITS
        factor = factor * ratio >> _WEIGHT_BITS
        side.append(mass)
    return [*reversed(side[1:]), *side]
