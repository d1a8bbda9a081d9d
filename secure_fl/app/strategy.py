"""How updates become the next global model.

An aggregator is a function of the round's updates and of what the coordinator knows beside them: nothing
else in the system knows what rule is in force. FedAvg (McMahan et al. 2017, algorithm 1) on updates,
`w ← w + Σ (n_k / n) Δ_k`, equals FedAvg on weights. n_k is declared in the roster or capped; it is
never an unchecked number from a site. FedAvg tolerates no Byzantine site: one is enough to move the
mean anywhere within the norm cap. Robust rules live in `defenses`; `app.robust` makes strategies of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["Aggregator", "Combination", "FedAvg", "Offer"]

Vector = np.ndarray[Any, Any]

_CHUNK = 1 << 18


@dataclass(frozen=True)
class Offer:
    """The accepted updates of one round, in roster order.

    updates: (d,) float32 each; samples: the weight of each under FedAvg; sites: the roster index of each;
    refused: the roster index of each site whose reply was turned away by the guard; reference: the coordinator's own
    update on root data, where it trains one.
    """

    round: int
    updates: Sequence[Vector]
    samples: Sequence[float]
    sites: Sequence[int]
    refused: Sequence[int] = ()
    reference: Vector | None = None


@dataclass(frozen=True)
class Combination:
    """What a rule made of an offer.

    step: (d,) float32, to add to the global model; weights: one an update, with step = Σ weight · update, or None
    where the rule works coordinate by coordinate; kept, masked: one truth value an update (see `defenses.base`).
    """

    step: Vector
    weights: tuple[float, ...] | None
    kept: tuple[bool, ...]
    masked: tuple[bool, ...]

    @classmethod
    def of_all(cls, step: Vector, count: int, weights: tuple[float, ...] | None = None) -> Combination:
        """A combination in which each of `count` updates counted."""
        return cls(step, weights, (True,) * count, (False,) * count)


class Aggregator(Protocol):
    """A rule that combines updates."""

    def summary(self) -> str:
        """One line that names the rule and its parameters."""

    def judge(self, offer: Offer) -> Combination:
        """The step of the global model, and what each update had to do with it."""


class FedAvg:
    """The weighted mean, accumulated in float64 in the order given, so that equal input is bit-equal output."""

    def summary(self) -> str:
        """One line that names the rule."""
        return "FedAvg: mean of updates weighted by declared sample counts"

    def judge(self, offer: Offer) -> Combination:
        """The weighted mean; every update counts."""
        total = sum(offer.samples)
        weights = tuple(each / total for each in offer.samples)
        return Combination.of_all(self.combine(offer.updates, offer.samples), len(weights), weights)

    def combine(self, updates: Sequence[Vector], weights: Sequence[float]) -> Vector:
        """The weighted mean of `updates`; `weights` are positive and need not sum to one.

        Raises:
            ValueError: no updates, another number of weights, or a weight that is not positive.
        """
        total = float(sum(weights))
        if not updates or len(updates) != len(weights) or not all(weight > 0 for weight in weights):
            raise ValueError(f"{len(updates)} updates with weights {list(weights)}")
        mean = np.empty(updates[0].shape, dtype=np.float32)
        for start in range(0, mean.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            accumulated = np.zeros(mean[part].shape, dtype=np.float64)
            for update, weight in zip(updates, weights, strict=True):
                accumulated += (weight / total) * update[part].astype(np.float64)
            mean[part] = accumulated
        return mean
