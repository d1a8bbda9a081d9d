"""How the coordinator of a simulation forms its step: a defense, and how much each client that it kept counts.

FedAvg and Flower's Multi-Krum weight what they kept by numbers of images, which robust rules must not do in real runs,
because that number is the client's own claim. To repeat published tables the lab can (`weighting = "samples"`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from defenses.base import Aggregation, DefenseError, Surroundings
from defenses.composition import Composition
from defenses.registry import build
from defenses.trials import Trial, trial_of
from secure_fl.compositions import FEDAVG
from secure_fl.errors import ConfigError
from secure_fl.lab.grouping import GroupedCoordinator, dealt
from secure_fl.lab.museum import EXHIBITS
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Coordinator, Submissions

__all__ = ["coordinator_of"]


@dataclass(eq=False)
class _Ruled:
    """A rule of `defenses`; `by_samples` weights what it kept by numbers of images."""

    defense: Composition
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

    def trial(self, surroundings: Callable[[], Surroundings]) -> Trial | None:
        return None if self.by_samples else trial_of(self.defense, surroundings)

    def snapshot(self) -> _Ruled:
        return _Ruled(copy.copy(self.defense), self.by_samples, self.needs_reference)


def coordinator_of(scenario: Scenario) -> Coordinator:
    """The coordinator that a scenario asks for.

    Raises:
        ConfigError: there is no such defense, or it cannot tolerate `byzantine` of what it decides over.
    """
    groups = dealt(scenario)
    rule = _rule_of(scenario, voters=len(groups) or scenario.clients)
    return GroupedCoordinator(rule, groups, scenario.secagg_clip) if groups else rule


def _rule_of(scenario: Scenario, *, voters: int) -> Coordinator:
    steps, by_samples = scenario.defense_steps, scenario.weighting == "samples"
    if steps == ((FEDAVG, {}),):  # what a real run does without a defense
        steps, by_samples = (("mean", {}),), True
    if len(steps) == 1 and steps[0][0] in EXHIBITS:
        if scenario.secagg != "none":
            why = "it shows what judging single updates does, and only sums are seen"
            raise ConfigError(f"`defense` is {steps[0][0]} but `secagg` is {scenario.secagg}", why=why)
        return EXHIBITS[steps[0][0]](scenario.clients, scenario.byzantine)
    if scenario.secagg == "full" and steps != (("mean", {}),):
        raise ConfigError(
            f"`defense` is {scenario.defense} but `secagg` is full",
            why="it judges single updates, and only their sum is seen",
            fix="choose -c secagg=grouped -c secagg-group-size=2, or --defense fedavg",
        )
    needs_reference = steps[-1][0] == "fltrust"
    if needs_reference and scenario.root_samples == 0:
        raise ConfigError("`defense` is fltrust but `root-samples` is 0", fix="give root-samples=100")
    tolerated = 0 if scenario.secagg == "full" else scenario.byzantine  # one sum outvotes nobody
    try:
        defense = build(steps, n=voters, f=tolerated)
    except DefenseError as error:
        raise ConfigError(error.what, why=error.why, fix=error.fix) from None
    return _Ruled(defense, by_samples, needs_reference)
