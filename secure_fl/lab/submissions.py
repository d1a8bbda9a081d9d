"""What reaches the coordinator of a simulation in a round, and who turns it into a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from defenses.base import Aggregation, Surroundings
from defenses.trials import Trial

__all__ = ["Coordinator", "Matrix", "Submissions", "Vector"]

Vector = npt.NDArray[np.float32]
Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Submissions:
    """All that reaches the coordinator in a round. n clients, d numbers, b BatchNorm layers.

    updates: (n, d); samples: (n,) images that each client claims; weights: (d,) the model that the updates start from;
    batches: (n, b) what each network's batch counters say; reference: (d,) the coordinator's own update, or None.
    clients: which client each row is of; empty where they are in order.
    """

    updates: Matrix
    samples: npt.NDArray[np.float64]
    weights: Vector
    batches: npt.NDArray[np.int64]
    reference: Vector | None
    clients: tuple[int, ...] = ()


class Coordinator(Protocol):
    """Turns the submissions of a round into a step; may remember earlier rounds."""

    @property
    def needs_reference(self) -> bool:
        """Whether it compares updates with one of its own."""

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """The step of a round; raises DefenseError when too few rows are usable."""

    def trial(self, surroundings: Callable[[], Surroundings]) -> Trial | None:
        """The rule as an adversary tries it out, if updates are all that it looks at."""

    def snapshot(self) -> Coordinator:
        """A copy whose aggregations leave this one as it is: what an adversary experiments with."""
