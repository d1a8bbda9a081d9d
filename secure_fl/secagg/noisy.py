"""An encoding that is private by itself: clip, round to integers of the ring, and add this site's share of the noise.

It stands where `ring.FixedPoint` stands, with the same two methods, and differs in what differential privacy needs
(Kairouz, Liu & Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation",
ICML 2021, algorithm 1, without the rotation, which a ring of 32 bits does not need):

1. The scale is fixed beforehand and depends on nothing that a site has seen. All sites weigh the same.
2. Rounding lengthens a vector, which the noise has to cover. `longest_squared` bounds the squared norm of what one
   site sends before noise: roundings that exceed it are drawn again (their "conditional randomized rounding"), so that
   the bound always holds. Without one, the vector is a sum of parts that were clipped before, each of which changes
   the rounded sum by what `secure_fl.privacy.distributed` derives.
3. Noise from N_Z(0, σ²) is added in the ring. A sum that leaves the ring wraps around: that destroys the sum and not
   its privacy, as it is a function of the noised integers; whoever chooses `levels` leaves room for it.

Against whom: everybody who sees only sums over at least as many honest sites as the share of noise was made for. What
it assumes: `rounding` comes from the operating system, is known to nobody else, and serves once.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secure_fl.secagg.errors import BudgetTooSmall, NonFinite, OutOfRange
from secure_fl.secagg.keystream import BLOCK, SEED, KeyStream
from secure_fl.secagg.noise import DiscreteGaussian
from secure_fl.secagg.ring import Ring, Vector, Words

__all__ = ["NoisyFixedPoint"]

Sums = npt.NDArray[np.float64]

_CHUNK: Final = 1 << 14
_MOST_TRIES: Final = 1000


@dataclass(frozen=True)
class NoisyFixedPoint:
    """clip: L2 norm of what one unit of privacy contributes; levels: that norm in steps of the ring.

    longest_squared: most squared norm, in steps, of a rounded vector, which is then clipped too; or None, see above.

    Raises:
        ValueError: a number has no meaning.
        BudgetTooSmall: a single contribution, or the noise alone, fills the ring.
    """

    ring: Ring
    clip: float
    levels: int
    noise: DiscreteGaussian
    longest_squared: int | None

    def __post_init__(self) -> None:
        if not 0 < self.clip < math.inf or self.levels < 1:
            raise ValueError("clip is positive and finite; levels are at least 1")
        if self.longest_squared is not None and self.longest_squared < self.levels**2:
            raise ValueError("a vector of the clip's length would exceed the longest that is allowed")
        if max(self.levels, math.sqrt(self.noise.variance)) > self.ring.largest / 8:
            raise BudgetTooSmall(
                f"{self.levels} steps and noise of {math.sqrt(self.noise.variance):.0f} fill {self.ring.bits} bits",
                why="the sum would wrap around",
                fix="use 32 bits, or fewer levels",
            )

    @property
    def scale(self) -> float:
        """Steps per unit of an update."""
        return self.levels / self.clip

    def encode(self, update: Vector | Sums, weight: int, out: Words, *, rounding: bytes) -> float:
        """Write the update, clipped, rounded and noised, to `out`; the factor (at most 1) by which it was clipped.

        update: (d,) float32, or float64 where sums are finer than that; out: (d,) of the ring; weight: 1; rounding: 32
        bytes, for the roundings and the noise.
        The factor is not noised: it must not leave the site.

        Raises:
            NonFinite: NaN or an infinity in the update.
            OutOfRange: another weight, which would multiply the sensitivity.
            ValueError: shapes or types that do not fit, or a seed of another size.
        """
        if weight != 1:
            raise OutOfRange(f"weight {weight} is not 1", why="noise is made for sites that count alike")
        if update.ndim != 1 or out.shape != update.shape or out.dtype != self.ring.dtype:
            raise ValueError(f"{out.dtype} of shape {out.shape} cannot hold an update of shape {update.shape}")
        steps, factor = self.rounded(update, rounding=rounding)
        steps += self.noise.sample(update.size, _key(rounding, b"noise"))
        np.copyto(out, steps, casting="unsafe")  # modulo 2^b
        return factor

    def rounded(self, update: Vector | Sums, *, rounding: bytes) -> tuple[npt.NDArray[np.int64], float]:
        """What `encode` adds noise to, (d,) in steps, and the factor of the clip. Raises as `encode`.

        Each coordinate becomes one of its neighbouring integers, with the right mean, until the norm is allowed.
        """
        norm = math.sqrt(sum(_square(update[at : at + _CHUNK].astype(np.float64)) for at in _starts(update.size)))
        if not math.isfinite(norm):
            raise NonFinite("the update holds NaN or an infinity", fix="train with a smaller learning rate")
        factor = 1.0 if self.longest_squared is None or norm <= self.clip else self.clip / norm
        stream = KeyStream(_key(rounding, b"rounding"))
        for _ in range(_MOST_TRIES):
            steps = _stochastic(update, self.scale * factor, stream)
            if self.longest_squared is None or int(np.dot(steps, steps)) <= self.longest_squared:
                return steps, factor
        raise BudgetTooSmall(
            f"{_MOST_TRIES} roundings were all longer than the noise was made for", why="the levels are too few"
        )

    def decode(self, words: Words, total_weight: int) -> Vector:
        """The mean (d,) over `total_weight` sites that a sum of encodings stands for."""
        if words.dtype != self.ring.dtype:
            raise ValueError(f"words of this ring are {self.ring.dtype}, not {words.dtype}")
        if total_weight < 1:
            raise OutOfRange(f"a total weight of {total_weight}")
        mean: Vector = (words.view(self.ring.signed) / (self.scale * total_weight)).astype(np.float32)
        return mean


def _stochastic(update: Vector | Sums, scale: float, stream: KeyStream) -> npt.NDArray[np.int64]:
    """⌊scale·update + u⌋ with u uniform on the multiples of 2⁻³² in [0, 1)."""
    zeros, buffer = memoryview(bytes(4 * _CHUNK)), bytearray(4 * _CHUNK + BLOCK - 1)
    random = np.frombuffer(buffer, np.uint32, _CHUNK)
    steps = np.empty(update.size, np.int64)
    for at in _starts(update.size):
        part = update[at : at + _CHUNK]
        stream.fill(zeros, buffer)
        steps[at : at + _CHUNK] = np.floor(part.astype(np.float64) * scale + random[: part.size] * 2.0**-32)
    return steps


def _starts(size: int) -> range:
    return range(0, size, _CHUNK)


def _square(values: npt.NDArray[np.float64]) -> float:
    return float(np.dot(values, values))


def _key(seed: bytes, purpose: bytes) -> bytes:
    """Rounding and noise each have a key of their own, so that they never share bytes."""
    if len(seed) != SEED:
        raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
    return hashlib.sha256(b"secure-fl/noisy/1 " + purpose + b" " + seed).digest()
