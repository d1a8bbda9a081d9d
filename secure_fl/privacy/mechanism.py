"""The Gaussian mechanism on a sum whose sensitivity is bounded: the only place where noise is added.

Dwork & Roth 2014, appendix A, with the noise multiplier of Abadi et al. 2016: values + N(0, (σ·S)²), where S is the
most that one record (or site) moves the values in L2 norm. What it costs is `accounting`'s to say.

The proof is about real numbers. Values and noise are rounded to a grid of 2⁻³⁶·S before they are added (see
`randomness`), which moves the values by at most √d·2⁻³⁷·S: 10⁻⁸·S for two million parameters. That, and the
roundings of float32 by which a clipped gradient may be longer than S (up to a few parts in a million; the tests
bound them by brute force), are covered by a noise that is larger by 10⁻⁵ than what is accounted.
"""

from __future__ import annotations

from torch import Tensor

from secure_fl.privacy.randomness import Randomness

__all__ = ["gaussian_mechanism"]

_GRID = 2.0**-36
_COVER = 1.0 + 1e-5


def gaussian_mechanism(
    values: Tensor, *, sensitivity: float, noise_multiplier: float, randomness: Randomness
) -> Tensor:
    """`values` with noise of standard deviation `noise_multiplier · sensitivity` in each coordinate."""
    std = noise_multiplier * sensitivity * _COVER
    return randomness.noised(values, std, grid=sensitivity * _GRID)
