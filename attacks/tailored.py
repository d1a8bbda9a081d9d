"""Attacks made for one rule: Krum, the trimmed mean, centered clipping.

Each assumes that its rule is in force; against another rule it shows how well the attack transfers. Fang's two are
written there for whole models and turn against s, the signs of the step that the server would take unharmed; on
updates the global model is the origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks._validate import finite, positive
from attacks.base import AttackError, Knowledge, Matrix, View, copies
from attacks.span import Floats, Span, against_sign, span_of

__all__ = ["ROP", "FangKrum", "FangTrimmedMean", "krum_choice"]


@dataclass(frozen=True)
class FangKrum:
    """One client sends −λs with the largest λ at which Krum chooses it; the others back it up from within `epsilon`.

    λ starts at the paper's upper bound and is halved until Krum chooses a crafted vector, or λ < `threshold`.
    """

    epsilon: float = 0.01
    threshold: float = 1e-5

    name: ClassVar[str] = "fang_krum"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Fang 2020, Local model poisoning, USENIX Security, section 4.2 (arXiv 1911.11815)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self.name, epsilon=self.epsilon, threshold=self.threshold)

    def craft(self, view: View) -> Matrix:
        """(f, d): −λs, then f − 1 vectors at a distance of at most `epsilon` from it.

        Raises:
            AttackError: n ≤ 2f + 2, for which Krum is not defined.
        """
        honest = view.honest_for(self.name)
        if len(honest) <= view.f + 2:
            raise AttackError(
                f"{self.name} with f={view.f} of n={view.f + len(honest)}",
                why="Krum needs n > 2f + 2",
                fix="fewer Byzantine clients",
            )
        span = span_of(honest, against_sign)
        factor = _upper_bound(span, view.f, view.d)
        while krum_choice(_distances(span, view.f, factor), view.f) < span.h and factor >= self.threshold:
            factor /= 2
        sent = copies(span.vector(0.0, factor), view.f)
        for supporter in sent[1:]:
            noise = view.rng.standard_normal(view.d, np.float32)
            supporter += noise * np.float32(self.epsilon * view.rng.random() / max(float(np.linalg.norm(noise)), 1e-30))
        return sent


@dataclass(frozen=True)
class FangTrimmedMean:
    """Every coordinate lies just beyond the honest updates, on the side that the step would not go to.

    Where the mean rises, each client draws from [b · min, min] below the honest minimum (or [min / b, min] when that
    is positive); where it falls, from above the maximum likewise. The trimming takes honest values in their place.
    """

    b: float = 2.0

    name: ClassVar[str] = "fang_trimmed_mean"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Fang 2020, Local model poisoning, USENIX Security, section 4.3 (arXiv 1911.11815)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 < self.b < math.inf:
            raise AttackError(f"{self.name}(b={self.b:g})", why="b must be above 1", fix="try 2")

    def craft(self, view: View) -> Matrix:
        """(f, d): independent draws for each client and coordinate."""
        honest = view.honest_for(self.name)
        rises = honest.mean(axis=0, dtype=np.float64) > 0
        edge = np.where(rises, honest.min(axis=0), honest.max(axis=0))
        outward = np.where(rises, edge < 0, edge > 0)
        beyond = np.where(outward, edge * np.float32(self.b), edge / np.float32(self.b))
        sent = view.rng.random((view.f, view.d), np.float32)
        sent *= beyond - edge
        sent += edge
        return sent


@dataclass(frozen=True)
class ROP:
    """Relocated orthogonal perturbation: it starts where centered clipping looks from, and steps to the side.

    All f send location + z · q. The location is π · previous + (1 − π) · μ. q is a unit vector at `angle` degrees to
    the reference λ · previous + (1 − λ) · μ, in the plane of that reference and the vector of ones: at 90 or 270 it
    is orthogonal, and clipping around `previous` keeps it whole while z ≤ the clipping radius. In round 1 the mean
    stands in for `previous`.
    """

    z: float = 1.0
    relocation: float = 1.0
    blend: float = 0.9
    angle: float = 270.0

    name: ClassVar[str] = "rop"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Özfatura 2022, Fall of centered clipping (arXiv 2208.09894); the authors' Attacks/rop.py"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self.name, z=self.z)
        finite(self.name, angle=self.angle)
        for name, share in (("relocation", self.relocation), ("blend", self.blend)):
            if not 0 <= share <= 1:
                raise AttackError(f"{self.name}({name}={share:g})", why="it must lie in [0, 1]", fix="choose a share")

    def craft(self, view: View) -> Matrix:
        """(f, d): f times location + z · q."""
        mean = view.honest_for(self.name).mean(axis=0, dtype=np.float64)
        previous = mean if view.previous is None else view.previous.astype(np.float64)
        reference = self.blend * previous + (1 - self.blend) * mean
        along = _unit(reference)
        aside = _unit(np.ones(view.d) - along.sum() * along)
        turn = math.radians(self.angle)
        location = self.relocation * previous + (1 - self.relocation) * mean
        return copies(location + self.z * _unit(math.sin(turn) * aside + math.cos(turn) * along), view.f)


def krum_choice(squared: Floats, f: int) -> int:
    """Index of the update that Krum picks by (n, n) squared distances: least sum to its n − f − 2 nearest others."""
    nearest = np.sort(squared, axis=1)[:, 1 : len(squared) - f - 1]
    return int(np.argmin(nearest.sum(axis=1)))


def _distances(span: Span, f: int, factor: float) -> Floats:
    return span.squared_distances(span.coordinates(f, 0.0, factor))


def _upper_bound(span: Span, f: int, d: int) -> float:
    """The paper's bound on λ: min_i Σ D(x_l, x_i) / ((n − 2f − 1)√d) + max_i D(x_i, 0) / √d.

    The sum runs over the n − f − 2 honest updates nearest to x_i; D is the Euclidean distance.
    """
    h, n = span.h, span.h + f
    rows = span.coordinates(1, 0.0, 0.0)  # the last is the origin: the global model
    distances = np.sqrt(span.squared_distances(rows))
    crowded = np.sort(distances[:h, :h], axis=1)[:, 1 : n - f - 1].sum(axis=1).min()
    return float(crowded / (n - 2 * f - 1) + distances[h, :h].max()) / math.sqrt(d)


def _unit(vector: Floats) -> Floats:
    """The vector at length 1; zeros stay zeros."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
