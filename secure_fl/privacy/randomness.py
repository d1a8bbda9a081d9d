"""The randomness that privacy rests on: which records enter a step, and the noise.

Guarantee. Records are drawn independently with probability q, and each coordinate of the noise is
N(0, std²), from a generator that nobody else knows or repeats: its key is 256 bits of the operating
system's, taken anew in each process and each round. The run's seed has no part in it: two sites, two
rounds or two processes with the same seed draw different noise, else an observer could subtract it away.

Limits. Noise is drawn by Philox-4x64 under a 128-bit key (Salmon et al. 2011), a fast counter-based generator
that passes every statistical test but was not designed to resist cryptanalysis; whoever reads this process's
memory knows its noise. Floating-point Gaussians have gaps that leak in theory (Mironov 2012, "On Significance
of the Least Significant Bits"); with `terms` = 4 the noise is a sum of independent draws, which makes the known
attack impractical (Holohan & Braghin 2021, section 3). Discrete noise belongs to secure aggregation.
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
    noise: np.random.Generator
    augmentation: torch.Generator
    insecure: bool = False

    @classmethod
    def from_system(cls) -> Randomness:
        """Fresh generators, keyed by the operating system."""
        return cls(_philox(_entropy()), _philox(_entropy()), _torch_generator(_entropy()))

    @classmethod
    def insecure_for_tests(cls, seed: int) -> Randomness:
        """Repeatable, and therefore not private: the report of a run that used it must say so."""
        keys = [int(each) for each in np.random.SeedSequence(seed).generate_state(3, np.uint64)]
        return cls(_philox(keys[0]), _philox(keys[1]), _torch_generator(keys[2]), insecure=True)

    def poisson(self, samples: int, rate: float) -> npt.NDArray[np.int64]:
        """Indices of the records that enter a step: each of 0 .. samples - 1 independently with probability `rate`.

        Ascending, possibly none. This is the sampling that the accountants assume (Abadi et al. 2016, section 3.1).
        """
        chosen: npt.NDArray[np.int64] = np.flatnonzero(self.sampling.random(samples) < rate)
        return chosen

    def gaussian_like(self, tensor: torch.Tensor, std: float, *, terms: int = 1) -> torch.Tensor:
        """N(0, std²) for each coordinate of `tensor`, in float32, as the sum of `terms` independent draws."""
        total = self.noise.standard_normal(tuple(tensor.shape), dtype=np.float32)
        for _ in range(terms - 1):
            total += self.noise.standard_normal(tuple(tensor.shape), dtype=np.float32)
        total *= np.float32(std / terms**0.5)
        return torch.from_numpy(np.asarray(total)).to(device=tensor.device, dtype=tensor.dtype)


def _entropy() -> int:
    return int.from_bytes(os.urandom(16), "big")


def _philox(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def _torch_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % (1 << 63))
