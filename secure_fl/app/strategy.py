"""How updates become the next global model.

An aggregator is a function of one matrix of updates (n, d) and n weights: nothing else in the system
knows what rule is in force. FedAvg (McMahan et al. 2017, algorithm 1) on updates,
`w ← w + Σ (n_k / n) Δ_k`, equals FedAvg on weights. n_k is declared in the roster or capped; it is
never an unchecked number from a site. FedAvg tolerates no Byzantine site: one is enough to move the
mean anywhere within the norm cap. Robust rules live in `defenses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Aggregator", "FedAvg"]

Vector = np.ndarray[Any, Any]

_CHUNK = 1 << 18


class Aggregator(Protocol):
    """A rule that combines updates."""

    def summary(self) -> str:
        """One line that names the rule and its parameters."""

    def combine(self, updates: Sequence[Vector], weights: Sequence[float]) -> Vector:
        """The step (d,) float32 to add to the global model; updates are (d,) float32 each."""


class FedAvg:
    """The weighted mean, accumulated in float64 in the order given, so that equal input is bit-equal output."""

    def summary(self) -> str:
        """One line that names the rule."""
        return "FedAvg: mean of updates weighted by declared sample counts"

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
