"""What happened in a simulation, round by round, and a hash that two equal simulations share.

`metrics_sha256` covers everything that was measured but the times, so "the same scenario and seed gives the same
numbers" is one comparison of two texts. Numbers enter it in full precision, NaN and infinities by name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from secure_fl.config import Scalar

__all__ = ["Outcome", "RoundOutcome"]

_TIMES = ("seconds", "cpu_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOutcome:
    """One round, after its step was taken. n clients, C classes.

    accuracy, loss: of the global model on the test images; None where the round was not tested (`evaluate-every`).
    attack_success: share of triggered test images of other classes that are taken for the target; None without trigger.
    per_class_accuracy: (C,), None for a class without test images; empty where the round was not tested.
    kept: (n,) which clients the rule let in; weights: (n,) what each counted in the step, None for coordinate rules.
    step_norm: L2 norm of the step.
    """

    round: int
    accuracy: float | None
    loss: float | None
    attack_success: float | None
    per_class_accuracy: tuple[float | None, ...]
    kept: tuple[bool, ...]
    weights: tuple[float, ...] | None
    step_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All of a simulation. `scenario` is the manifest, `digest` its hash, `data` the fingerprint of the partition.

    attackers: positions of the Byzantine clients; record: SHA-256 over the recorded updates, "" without a record.
    """

    digest: str
    scenario: Mapping[str, Scalar]
    rounds: tuple[RoundOutcome, ...]
    attackers: tuple[int, ...]
    seconds: float
    cpu_s: float
    data: str = ""
    record: str = ""

    @property
    def final(self) -> RoundOutcome:
        """The last round, which is always tested."""
        return self.rounds[-1]

    @property
    def metrics_sha256(self) -> str:
        """SHA-256 (hex) over everything but the times and where it was recorded."""
        measured = {key: value for key, value in self.to_mapping().items() if key not in (*_TIMES, "record")}
        text = json.dumps(measured, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_mapping(self) -> dict[str, Any]:
        """Ready for strict JSON: numbers that are not finite become the texts `nan`, `inf` and `-inf`."""
        mapping: dict[str, Any] = _spelled(asdict(self))
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Outcome:
        """The reverse of `to_mapping`; raises KeyError or TypeError where something is missing or unknown."""
        rounds = tuple(_round(each) for each in mapping["rounds"])
        rest = {key: _read(value) for key, value in mapping.items() if key not in ("rounds", "attackers")}
        return cls(**rest, rounds=rounds, attackers=tuple(mapping["attackers"]))


def _round(mapping: Mapping[str, Any]) -> RoundOutcome:
    values = {key: _read(value) for key, value in mapping.items()}
    for key in ("per_class_accuracy", "kept", "weights"):
        if values[key] is not None:
            values[key] = tuple(_read(each) for each in values[key])
    return RoundOutcome(**values)


def _spelled(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {key: _spelled(each) for key, each in value.items()}
        case list() | tuple():
            return [_spelled(each) for each in value]
    return value


def _read(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value
