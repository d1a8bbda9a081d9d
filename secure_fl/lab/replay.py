"""The same attack under other defenses: closed loop trains again, open loop asks again about what was recorded.

Open loop costs no training: each round's recorded updates go through another rule, which says whom it would have let in
and what step it would have taken *from the model of the recorded run*. That compares rules on equal inputs, but each
round starts from the recorded model: errors do not add up, so it says nothing about the model after many rounds, and
an attack that adapts to the rule has adapted to the recorded one. Closed loop answers those questions, for the price
of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defenses.base import Aggregation
from secure_fl.errors import NotFoundError
from secure_fl.lab.adversary import adversary_of
from secure_fl.lab.engine import OnRound, defense_rng, learner_of, simulate, step_of
from secure_fl.lab.outcome import Outcome
from secure_fl.lab.record import UpdateRecord
from secure_fl.lab.rules import coordinator_of
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Matrix, Submissions
from secure_fl.training.device import torch_threads

__all__ = ["OpenLoop", "OpenRound", "record_of", "replay_closed", "replay_open"]


@dataclass(frozen=True, slots=True)
class OpenRound:
    """What a rule would have done in one recorded round.

    kept, weights: as in `RoundOutcome`; cosine: between its step and the mean of the honest updates; deviation: the
    distance between the two, in lengths of that mean.
    """

    round: int
    kept: tuple[bool, ...]
    weights: tuple[float, ...] | None
    cosine: float
    deviation: float


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """A rule on a whole record. accuracy, attack_success: of the recorded model after this rule's last step instead."""

    defense: str
    rounds: tuple[OpenRound, ...]
    attackers: tuple[int, ...]
    accuracy: float
    attack_success: float | None


def replay_closed(
    scenario: Scenario, defenses: Sequence[str], *, on_round: Callable[[str], OnRound] | None = None
) -> list[Outcome]:
    """Train the scenario again under each defense; data, batches and attackers are the same each time.

    Args:
        on_round: gives, for a defense, what to call after each of its rounds.

    Raises:
        ConfigError: a defense does not exist or cannot tolerate the scenario; raised before anything is trained.
    """
    variants = [scenario.changed(defense=each) for each in defenses]
    for variant in variants:
        coordinator_of(variant)
    return [simulate(each, on_round=on_round(each.defense) if on_round else None) for each in variants]


def replay_open(record: UpdateRecord, defenses: Sequence[str]) -> list[OpenLoop]:
    """Put the recorded updates through each defense.

    Raises:
        ConfigError: as `replay_closed`.
        IntegrityError: the record was altered.
    """
    variants = [record.scenario.changed(defense=each) for each in defenses]
    coordinators = [coordinator_of(each) for each in variants]
    rounds: list[list[OpenRound]] = [[] for _ in variants]
    for number, submissions in enumerate(record.rounds(), start=1):
        honest = _honest_mean(submissions, record.attackers)
        steps = [step_of(each, submissions, defense_rng(record.scenario, number)) for each in coordinators]
        for found, kept in zip(steps, rounds, strict=True):
            kept.append(_compared(found, honest, number))
    with torch_threads(1):
        return [
            OpenLoop(each.defense, tuple(kept), record.attackers, *_tested(each, submissions.weights + found.step))
            for each, kept, found in zip(variants, rounds, steps, strict=True)
        ]


def record_of(scenario: Scenario, folder: Path, *, on_round: OnRound | None = None) -> UpdateRecord:
    """The record of a scenario in `folder`; simulated now unless it is already there."""
    try:
        found = UpdateRecord.open(folder)
        if found.scenario.digest() == scenario.digest():
            return found
    except NotFoundError:
        pass
    simulate(scenario, on_round=on_round, updates_to=folder)
    return UpdateRecord.open(folder)


def _honest_mean(submissions: Submissions, attackers: tuple[int, ...]) -> Matrix:
    honest = np.delete(submissions.updates, list(attackers), axis=0).astype(np.float64)
    mean: Matrix = honest.mean(axis=0)
    return mean


def _compared(found: Aggregation, honest: Matrix, number: int) -> OpenRound:
    step = found.step.astype(np.float64)
    length = float(np.linalg.norm(honest)) or 1.0
    own = float(np.linalg.norm(step)) or 1.0
    return OpenRound(
        round=number,
        kept=tuple(bool(each) for each in found.kept),
        weights=None if found.weights is None else tuple(float(each) for each in found.weights),
        cosine=float(step @ honest) / (own * length),
        deviation=float(np.linalg.norm(step - honest)) / length,
    )


def _tested(scenario: Scenario, weights: Matrix) -> tuple[float, float | None]:
    adversary = adversary_of(scenario)
    learner, federation = learner_of(scenario)
    accuracy = learner.test(weights, federation.test, federation.classes).accuracy
    triggered = adversary.triggered(federation.test)
    if triggered is None or adversary.target is None:
        return accuracy, None
    return accuracy, learner.share_taken_for(adversary.target, weights, triggered)
