"""Every rule and pre-aggregator by name: the one place that turns names into defenses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Generic, TypeVar

from defenses.base import DefenseError, Guarantee
from defenses.composition import Composition
from defenses.rules.coordinatewise import Meamed, Median, TrimmedMean
from defenses.rules.front import ARC, NNM, Bucketing, Clipping
from defenses.rules.krum import Bulyan, Krum, MultiKrum
from defenses.rules.means import CenteredClipping, GeometricMedian, Mean, NormClipping
from defenses.rules.signs import RLR, SignGuard
from defenses.rules.similarity import FLAME, FLTrust, FoolsGold
from defenses.rules.spectral import CAF, DnC
from defenses.rules.subsets import MDA, SMEA, MoNNA
from defenses.scene import PreAggregator, Rule, Step

__all__ = ["PRE_AGGREGATORS", "RULES", "Entry", "build"]


Kind = TypeVar("Kind", bound=Step)


@dataclass(frozen=True)
class Entry(Generic[Kind]):
    """A name in the registry: its class, its parameters with their defaults (None: must be given), its guarantee."""

    step: type[Kind]
    parameters: Mapping[str, float | None]
    guarantee: Guarantee


def _entries(*steps: type[Kind]) -> Mapping[str, Entry[Kind]]:
    return MappingProxyType({step.name: Entry(step, _parameters(step), step.guarantee) for step in steps})


def _parameters(step: type[Step]) -> Mapping[str, float | None]:
    given = fields(step)  # type: ignore[arg-type]
    return MappingProxyType({each.name: None if each.default is MISSING else each.default for each in given})


RULES: Mapping[str, Entry[Rule]] = _entries(
    *(Mean, Median, TrimmedMean, Meamed, Krum, MultiKrum, Bulyan, GeometricMedian, CenteredClipping, MDA, MoNNA, SMEA),
    *(CAF, DnC, FoolsGold, SignGuard, NormClipping, RLR, FLTrust, FLAME),
)
PRE_AGGREGATORS: Mapping[str, Entry[PreAggregator]] = _entries(NNM, Bucketing, Clipping, ARC)


def build(steps: Sequence[tuple[str, Mapping[str, float]]], *, n: int, f: int) -> Composition:
    """The defense that `steps` name: any number of pre-aggregators, then one rule.

    Raises `DefenseError` for an unknown name or parameter, a value that makes no sense, steps in an order that means
    nothing, and n clients that are too few for f Byzantine among them.
    """
    if not steps:
        raise DefenseError("no defense", "the list of steps is empty", "name a rule, for instance mean")
    *front, last = steps
    pre = [_make(name, parameters, PRE_AGGREGATORS, "pre-aggregator") for name, parameters in front]
    return Composition(pre, _make(*last, RULES, "rule"), n=n, f=f)


def _make(name: str, parameters: Mapping[str, float], entries: Mapping[str, Entry[Kind]], kind: str) -> Kind:
    if name not in entries:
        where = "before the end" if kind == "pre-aggregator" else "at the end"
        why = f"{where} of a composition stands a {kind}"
        raise DefenseError(f"{name} is no {kind}", why, f"one of {', '.join(entries)}")
    entry = entries[name]
    for key, value in parameters.items():
        if key not in entry.parameters:
            known = ", ".join(entry.parameters) or "none"
            raise DefenseError(f"{name}({key}=…)", f"{name} has no parameter {key}", f"its parameters: {known}")
        if not math.isfinite(value):
            raise DefenseError(f"{name}({key}={value})", "a parameter is a finite number", f"give {key} a number")
    for key, default in entry.parameters.items():
        if default is None and key not in parameters:
            why = f"{key} depends on the size of the updates and has no default"
            raise DefenseError(f"{name} without {key}", why, f"write {name}({key}=…)")
    return entry.step(**parameters)
