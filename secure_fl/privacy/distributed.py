"""Distributed differential privacy: how much noise each site adds, so that only the sum of all has enough.

Kairouz, Liu & Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation",
ICML 2021. Nobody sees a single site's words; the opened sum holds the shares of all survivors, of which at least m
are honest. So a share is 1/m of what one trusted curator would add, and the sum is as private as under such a
curator, without one. With all n alive the noise has n/m times that variance: the price of not knowing who drops out.

Guarantee. Let Δ be the most that one unit (an image; or a site's update, put to zero) moves the rounded sum, in
steps of the ring. Then a round is the Gaussian mechanism of noise multiplier σ that `accounting` counts, with

    variance of m shares = (σΔ)² + 9,

up to `slack`, which is added to δ. Step by step:

Δ, `rounded_length`. Rounding is ⌊v + u⌋ with u uniform. (a) A site's update of length S is rounded to a vector that
is longer than Δ with probability β at most (their section 3 and appendix A); such roundings are drawn again, so that
Δ holds always. (b) A sum of clipped gradients, one of them more or less: with the same u for both, ⌊v + u⌋ - ⌊v' + u⌋
*is* a stochastic rounding of v - v', of length C at most, so the same bound holds for the difference with probability
1 - β over u, which no data moves. What fails is counted in δ. Without luck, the difference is C + √d at most.

Many shares. A sum of m draws from N_Z(0, s²) has the law of N_Z(0, ms²), each probability up to a factor e^(±τ),
`sum_distance` (their section 4). Discrete for continuous. N_Z(c, s²) is what N(c, s² - 9) becomes when it is rounded
by a discrete Gaussian of variance 9, up to e^(±κ), κ = 4.2·exp(-2π²·9) < 10⁻⁷⁶ (Peikert, CRYPTO 2010, theorem 3.1):
post-processing of the very mechanism that accountants know, subsampled or not. At our steps both vanish.

Assumes: m honest survivors; that everybody sees sums only (secure aggregation); that a share comes from a secret
stream. Clipping is done by honest code: a hostile site can spoil the sum for all, and cannot take anybody's privacy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from secure_fl.errors import ConfigError

__all__ = ["LEVELS", "SharedNoise", "rounded_length", "slack", "sum_distance"]

LEVELS = 1 << 17
"""Steps of the ring that one clip is long: fine enough that rounding costs next to nothing, in a ring of 32 bits."""

# With β a rounding is longer than counted.
_BETA = 2.0**-80
# What float32 adds to the length of a clipped gradient, and to sums of them; and a step for u's finite grid.
_COVER, _COVER_STEPS = 1.0 + 1e-4, 1.0
# Variance that is lost between the continuous and the discrete Gaussian.
_SMOOTHING = 9.0
_MOST_INFLATION = 0.01
# A draw is off by 2⁻¹²⁰ at most (secagg.noise); here for up to 2³² coordinates and 2¹² sites.
_DRAWS_DISTANCE = 2.0 ** (-120 + 32 + 12)
# Standard deviations that hold all of 2³² coordinates but for once in 2⁴⁰ sums.
_ALL_COORDINATES = 10.3


@dataclass(frozen=True)
class SharedNoise:
    """The noise of one sum of d = `dimension` coordinates, of which `honest` sites (m) add a share each.

    noise_multiplier: σ, as the accountant counts it. levels: the clip, in steps.

    Raises:
        ConfigError: nobody honest is left, a number has no meaning, or rounding would lengthen what one unit
            contributes by over 1 %, so that the steps are too coarse.
    """

    noise_multiplier: float
    dimension: int
    honest: int
    levels: int = LEVELS

    def __post_init__(self) -> None:
        if self.honest < 1:
            raise ConfigError(
                f"{self.honest} sites are sure to be honest and to stay",
                why="somebody has to add noise that nobody knows",
                fix="assume fewer colluders, or take more sites",
            )
        if not (0 < self.noise_multiplier < math.inf) or self.dimension < 1 or self.levels < 1:
            raise ConfigError(f"no noise has multiplier {self.noise_multiplier:g} in {self.dimension} coordinates")
        if self.inflation > _MOST_INFLATION:
            raise ConfigError(
                f"rounding {self.dimension} numbers to {self.levels} steps would cost {self.inflation:.1%} more noise",
                why=f"over {_MOST_INFLATION:.0%} says that the steps are too coarse",
                fix="train fewer parameters (train-part=head, a smaller model)",
            )

    @property
    def sensitivity(self) -> float:
        """Δ: the most that one unit moves the rounded sum, in steps."""
        return rounded_length(self.levels * _COVER + _COVER_STEPS, self.dimension, _BETA)

    @property
    def inflation(self) -> float:
        """By how much Δ exceeds the clip, as a share of it; the noise is larger by as much."""
        return self.sensitivity / self.levels - 1

    @property
    def longest_squared(self) -> int:
        """The most squared norm of a site's rounded update, in steps."""
        return math.floor(self.sensitivity**2)

    @property
    def variance(self) -> float:
        """The variance of each coordinate's noise in a sum of exactly m shares, in squared steps."""
        return (self.noise_multiplier * self.sensitivity) ** 2 + _SMOOTHING

    @property
    def share(self) -> float:
        """The variance of what each site adds, in squared steps."""
        return self.variance / self.honest

    def steps_needed(self, contributions: float, sites: int) -> float:
        """How large a coordinate of the sum may get: so many clipped contributions, and the noise of all `sites`.

        Once in 2⁴⁰ sums it is larger; a sum that leaves the ring is lost, and as private as any.
        """
        return contributions * (self.levels + 1) + _ALL_COORDINATES * math.sqrt(sites * self.share)


def rounded_length(length: float, dimension: int, beta: float) -> float:
    """A bound on the L2 norm of a stochastic rounding of a vector of at most `length` steps.

    With probability 1 - β (Kairouz, Liu & Steinke 2021, proposition 22), or with certainty where that is less.
    """
    root = math.sqrt(dimension)
    likely = length**2 + dimension / 4 + math.sqrt(2 * math.log(1 / beta)) * (length + root / 2)
    return min(length + root, math.sqrt(likely))


def sum_distance(variance: float, sites: int) -> float:
    """τ: the sum of `sites` draws from N_Z(0, variance) against N_Z(0, sites·variance), in log-probability.

    Kairouz, Liu & Steinke 2021, theorem 1; for one coordinate.
    """
    return 10 * sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, sites))


def slack(rounds: int, epsilon: float) -> float:
    """What sampling and rounding add to δ over so many rounds that cost ε.

    If each round is within statistical distance t of an ideal one, (ε, δ) becomes (ε, δ + (1 + e^ε)·rounds·t).
    What sums of shares add to ε is 2·rounds·d·(τ + κ): at our steps below 10⁻⁶⁰, and not counted.
    """
    return (1 + math.exp(min(epsilon, 700.0))) * rounds * (_BETA + _DRAWS_DISTANCE)
