"""What one simulation says about a defense: accuracy, the attack's success, who was turned away, who was heard.

Turning a client away is taken as saying "this is an attacker", so selection has a precision and a recall over all
clients and rounds. Rules that turn nobody away by design (the median, say) have a recall of 0 and no precision: the
two measure how a rule selects, not how well it withstands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from secure_fl.lab.outcome import Outcome, RoundOutcome

__all__ = ["Damage", "Measures", "damage", "measure"]


@dataclass(frozen=True)
class Measures:
    """Of one cell. All shares are in 0 … 1.

    accuracy, attack_success, per_class: of the final model; attack_success None without a trigger to test.
    precision: of those turned away, the share that attacked; None where nobody was turned away.
    recall: of those who attacked, the share turned away; None where nobody attacked.
    weight: the attackers' share of the absolute weights, mean over rounds; None for rules that work by coordinate.
    """

    accuracy: float
    attack_success: float | None
    precision: float | None
    recall: float | None
    weight: float | None
    per_class: tuple[float | None, ...]


@dataclass(frozen=True)
class Damage:
    """The class that lost most against the clean baseline: its index, and the loss as a share of its test images."""

    label: int
    drop: float


def measure(outcome: Outcome) -> Measures:
    """The measures of an outcome.

    Raises:
        ValueError: its last round was not tested; a simulation always tests it.
    """
    final, attackers = outcome.final, frozenset(outcome.attackers)
    if final.accuracy is None:
        raise ValueError(f"the last round of {outcome.digest} has no accuracy")
    away = [client for each in outcome.rounds for client, kept in enumerate(each.kept) if not kept]
    caught, present = sum(client in attackers for client in away), len(attackers) * len(outcome.rounds)
    shares = [share for each in outcome.rounds if (share := _weight(each, attackers)) is not None]
    return Measures(
        accuracy=final.accuracy,
        attack_success=final.attack_success,
        precision=caught / len(away) if away else None,
        recall=caught / present if present else None,
        weight=fmean(shares) if shares and attackers else None,
        per_class=final.per_class_accuracy,
    )


def damage(clean: Sequence[Measures], measured: Sequence[Measures]) -> Damage | None:
    """The class with the largest mean drop from `clean` to `measured`, seed by seed; None if no class was tested.

    A class counts if it was tested in every seed. A negative drop is a gain: then no class lost anything.
    """
    pairs = [tuple(zip(c.per_class, m.per_class, strict=True)) for c, m in zip(clean, measured, strict=True)]
    drops = [
        Damage(label, fmean(was - now for was, now in seeds))
        for label, seeds in enumerate(zip(*pairs, strict=True))
        if not any(was is None or now is None for was, now in seeds)
    ]
    return max(drops, key=lambda each: each.drop, default=None)


def _weight(each: RoundOutcome, attackers: frozenset[int]) -> float | None:
    if each.weights is None:
        return None
    total = math.fsum(map(abs, each.weights))
    return math.fsum(abs(each.weights[client]) for client in attackers) / total if total else None
