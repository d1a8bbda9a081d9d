"""A step that makes the model worse is undone: the coordinator judges each new model on images of its own.

Under secure aggregation nobody sees whose update was hostile, but everybody sees what came of the sum. After each round
the new model is measured on the coordinator's root images (`root-samples`, which never grade the model) against the
model before it. If accuracy fell by more than `validation-gate`, or the loss is not finite, the old model goes on
(Fang et al., USENIX Security 2020, section 5, reject single updates so, by error rate: ERR; a sum has no parts).

Against: steps that destroy the model, from any number of hostile sites in any mode. Not against: a backdoor, which
leaves accuracy alone; harm below the gate, which may add up over rounds; and denial, since a hostile site that is in
every sum can have every round undone. Then the model stays where it was, and somebody has to look.
The decision is made before the next order is sent. It is a function of released models, so it costs no privacy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from secure_fl.app.bench import Bench
from secure_fl.app.membership import EventSink
from secure_fl.config import RunConfig
from secure_fl.training.evaluation import Evaluation

__all__ = ["ValidationGate"]

Vector = np.ndarray[Any, Any]


@dataclass
class ValidationGate:
    """measure: a model (d,) on the root images; most: by how much accuracy may fall in a round, in 0..1."""

    measure: Callable[[Vector], Evaluation]
    most: float
    events: EventSink
    _known: tuple[Vector, Evaluation] | None = None

    @classmethod
    def of(cls, config: RunConfig, bench: Bench, events: EventSink) -> ValidationGate | None:
        """The gate that the settings ask for; None where they ask for none."""
        return cls(bench.measure_root, config.validation_gate, events) if config.validation_gate else None

    def judge(self, model: Vector, step: Vector, *, round: int) -> Vector:
        """The same step, or none (zeros): then a `round-rolled-back` event says why."""
        before = self._measured(model)
        stepped = model + step
        after = self.measure(stepped)
        if not math.isfinite(after.loss):
            reason = "the loss is not finite"
        elif after.accuracy < before.accuracy - self.most:
            reason = "accuracy fell"
        else:
            self._known = (stepped, after)
            return step
        self._known = (model, before)
        self.events.append(
            "round-rolled-back",
            round=round,
            reason=reason,
            accuracy_before=before.accuracy,
            accuracy_after=after.accuracy,
            loss_after=after.loss,
            most=self.most,
            samples=after.samples,
        )
        return np.zeros_like(step)

    def _measured(self, model: Vector) -> Evaluation:
        """Of the model before: known since the last round, but for the first after a start or resumption."""
        if self._known is not None and np.array_equal(self._known[0], model):
            return self._known[1]
        return self.measure(model)
