"""What a step of a defense sees of a round, and what it answers: the seam between rules and the data.

Pre-aggregators answer with a mixing matrix, span rules with weights, coordinate rules with the step itself. Since a
mixing matrix turns a Gram matrix into another one (see `Gram.mixed`), a chain of any length in front of a span rule
costs one read of the data for the Gram and one for the final sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from defenses.base import DefenseError, Guarantee, Mask, Matrix, Surroundings, Vector
from defenses.gram import Gram
from defenses.rows import Rows

__all__ = ["Decision", "Formed", "PreAggregator", "Rule", "Scene", "Step", "Weighted"]

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A round as one step sees it: m vectors, each a combination of the finite rows and the anchors.

    `rows`: the finite updates; `mixing`: (m, points) or None before the first pre-aggregator; `clients`: who sent
    each of the `rows`; `base`: the Gram of rows and anchors, None in compositions that need none; `f`: how many of
    the m vectors may be hostile; `memory`: what the rule remembered of the round before.
    """

    rows: Rows
    f: int
    clients: tuple[int, ...]
    surroundings: Surroundings
    base: Gram | None = None
    anchor: Vector | None = None
    mixing: Weights | None = None
    memory: Any = None

    @property
    def n(self) -> int:
        """How many vectors there are at this point of the composition."""
        return len(self.rows) if self.mixing is None else len(self.mixing)

    @property
    def gram(self) -> Gram:
        """The Gram of the vectors at this point of the composition."""
        if self.base is None:
            raise LookupError("only a step that says `geometric` may ask for the Gram")
        return self.base if self.mixing is None else self.base.mixed(self.mixing)

    @property
    def row_mixing(self) -> Weights | None:
        """(m, n): the part of the mixing that concerns rows; None when nothing was mixed."""
        return None if self.mixing is None else self.mixing[:, : len(self.rows)]

    @property
    def anchors(self) -> int:
        """How many anchors stand behind the vectors: the origin, and the rule's own point if it brings one."""
        return 1 if self.anchor is None else 2

    @property
    def rng(self) -> np.random.Generator:
        """The generator for this round; refuses when there is none."""
        if self.surroundings.rng is None:
            raise DefenseError(
                "no random generator", "this composition draws", "give `rng` a numpy.random.Generator with a seed"
            )
        return self.surroundings.rng

    def mixed(self, mixing: Weights) -> Scene:
        """The scene after a pre-aggregator: `mixing` is (m', m + anchors), each row adds up to 1."""
        if self.mixing is not None:
            points = self.mixing.shape[1]
            mixing = mixing @ np.vstack([self.mixing, np.eye(points)[len(self.rows) :]])
        return replace(self, mixing=mixing)

    def columns(self, index: NDArray[np.int64]) -> Matrix:
        """(m, len(index)) float32: the vectors at some coordinates."""
        picked = np.stack([row[index] for row in self.rows])
        return picked if self.row_mixing is None else (self.row_mixing @ picked).astype(np.float32)


@dataclass(frozen=True)
class Weighted:
    """The answer of a span rule: `weights` (m,) of the vectors.

    `kept`: (m,) which vectors were let in, None for all; `rest`: the weight of the rule's own anchor; `noise`: standard
    deviation of the Gaussian noise on each coordinate; `memory`: from the step to what the rule remembers.
    """

    weights: Weights
    kept: Mask | None = None
    rest: float = 0.0
    noise: float = 0.0
    memory: Callable[[Vector], Any] | None = None


@dataclass(frozen=True)
class Formed:
    """The answer of a coordinate rule: the `step` (d,) itself, and which of the m vectors had a say in it."""

    step: Vector
    kept: Mask | None = None


Decision = Weighted | Formed


class Step(ABC):
    """One name in a composition; its dataclass fields are its parameters."""

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    geometric: ClassVar[bool] = False
    """Whether the step asks for the Gram."""
    measures_distances: ClassVar[bool] = True
    """Whether it asks it for distances between vectors, or only for norms and directions; see `plain_gram`."""
    draws: ClassVar[bool] = False
    """Whether the step needs `Surroundings.rng`."""

    @abstractmethod
    def least_rows(self, f: int) -> int:
        """The smallest number of vectors with which it tolerates f."""

    def refuse(self, n: int, f: int) -> None:  # noqa: B027  # most steps have nothing to add
        """Raise `DefenseError` for an (n, f) that enough vectors do not make possible, such as a search too long."""


class PreAggregator(Step):
    """A step that turns m vectors into m' others, on which the next step works."""

    keeps_clients: ClassVar[bool]
    """Whether vector i still belongs to client i."""

    def rows_after(self, n: int) -> int:
        """How many vectors come out of n."""
        return n

    @abstractmethod
    def mix(self, scene: Scene) -> Weights:
        """(m', m + anchors), each row adds up to 1."""


class Rule(Step):
    """The step at the end of a composition."""

    finds_faults: ClassVar[bool] = False
    """Whether `decide` raises `NotFiniteError` itself, so that no read of the data is spent on looking first."""
    needs_clients: ClassVar[bool] = False
    """Whether vector i has to belong to client i."""

    def anchor(self, surroundings: Surroundings, memory: Any) -> Vector | None:
        """The (d,) point that the rule brings, if any; `defenses.gram.REFERENCE` in its Gram."""
        return None

    @abstractmethod
    def decide(self, scene: Scene) -> Decision:
        """The answer for one round."""
