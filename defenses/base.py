"""The words that every defense speaks: what goes in, what comes out, what is promised, what is refused.

A defense turns the updates of one round, n vectors of d parameters of which at most f are Byzantine, into one step.
What it promises stands in its `Guarantee`, what it needs beside the updates in `Surroundings`, what it did in an
`Aggregation`: the coordinator shows from there who was let in and with what weight. Whatever a defense cannot
tolerate it refuses with a `DefenseError`, when it is built as well as when fewer rows arrive than were announced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aggregation", "Defense", "DefenseError", "Guarantee", "Mask", "Matrix", "Surroundings", "Vector"]

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]


class DefenseError(ValueError):
    """A composition, a parameter or an (n, f) that cannot be: `what` is wrong, `why` that is so, how to `fix` it."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why}; {fix}")
        self.what, self.why, self.fix = what, why, fix


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a rule promises: where it was proved, what it `tolerates`, when it `breaks`, what it `costs`."""

    paper: str
    tolerates: str
    breaks: str
    costs: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule may need beside the updates; a rule that needs what is None here refuses.

    `clients`: the stable number of each row, for rules with a memory; None means 0 to n−1.
    `reference`: (d,) float32, the coordinator's own update, trained on data that it trusts.
    `rng`: for rules that draw.
    """

    clients: tuple[int, ...] | None = None
    reference: Vector | None = None
    rng: np.random.Generator | None = None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What came of one round.

    `step`: (d,) float32, always finite.
    `weights`: (n,) float64, the coefficient of each update in the step; None where the rule works coordinate by
    coordinate. What they do not explain comes from the rule's memory (centered clipping) or its noise (FLAME).
    Their sum is below 1 where updates were clipped.
    `kept`: (n,) bool, the rows that were let in. `masked`: (n,) bool, the rows with an entry that is not finite.
    """

    step: Vector
    weights: NDArray[np.float64] | None
    kept: Mask
    masked: Mask


class Defense(Protocol):
    """One composition, made for n clients of which at most f are Byzantine.

    Rules with a memory (centered clipping, FoolsGold) keep it here and replace it, never change it in place:
    `copy.copy` of a defense is a snapshot, and aggregating with the copy leaves the original as it was.
    """

    @property
    def name(self) -> str:
        """The canonical text, such as "clipping(c=2)+nnm+krum"."""

    @property
    def guarantee(self) -> Guarantee:
        """That of the rule at the end."""

    def aggregate(self, updates: Sequence[Vector] | NDArray[Any], surroundings: Surroundings = ...) -> Aggregation:
        """Aggregate n' ≤ n updates; raises `DefenseError` when n' rows are too few for f."""
