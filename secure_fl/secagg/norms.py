"""How long the mean of a sum can be when all who are in it keep to the clip: what a coordinator can check of a sum.

Sound for the sum only. Whoever is longer than the clip is not named by it, and hides as long as the others make up for
it: c hostile members of a group of m with equal weights can each be m/c times as long as the clip before it shows.
Proofs that every single input is short (Bell et al. 2023, ACORN; Rathee et al. 2023, ELSA) cost more than training does
for millions of parameters in Python, and are not attempted.
"""

from __future__ import annotations

import math

__all__ = ["longest_mean"]

# float32's rounding of each coordinate of a decoded mean.
_DECODED = 1 + 2.0**-22


def longest_mean(clip: float, *, coordinates: int, members: int, scale: float, weight: int) -> float:
    """The largest L2 norm that the weighted mean of `members` honest encodings can have.

    The mean of vectors no longer than `clip` is no longer; rounding moves each of the coordinates that were rounded by
    less than members / (scale · weight), see `secagg.ring.FixedPoint`. A rotation before it changes no norm.
    """
    return (clip + math.sqrt(coordinates) * members / (scale * weight)) * _DECODED
