"""The randomness that privacy rests on: which records enter a step, and the noise.

Guarantee. Records are drawn independently with probability q, and each coordinate of the noise is N(0, std²). All
of it comes from a keystream of AES-256 in counter mode whose key is the operating system's, taken anew in each
process and each round: whoever does not know the key cannot tell noise from true randomness, nor one site's or
round's from another's. The run's seed has no part in it, else an observer could subtract the noise away.

Floating point. Gaussians in floating point have gaps that tell noised values apart (Mironov 2012, "On Significance
of the Least Significant Bits"). So value and noise are both rounded to a grid, and only then added:

    noised = g·(round(v/g) + round(z/g)),    z ~ N(0, std²)      which is      g·round(round(v/g) + z/g),

the mechanism on rounded values, post-processed: every output lies on the grid, whatever v is. Rounding v moves its
L2 norm by at most √d·g/2, which callers cover by a little more noise.

Limits. z is drawn by Box and Muller's formula in float64 from 52 random bits each for radius and angle: it ends at
8.5 standard deviations, which a true Gaussian passes once in 10¹⁶ draws, and follows the density to about 1e-15.
Drawing takes a time that does not depend on the values but is not hardened further; whoever reads this process's
memory knows its noise.
"""

from __future__ import annotations

import hashlib
import math
import os

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

__all__ = ["Randomness"]

# Pairs of a block: its arrays of 128 KiB stay in the cache.
_PAIRS = 1 << 14
_MANTISSA, _ONE = (1 << 52) - 1, 0x3FF0000000000000  # 52 random bits behind this exponent: a float64 in [1, 2)


class Randomness:
    """Sampling and noise of one site in one round. Make one by `from_system`; never keep it for the next round.

    `insecure`: it came from a seed, so that whoever knows the seed knows the noise. Only for tests.
    """

    def __init__(self, key: bytes, *, insecure: bool) -> None:
        """key: 32 bytes that nobody else knows and that were never used before."""
        self.insecure = insecure
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(16 * _PAIRS)
        self._buffer = bytearray(16 * _PAIRS + 15)  # the cipher wants room for a block more
        self._words = torch.frombuffer(self._buffer, dtype=torch.int64, count=2 * _PAIRS)

    @classmethod
    def from_system(cls) -> Randomness:
        """A fresh key of the operating system's."""
        return cls(os.urandom(32), insecure=False)

    @classmethod
    def insecure_for_tests(cls, seed: int) -> Randomness:
        """Repeatable, and therefore not private: the report of a run that used it must say so."""
        return cls(hashlib.sha256(f"insecure-test-rng {seed}".encode()).digest(), insecure=True)

    def poisson(self, samples: int, rate: float) -> npt.NDArray[np.int64]:
        """Indices of the records that enter a step: each of 0 .. samples - 1 independently with probability `rate`.

        Ascending, possibly none. This is the sampling that the accountants assume (Abadi et al. 2016, section 3.1).
        """
        parts = []
        for start in range(0, samples, 2 * _PAIRS):
            drawn = (self._floats() - 1.0)[: samples - start]
            parts.append(np.flatnonzero(drawn.numpy() < rate) + start)
        chosen: npt.NDArray[np.int64] = np.concatenate(parts or [np.zeros(0, np.int64)])
        return chosen

    def noised(self, values: Tensor, std: float, *, grid: float) -> Tensor:
        """`values` plus N(0, std²) in each coordinate, both rounded to multiples of `grid`; dtype and device stay.

        The sum is made in float64, where it is exact while |values| < 2⁵² · grid.
        """
        given = values.detach().to("cpu").reshape(-1)
        made = torch.empty_like(given)
        for start in range(0, len(given), 2 * _PAIRS):  # block by block, so that all of it happens in the cache
            block = given[start : start + 2 * _PAIRS].to(torch.float64, copy=True).mul_(1.0 / grid).round_()
            block.add_(self._gaussians().mul_(std / grid).round_()[: len(block)])
            made[start : start + 2 * _PAIRS] = block.mul_(grid)
        return made.view(values.shape).to(values.device)

    def _gaussians(self) -> Tensor:
        """(2·_PAIRS,) float64, standard normal (Box & Muller 1958); valid until the next draw."""
        drawn = self._floats()
        radius, angle = drawn[:_PAIRS], drawn[_PAIRS:]
        radius.neg_().add_(2.0).log_().mul_(-2.0).sqrt_()  # 2 - [1, 2) is (0, 1]: the logarithm is finite
        angle.mul_(2.0 * math.pi)
        across = angle.cos().mul_(radius)
        torch.mul(angle.sin_(), radius, out=angle)
        radius.copy_(across)
        return drawn

    def _floats(self) -> Tensor:
        """(2·_PAIRS,) float64, uniform on the 2⁵² floats of [1, 2); valid until the next draw."""
        self._stream.update_into(self._zeros, self._buffer)
        return self._words.bitwise_and_(_MANTISSA).bitwise_or_(_ONE).view(torch.float64)
