"""The randomness that privacy rests on: which records enter a step, and the noise.

Guarantee. Records are drawn independently with probability q, and each coordinate of the noise is
N(0, std²), from generators that nobody else knows or repeats: their keys are the operating system's,
taken anew in each process and each round. The run's seed has no part in it: two sites, two
rounds or two processes with the same seed draw different noise, else an observer could subtract it away.

Limits. Noise is the sum of two independent draws of torch's generator, (a + b) / √2, each under a 63-bit key of its
own: Mersenne Twisters, which pass statistical tests and were not designed to resist cryptanalysis; whoever reads
this process's memory knows its noise. The sum is not there for the keys alone. A single-precision draw ends at 5.8
standard deviations, the sum at 8.2; and floating-point Gaussians have gaps that leak in theory (Mironov 2012, "On
Significance of the Least Significant Bits"), which a sum of draws makes impractical to use (Holohan & Braghin 2021,
section 3). Discrete noise belongs to secure aggregation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Randomness"]


@dataclass(frozen=True)
class Randomness:
    """Sampling and noise of one site in one round. Make one by `from_system`; never keep it for the next round.

    `insecure`: it came from a seed, so that whoever knows the seed knows the noise. Only for tests.
    """

    sampling: np.random.Generator
    noise: tuple[torch.Generator, torch.Generator]
    insecure: bool = False

    @classmethod
    def from_system(cls) -> Randomness:
        """Fresh generators, keyed by the operating system."""
        return cls._keyed([int.from_bytes(os.urandom(16), "big") for _ in range(3)])

    @classmethod
    def insecure_for_tests(cls, seed: int) -> Randomness:
        """Repeatable, and therefore not private: the report of a run that used it must say so."""
        keys = [int(each) for each in np.random.SeedSequence(seed).generate_state(3, np.uint64)]
        return cls._keyed(keys, insecure=True)

    def poisson(self, samples: int, rate: float) -> npt.NDArray[np.int64]:
        """Indices of the records that enter a step: each of 0 .. samples - 1 independently with probability `rate`.

        Ascending, possibly none. This is the sampling that the accountants assume (Abadi et al. 2016, section 3.1).
        """
        chosen: npt.NDArray[np.int64] = np.flatnonzero(self.sampling.random(samples) < rate)
        return chosen

    def gaussian_like(self, tensor: torch.Tensor, std: float) -> torch.Tensor:
        """N(0, std²) for each coordinate of `tensor`, drawn in float32."""
        one, other = (torch.empty(tensor.shape).normal_(generator=each) for each in self.noise)
        return one.add_(other).mul_(std / 2**0.5).to(device=tensor.device, dtype=tensor.dtype)

    @classmethod
    def _keyed(cls, keys: list[int], *, insecure: bool = False) -> Randomness:
        sampling = np.random.Generator(np.random.Philox(key=keys[0]))
        one, other = (torch.Generator().manual_seed(key % (1 << 63)) for key in keys[1:])
        return cls(sampling, (one, other), insecure)
