"""Whether what the server saw under secure aggregation was masked: uniform in its ring, as masks must make it.

A masked update is x + mask mod 2^b with a uniform mask, so each of its bytes is uniform, whatever x is. An update that
was sent without its mask is concentrated and fails at once. Pearson's χ² test of the counts of each byte position that
lies wholly inside the ring, Bonferroni-corrected over the positions; the statistic's tail is the exact χ² tail.

A mask is for one use. Where a site used one twice, the masked arrays differ by the difference of what they hide, and
that is concentrated; where it did not, the difference is as uniform as the masks. `MaskedOverTime` tests both.

The test can prove that no mask was there, or that one was used twice, never that a mask was secret: masks from a known
seed, or of a generator that can be guessed (MT19937), are uniform too. That is proven by the protocol, not by looking.
Words must be stored little end first or in machine order; rings are of 2^b elements with b a multiple of 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.findings import Finding, Place

__all__ = ["MIN_WORDS", "MaskedOverTime", "Uniformity", "check_masked", "uniformity"]

# Below, the expected count of a byte is under 5 and the χ² approximation does not hold.
MIN_WORDS = 5 * 256
_P_LIMIT = 1e-9

# Of each array, what is kept to compare with later ones: a mask that is used again is used from its first word on.
_KEPT_WORDS = 8_192


@dataclass(frozen=True)
class Uniformity:
    """The test's outcome. `p_value`: of the worst byte position, times their number; `position`: 0 is the lowest."""

    words: int
    ring_bits: int
    p_value: float
    position: int

    @property
    def masked(self) -> bool:
        """Whether uniform words would look like this; false alarms have probability at most 1e-9."""
        return self.p_value >= _P_LIMIT


def uniformity(array: npt.NDArray[np.integer], *, ring_bits: int) -> Uniformity:
    """Test integers, any shape, that should be uniform in [0, 2^ring_bits).

    Raises:
        ValueError: the ring is no whole number of bytes or wider than the array's type, or there are too few words.
    """
    words = np.ascontiguousarray(array).ravel()
    if words.dtype.kind not in "iu":
        raise ValueError(f"masked words are integers, not {words.dtype}")
    if ring_bits % 8 or not 8 <= ring_bits <= 8 * words.dtype.itemsize:
        raise ValueError(f"a ring of {ring_bits} bits does not fit {words.dtype}")
    if words.size < MIN_WORDS:
        raise ValueError(f"{words.size} words are too few to judge; {MIN_WORDS} are needed")
    octets = words.astype(words.dtype.newbyteorder("<")).view(np.uint8).reshape(words.size, -1)
    positions = ring_bits // 8
    if octets[:, positions:].any():
        return Uniformity(words.size, ring_bits, 0.0, positions)  # outside the ring
    expected = words.size / 256
    tails = []
    for position in range(positions):
        counts = np.bincount(octets[:, position], minlength=256)
        tails.append(_chi_square_tail(float(((counts - expected) ** 2).sum()) / expected, 255))
    worst = int(np.argmin(tails))
    return Uniformity(words.size, ring_bits, min(1.0, positions * tails[worst]), worst)


def check_masked(array: npt.NDArray[np.integer], place: Place, *, ring_bits: int) -> list[Finding]:
    """The finding that an array was not masked, if it was not. Raises as `uniformity`."""
    result = uniformity(array, ring_bits=ring_bits)
    if result.masked:
        return []
    message = f"not masked: byte {result.position} of its words is not uniform (p = {result.p_value:.1e})"
    return [Finding("masking/unmasked", message, place, array.nbytes)]


class MaskedOverTime:
    """The masked arrays of one site, one after the other: each is uniform, and so is each difference of two.

    Keeps 8,192 words of each, so that a mask is recognised when it is used again in any later round.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[npt.NDArray[np.integer], Place]] = []

    def add(self, array: npt.NDArray[np.integer], place: Place) -> list[Finding]:
        """What is wrong with the next array, whose ring is that of its type. Raises as `uniformity`."""
        ring_bits = 8 * array.dtype.itemsize
        found = check_masked(array, place, ring_bits=ring_bits)
        begin = array.ravel()[:_KEPT_WORDS].copy()
        if not found:  # the difference to an unmasked one says nothing more
            found = [
                Finding(
                    "masking/reused",
                    f"the mask of round {before.round or '?'} again: the difference of both arrays is not uniform",
                    place,
                    array.nbytes,
                )
                for earlier, before in self._kept
                if (earlier.size, earlier.dtype) == (begin.size, begin.dtype)
                and not uniformity(begin - earlier, ring_bits=ring_bits).masked
            ]
            self._kept.append((begin, place))
        return found


def _chi_square_tail(statistic: float, degrees: int) -> float:
    """P(χ² ≥ statistic) for an odd number of degrees: erfc and a finite sum (Abramowitz and Stegun, 26.4.4)."""
    if statistic <= 0:
        return 1.0
    root = math.sqrt(statistic)
    # Terms are summed as logarithms: statistics of real leaks are in the millions.
    log_term = math.log(root) - statistic / 2 + 0.5 * math.log(2 / math.pi)
    total = math.erfc(root / math.sqrt(2))
    for index in range(1, (degrees - 1) // 2 + 1):
        total += math.exp(log_term) if log_term > -745 else 0.0
        log_term += math.log(statistic) - math.log(2 * index + 1)
    return min(1.0, total)
