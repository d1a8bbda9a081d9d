"""Attacks by colluders who see the honest updates and hide among them or copy one of them.

None of them knows the defense. ALIE stays within the spread of the honest updates, IPM turns the mean around, and
mimic sends what an honest client sent, so that no rule that looks at single updates can object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from attacks._validate import finite, whole
from attacks.base import AttackError, Knowledge, Matrix, View, copies
from attacks.span import against_mean, along_std, span_of

__all__ = ["ALIE", "IPM", "FixedMimic", "Mimic", "alie_z"]


def alie_z(n: int, f: int) -> float:
    """The largest z that still leaves enough honest supporters on the far side of μ + zσ.

    z = Φ⁻¹((n − f − s) / (n − f)) with s = ⌊n/2 + 1⌋ − f supporters needed. With few clients there is no such room:
    z is 0 at n = 10, f = 2, and below 0 at f = 1.

    Raises:
        AttackError: f is so large that no supporter is needed.
    """
    share = (n - math.floor(n / 2 + 1)) / (n - f)
    if not 0 < share < 1:
        raise AttackError(f"alie with f={f} of n={n}", why="the paper's z is unbounded there", fix="give z")
    return NormalDist().inv_cdf(share)


@dataclass(frozen=True)
class ALIE:
    """A little is enough: all f send μ + zσ, coordinate by coordinate, of the honest updates.

    `z` follows from n and f unless it is given. The paper subtracts zσ from gradients; on updates that is a plus.
    """

    z: float

    name: ClassVar[str] = "alie"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Baruch 2019, A little is enough, NeurIPS, algorithm 3 (arXiv 1902.06156)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        finite(self.name, z=self.z)

    def craft(self, view: View) -> Matrix:
        """(f, d): f times μ + zσ."""
        return copies(span_of(view.honest_for(self.name), along_std).vector(1.0, self.z), view.f)


@dataclass(frozen=True)
class IPM:
    """Inner product manipulation: all f send −τμ, so that the step's inner product with μ turns negative.

    Small τ slips under Krum, large τ breaks the mean and the coordinate rules; f · τ > n − f turns the mean around.
    """

    tau: float = 2.0

    name: ClassVar[str] = "ipm"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Xie 2019, Fall of empires, UAI (inner product manipulation; arXiv 1903.03936)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        finite(self.name, tau=self.tau)

    def craft(self, view: View) -> Matrix:
        """(f, d): f times −τμ."""
        return copies(span_of(view.honest_for(self.name), against_mean).vector(0.0, self.tau), view.f)


@dataclass(frozen=True)
class FixedMimic:
    """All f send what honest client `victim` sent: the rule counts that client f + 1 times."""

    victim: int = 0

    name: ClassVar[str] = "mimic"
    knowledge: ClassVar[Knowledge] = Knowledge.UPDATES
    paper: ClassVar[str] = "Karimireddy 2022, Bucketing, ICLR, section 3 (mimic; arXiv 2006.09365)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole(self.name, 0, victim=self.victim)

    def craft(self, view: View) -> Matrix:
        """(f, d): f times x_victim; refuses a victim who is not there."""
        honest = view.honest_for(self.name)
        if self.victim >= len(honest):
            raise AttackError(f"mimic(victim={self.victim})", why=f"{len(honest)} are honest", fix="count from 0")
        return copies(honest[self.victim], view.f)


@dataclass(frozen=True)
class Mimic:
    """All f copy the client who stands out most: argmax_i |⟨z, x_i⟩|, z the direction of largest variance.

    The copied client is chosen in round 1 and kept, as the paper does after its warm-up: consistency is what makes
    its data count f + 1 times. The paper tracks z by Oja's rule; one round's z is the leading eigenvector of the
    centred Gram matrix, found here exactly. The object therefore remembers one number: use one for each run.
    """

    _victim: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    name: ClassVar[str] = FixedMimic.name
    knowledge: ClassVar[Knowledge] = FixedMimic.knowledge
    paper: ClassVar[str] = "Karimireddy 2022, Bucketing, ICLR, section 3 and appendix (choice of i*; arXiv 2006.09365)"
    trains: ClassVar[bool] = False

    def craft(self, view: View) -> Matrix:
        """(f, d): f times the chosen client's update; chooses in round 1, or in the first round that it sees."""
        honest = view.honest_for(self.name)
        if view.round == 1 or not self._victim or self._victim[0] >= len(honest):
            self._victim[:] = [_most_exposed(honest)]
        return copies(honest[self._victim[0]], view.f)


def _most_exposed(honest: Matrix) -> int:
    """argmax_i |⟨z, x_i⟩|; the lowest index of equals."""
    span = span_of(honest, against_mean)
    h = span.h
    # z = Σ_j v_j (x_j − μ) up to length, with v the leading eigenvector of the centred Gram matrix.
    v = np.append(np.linalg.eigh(span.gram[:h, :h])[1][:, -1], (0.0, 0.0))
    rows = span.coordinates(1, 1.0, 0.0)[:h]
    return int(np.argmax(np.abs(rows @ span.gram @ v)))
