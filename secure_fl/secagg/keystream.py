"""The pseudorandom words of secure aggregation: AES-256 in counter mode (NIST SP 800-38A, section 6.5), zero IV.

Encrypting zeros gives the key stream itself. A zero IV is sound because a key serves one stream only: masks and
rounding take fresh 32-byte seeds, derived for one purpose in one round. Whoever does not hold the seed cannot tell the
words from uniform ones, as far as AES-256 is a pseudorandom permutation; that a permutation repeats no block tells
q blocks from random ones with probability q²/2^129 at most, below 2^-80 for a vector of 128 MB.

Counter mode seeks: block k of the stream is AES(k), so a stream can be entered at any multiple of 16 bytes. That is
what lets several threads fill parts of one mask.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["BLOCK", "SEED", "KeyStream"]

BLOCK: Final = 16
"""Bytes of an AES block: a stream is entered at multiples of it."""
SEED: Final = 32
"""Bytes of a seed."""


class KeyStream:
    """The stream of one seed, from byte `skip` on; reading it moves it forward."""

    def __init__(self, seed: bytes, *, skip: int = 0) -> None:
        """seed: 32 bytes that serve no other stream; skip: where to begin, a multiple of 16 bytes. Else ValueError."""
        if len(seed) != SEED:
            raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
        if skip % BLOCK or skip < 0:
            raise ValueError(f"a stream is entered at a multiple of {BLOCK} bytes, not at {skip}")
        start = (skip // BLOCK).to_bytes(BLOCK, "big")
        self._encryptor = Cipher(algorithms.AES256(seed), modes.CTR(start)).encryptor()

    def fill(self, zeros: memoryview, buffer: bytearray) -> None:
        """Write the next len(zeros) bytes to `buffer`, which has to be 15 bytes longer: the cipher wants that room."""
        self._encryptor.update_into(zeros, buffer)
