"""Secure aggregation as a simulation sees it: the rule decides over the means of groups, not over clients.

`full` is one group of all, `grouped` as many as fit. The groups are dealt as in a real run (`secagg.grouping.deal`);
its beacon, which real sites draw together, is here a hash of the seed, so that a scenario repeats. Each group's mean is
weighted by its members' numbers of images, as sites do before they mask. A mean that is longer than `secagg-clip`
cannot come of honest members: its group is turned away as one of the f, like a reply that the guard refuses.

Masks, drop-outs and rounding are left out: they do not change a sum by more than 10⁻⁵ of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from defenses.base import Aggregation, Surroundings
from defenses.trials import Trial
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Coordinator, Submissions, Vector
from secure_fl.secagg.grouping import deal

__all__ = ["GroupedCoordinator", "clipped", "dealt"]

# Rounding to float32 moves a norm that is exactly at the bound.
_SLACK = 1e-4


@dataclass(frozen=True, eq=False)
class GroupedCoordinator:
    """`rule` over the means of `groups`, which hold each client once; clip: the norm that honest updates keep to."""

    rule: Coordinator
    groups: tuple[tuple[int, ...], ...]
    clip: float

    @property
    def needs_reference(self) -> bool:
        return self.rule.needs_reference

    def aggregate(self, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
        """The step, with what it says of a group said of each member; raises DefenseError as the rule does."""
        rows = np.argsort(submissions.clients) if submissions.clients else np.arange(len(submissions.updates))
        share = np.zeros((len(self.groups), len(rows)))
        for number, members in enumerate(self.groups):
            places = rows[list(members)]
            share[number, places] = submissions.samples[places]
        totals = share.sum(axis=1)
        share /= totals[:, None]
        means = np.stack([self._mean(each, submissions) for each in share])
        found = self.rule.aggregate(replace(submissions, updates=means, samples=totals, clients=()), rng)
        mine = share.argmax(axis=0)
        weights = None if found.weights is None else found.weights @ share
        return Aggregation(found.step, weights, found.kept[mine], found.masked[mine])

    def trial(self, surroundings: Callable[[], Surroundings]) -> Trial | None:
        return None

    def snapshot(self) -> GroupedCoordinator:
        return replace(self, rule=self.rule.snapshot())

    def _mean(self, share: np.ndarray[tuple[int], np.dtype[np.float64]], submissions: Submissions) -> Vector:
        members = np.flatnonzero(share)
        mean = (share[members] @ submissions.updates[members].astype(np.float64)).astype(np.float32)
        inside = np.linalg.norm(mean.astype(np.float64)) <= self.clip * (1 + _SLACK)
        return mean if inside else np.full_like(mean, np.nan)


def dealt(scenario: Scenario) -> tuple[tuple[int, ...], ...]:
    """The groups of a scenario, which last for all of its rounds; without secure aggregation there are none."""
    if scenario.secagg == "none":
        return ()
    size = scenario.clients if scenario.secagg == "full" else scenario.secagg_group_size
    beacon = hashlib.sha256(f"simulated beacon {scenario.seed}".encode()).digest()
    return deal(beacon, range(scenario.clients), size)


def clipped(update: Vector, clip: float) -> Vector:
    """An update as an honest site masks it: scaled down to the L2 norm `clip` where it is longer."""
    norm = float(np.linalg.norm(update.astype(np.float64)))
    return update if norm <= clip else update * np.float32(clip / norm)
