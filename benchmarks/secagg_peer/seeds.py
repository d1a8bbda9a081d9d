"""The search for the seed of a pairwise mask of Flower 1.41: 2^28 Mersenne twisters, of each its first output.

`pseudo_rand_gen` XORs the words of a key into 32 bits and seeds NumPy's MT19937 with them. The key of a pair is base64
text, whose octets are ASCII: bit 7 of each octet of the seed is zero, and 28 bits remain. The first output depends on
three words of the seeded state (0, 1 and 397), and seeding is one multiplication a word (Matsumoto and Nishimura 1998,
`init_genrand`), so that a candidate costs 397 of them: chunks of candidates go through these steps together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CANDIDATES", "first_outputs", "folded", "index_of", "pair_seeds", "search"]

CANDIDATES = 1 << 28
"""How many seeds a pairwise mask can have."""

_CHUNK = 1 << 15  # candidates: 128 KiB of state stay in the cache
_MIDDLE = 397  # the other state word of the first output
_MULTIPLIER = np.uint32(1812433253)
_UPPER, _LOWER = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_TWIST = np.uint32(0x9908B0DF)

Words = NDArray[np.uint32]


def folded(key: bytes) -> int:
    """The 32-bit seed that Flower makes of a key of 4·k bytes."""
    return int(np.bitwise_xor.reduce(np.frombuffer(key, "<u4")))


def pair_seeds(start: int, stop: int) -> Words:
    """Candidates number `start` to `stop` − 1: seven bits of the number in each octet."""
    number = np.arange(start, stop, dtype=np.uint32)
    seeds = number & np.uint32(0x7F)
    for octet in (1, 2, 3):
        seeds |= (number << np.uint32(octet)) & np.uint32(0x7F << 8 * octet)
    return seeds


def index_of(seed: int) -> int:
    """The number of a candidate, the reverse of `pair_seeds`."""
    return sum((seed >> 8 * octet & 0x7F) << 7 * octet for octet in range(4))


def first_outputs(seeds: Words) -> Words:
    """The first 32-bit output of MT19937 for each seed, as of `np.random.RandomState(seed)`."""
    state, scratch = seeds.copy(), np.empty_like(seeds)
    second = state
    for word in range(1, _MIDDLE + 1):
        np.right_shift(state, np.uint32(30), out=scratch)
        np.bitwise_xor(state, scratch, out=state)
        np.multiply(state, _MULTIPLIER, out=state)
        np.add(state, np.uint32(word), out=state)
        if word == 1:
            second = state.copy()
    mixed = (seeds & _UPPER) | (second & _LOWER)
    output: Words = state ^ (mixed >> np.uint32(1)) ^ ((mixed & np.uint32(1)) * _TWIST)
    output ^= output >> np.uint32(11)
    output ^= (output << np.uint32(7)) & np.uint32(0x9D2C5680)
    output ^= (output << np.uint32(15)) & np.uint32(0xEFC60000)
    output ^= output >> np.uint32(18)
    return output


def search(first: Iterable[int], start: int = 0, stop: int = CANDIDATES) -> list[int]:
    """Seeds among candidates `start` to `stop` − 1 whose first output is one of the words `first`."""
    wanted = np.array(sorted({*first}), np.uint32)
    found: list[int] = []
    for begin in range(start, stop, _CHUNK):
        seeds = pair_seeds(begin, min(begin + _CHUNK, stop))
        outputs = first_outputs(seeds)
        for word in wanted:
            found += seeds[outputs == word].tolist()
    return found
