"""How the coordinator of a simulation forms its step: a defense, and how much each client that it kept counts.

FedAvg and Flower's Multi-Krum weight what they kept by numbers of images, which robust rules must not do in real runs,
because that number is the client's own claim. To repeat published tables the lab can (`weighting = "samples"`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from defenses.base import Aggregation, Defense, DefenseError, Surroundings
from defenses.registry import build
from secure_fl.errors import ConfigError
from secure_fl.lab.adversary import Matrix
from secure_fl.lab.learner import Vector
from secure_fl.lab.scenario import Scenario

__all__ = ["Coordinator", "Submissions", "coordinator_of"]


@dataclass(frozen=True, eq=False)
class Submissions:
    """All that reaches the coordinator in a round.

    updates: (n, d); samples: (n,) images of each client; weights: (d,) the global model that the updates start from;
    batches: (n, b) what a BatchNorm network's b counters say after training; reference: (d,) the coordinator's own update.
    """

    updates: Matrix
    samples: npt.NDArray[np.int64]
    weights: Vector
    batches: npt.NDArray[np.int64]
    reference: Vector | None


class Coordinator(Protocol):
    """Turns the submissions of one round into a step; may remember earlier rounds."""

    needs_reference: bool

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """The step of a round; raises DefenseError when too few rows are usable."""

    def snapshot(self) -> Coordinator:
        """A copy whose aggregations leave this one as it is: what an adversary experiments with."""


@dataclass(eq=False)
class _Ruled:
    """A rule of `defenses`; `by_samples` weights what it kept by numbers of images."""

    defense: Defense
    by_samples: bool
    needs_reference: bool

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        surroundings = Surroundings(reference=submissions.reference, rng=rng)
        found = self.defense.aggregate(submissions.updates, surroundings)
        if not self.by_samples or found.weights is None:
            return found
        weights = found.weights * submissions.samples
        weights *= found.weights.sum() / weights.sum()
        usable = np.where(weights[:, None] != 0, submissions.updates, 0)
        return Aggregation((weights @ usable).astype(np.float32), weights, found.kept, found.masked)

    def snapshot(self) -> _Ruled:
        return _Ruled(copy.copy(self.defense), self.by_samples, self.needs_reference)


def coordinator_of(scenario: Scenario) -> Coordinator:
    """The coordinator that a scenario asks for.

    Raises:
        ConfigError: there is no such defense, or it cannot tolerate `byzantine` of `clients`.
    """
    steps = scenario.defense_steps
    needs_reference = steps[-1][0] == "fltrust"
    if needs_reference and scenario.root_samples == 0:
        raise ConfigError("`defense` is fltrust but `root-samples` is 0", fix="give root-samples=100")
    try:
        defense = build(steps, n=scenario.clients, f=scenario.byzantine)
    except DefenseError as error:
        raise ConfigError(error.what, why=error.why, fix=error.fix) from None
    return _Ruled(defense, scenario.weighting == "samples", needs_reference)
