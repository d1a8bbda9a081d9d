"""Counters: small whole numbers that ride along with an update, masked as it is, so that only their sum is learned.

How many images a site has, how many of them it got right, whether it had to clip: such numbers identify a site when
they leave it in the clear. Here each becomes eight words of the ring, one for each base-256 digit. Digits of many
sites add up without a carry and the sum of digits is the sum of numbers, so that nothing wraps as long as
members · 255 fits the ring: 257 members in 16 bits. Sums may pass 2^64; they are Python integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from secure_fl.secagg.errors import BudgetTooSmall, OutOfRange
from secure_fl.secagg.ring import Ring, Words

__all__ = ["DIGITS", "Counters"]

DIGITS: Final = 8
"""Words of a counter."""
_BASE: Final = 256


@dataclass(frozen=True)
class Counters:
    """Named counters, each from 0 to 2^64 − 1, of at most `members` sites. Order of names is order of words.

    Raises BudgetTooSmall when sums of `members` digits do not fit the ring.
    """

    names: tuple[str, ...]
    members: int
    ring: Ring

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or self.members < 1:
            raise ValueError("counters have different names, and at least one member")
        if self.members * (_BASE - 1) >= 1 << self.ring.bits:
            raise BudgetTooSmall(
                f"digits of {self.members} members do not fit {self.ring.bits} bits",
                why="a sum of them could wrap",
                fix="use 32 bits, or smaller groups",
            )

    @property
    def words(self) -> int:
        """How many words of the ring the counters take up."""
        return DIGITS * len(self.names)

    def encode(self, values: Mapping[str, int]) -> Words:
        """One site's numbers as words. Raises OutOfRange for a number without a place, ValueError for other names."""
        if set(values) != set(self.names):
            raise ValueError(f"counters are {', '.join(self.names)}; given were {', '.join(values)}")
        for name, value in values.items():
            if not 0 <= value < _BASE**DIGITS:
                raise OutOfRange(f"counter {name}={value} is outside of 0 to 2^{8 * DIGITS} - 1")
        digits = b"".join(int(values[name]).to_bytes(DIGITS, "little") for name in self.names)
        return np.frombuffer(digits, np.uint8).astype(self.ring.dtype)

    def decode(self, words: Words) -> dict[str, int]:
        """The sums that a sum of encodings stands for; ValueError for another number or type of words."""
        if words.shape != (self.words,) or words.dtype != self.ring.dtype:
            raise ValueError(f"{self.words} words of {self.ring.dtype} hold these counters, not {words.shape}")
        rows = words.reshape(len(self.names), DIGITS).tolist()
        return {
            name: sum(digit * _BASE**place for place, digit in enumerate(row))
            for name, row in zip(self.names, rows, strict=True)
        }
