"""What an adversary may know, and what an attack in update space is.

A Byzantine client can send anything, but how much harm it does depends on what it sees. `Knowledge` names the four
levels that the papers assume; a `View` carries exactly what the level allows, and an attack that needs more than its
view holds refuses instead of guessing. Attacks are pure: the same view (and generator state) gives the same vectors.

Words: n clients, f of them Byzantine, h = n − f honest, d parameters. An update is (d,) float32, what is added to
the global model: an attack on gradients from a paper appears here with the sign turned where the paper descends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["AttackError", "Knowledge", "Matrix", "Rule", "SpanRule", "UpdateAttack", "Vector", "View", "copies"]

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


class AttackError(ValueError):
    """An attack that cannot be built or carried out: `what` went wrong, `why`, and how to `fix` it."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why} (fix: {fix})")
        self.what, self.why, self.fix = what, why, fix


class Knowledge(StrEnum):
    """What the adversary sees, from nothing but its own clients to everything.

    NONE: its own updates and the public past. UPDATES: also the honest updates of the round. DEFENSE: also the
    rule in force, with parameters that may be guessed. PARAMETERS: also the rule's true parameters.
    """

    NONE = "none"
    UPDATES = "updates"
    DEFENSE = "defense"
    PARAMETERS = "parameters"


class Rule(Protocol):
    """An aggregation rule as the adversary calls it; must not remember the calls."""

    def __call__(self, updates: Matrix, /) -> Vector:
        """(n, d) updates, honest rows first, to the (d,) step that the server would take."""


@runtime_checkable
class SpanRule(Rule, Protocol):
    """A rule whose step is Σ weights_i updates_i, with weights that depend on inner products alone."""

    def weights_of_gram(self, gram: NDArray[np.float64], /) -> NDArray[np.float64]:
        """(n, n) inner products of the updates, not centred, to the (n,) weights."""


@dataclass(frozen=True)
class View:
    """What the adversary sees in one round.

    own: (f, d), what its clients would have sent honestly (after their data attack, if any).
    honest: (h, d), the others' updates; None below `Knowledge.UPDATES`.
    previous: (d,), the last global step; None in round 1.
    defend: the rule in force; None below `Knowledge.DEFENSE`.
    round: counted from 1.

    Raises:
        AttackError: the shapes contradict each other.
    """

    own: Matrix
    honest: Matrix | None
    previous: Vector | None
    defend: Rule | None
    round: int
    rng: np.random.Generator

    def __post_init__(self) -> None:
        if self.own.ndim != 2 or not len(self.own):
            raise _contradiction("`own` must be (f, d) with f >= 1", self.own.shape)
        if self.honest is not None and (
            self.honest.ndim != 2 or not len(self.honest) or self.honest.shape[1] != self.d
        ):
            raise _contradiction(f"`honest` must be (h, {self.d}) with h >= 1", self.honest.shape)
        if self.previous is not None and self.previous.shape != (self.d,):
            raise _contradiction(f"`previous` must be ({self.d},)", self.previous.shape)
        if self.round < 1:
            raise AttackError(f"round {self.round}", why="rounds count from 1", fix="pass the round's number")

    @property
    def f(self) -> int:
        """Byzantine clients."""
        return len(self.own)

    @property
    def d(self) -> int:
        """Parameters."""
        return int(self.own.shape[1])

    def honest_for(self, attack: str) -> Matrix:
        """(h, d): the honest updates; AttackError in the name of `attack` when the view hides them."""
        if self.honest is None:
            raise _blind(attack, Knowledge.UPDATES, "the honest updates of the round")
        return self.honest

    def rule_for(self, attack: str) -> Rule:
        """The rule in force; AttackError in the name of `attack` when the view hides it."""
        if self.defend is None:
            raise _blind(attack, Knowledge.DEFENSE, "the rule in force")
        return self.defend


class UpdateAttack(Protocol):
    """What the f Byzantine clients send in place of their updates.

    `knowledge`: the least that its view must hold. `trains`: False when `own` is not looked at, so that the f
    clients need not train.
    """

    name: ClassVar[str]
    knowledge: ClassVar[Knowledge]
    paper: ClassVar[str]
    trains: ClassVar[bool]

    def craft(self, view: View, /) -> Matrix:
        """The (f, d) float32 that goes out; AttackError when the view holds too little."""


def copies(vector: NDArray[np.floating], f: int) -> Matrix:
    """(f, d) float32: the same vector from each of the f clients, as colluders without further aim send it."""
    return np.repeat(vector.astype(np.float32)[None], f, axis=0)


def _contradiction(rule: str, shape: tuple[int, ...]) -> AttackError:
    return AttackError(
        "a view that contradicts itself", why=f"{rule}, not {shape}", fix="pass the updates of one round"
    )


def _blind(attack: str, level: Knowledge, what: str) -> AttackError:
    return AttackError(f"{attack} cannot be carried out", why=f"it needs {what}", fix=f"grant knowledge={level}")
