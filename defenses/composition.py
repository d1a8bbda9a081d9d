"""A defense: pre-aggregators, then one rule, for n clients of which at most f are Byzantine.

The order of a round: rows that are not finite are masked and counted against f; each pre-aggregator mixes; the rule
decides; one pass over the data forms the step. What the rule remembers is replaced, never changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import Aggregation, DefenseError, Guarantee, Mask, Surroundings, Vector
from defenses.coordinates import NotFiniteError
from defenses.gram import Gram, gram, plain_gram
from defenses.rows import Rows, combine, finite_rows, rows_of
from defenses.scene import Decision, Formed, PreAggregator, Rule, Scene, Step

__all__ = ["Composition"]


class Composition:
    """The `Defense` of this package; made by `defenses.registry.build`."""

    def __init__(self, pre: Sequence[PreAggregator], rule: Rule, *, n: int, f: int) -> None:
        if not 0 <= f < n:
            raise DefenseError(f"f={f} of n={n}", "f counts the Byzantine among the n clients", "choose 0 <= f < n")
        self.pre, self.rule, self.n, self.f = tuple(pre), rule, n, f
        self._memory: Any = None
        if rule.needs_clients and not all(step.keeps_clients for step in pre):
            why = f"{rule.name} compares each client with its own past, and mixed vectors belong to no client"
            raise DefenseError(self.name, why, "put only clipping or arc in front of it")
        self._refuse_if_too_few(n, f)

    @property
    def name(self) -> str:
        """Steps joined by "+"; a parameter is named when it has no default or differs from it."""
        return "+".join(_canonical(step) for step in (*self.pre, self.rule))

    @property
    def guarantee(self) -> Guarantee:
        """That of the rule."""
        return self.rule.guarantee

    def aggregate(
        self, updates: Sequence[Vector] | NDArray[Any], surroundings: Surroundings | None = None
    ) -> Aggregation:
        """One round; see `Defense.aggregate`."""
        surroundings = surroundings or Surroundings()
        rows = rows_of(updates)
        if len(rows) > self.n:
            why = f"{self.name} was built for n={self.n}"
            raise DefenseError(f"{len(rows)} updates", why, "build it for the number of clients")
        anchor = self.rule.anchor(surroundings, self._memory)
        if anchor is not None and anchor.shape != rows[0].shape:
            why = f"{self.rule.name} compares them with a vector of shape {anchor.shape}"
            raise DefenseError(f"updates of shape {rows[0].shape}", why, "build a new defense for another model")
        geometric = [step for step in (*self.pre, self.rule) if step.geometric]
        if geometric:
            form = gram if any(step.measures_distances for step in geometric) else plain_gram
            return self._decide(rows, surroundings, anchor, *form(rows, anchor))
        if self.rule.finds_faults and not self.pre:
            with suppress(NotFiniteError):
                return self._decide(rows, surroundings, anchor, None, np.zeros(len(rows), bool))
        return self._decide(rows, surroundings, anchor, None, ~finite_rows(rows))

    def _decide(
        self, rows: Rows, surroundings: Surroundings, anchor: Vector | None, base: Gram | None, masked: Mask
    ) -> Aggregation:
        """What the steps make of the rows that are not masked."""
        finite = [row for row, bad in zip(rows, masked, strict=True) if not bad]
        scene = Scene(
            rows=finite,
            f=self._remaining(masked),
            clients=_clients(surroundings, masked),
            surroundings=surroundings,
            base=base,
            anchor=anchor,
            memory=self._memory,
        )
        self._refuse_if_too_few(len(finite), scene.f)
        for step in self.pre:
            scene = scene.mixed(step.mix(scene))
        return self._carry_out(self.rule.decide(scene), scene, masked)

    def _carry_out(self, decision: Decision, scene: Scene, masked: Mask) -> Aggregation:
        """Form the step, tell each row its weight, and remember."""
        kept = np.zeros(len(masked), bool)
        kept[~masked] = _let_in(decision.kept, scene)
        if isinstance(decision, Formed):
            return Aggregation(decision.step, None, kept, masked)
        mixing = scene.row_mixing
        own = decision.weights if mixing is None else decision.weights @ mixing
        if scene.anchor is None or decision.rest == 0.0:  # the other anchor is the origin, which adds nothing
            step = combine(scene.rows, own)
        else:
            step = combine([*scene.rows, scene.anchor], np.append(own, decision.rest))
        if decision.noise > 0:
            step += scene.rng.normal(0.0, decision.noise, step.size).astype(np.float32)
        if decision.memory is not None:
            self._memory = decision.memory(step)
        weights = np.zeros(len(masked))
        weights[~masked] = own
        return Aggregation(step, weights, kept, masked)

    def _remaining(self, masked: Mask) -> int:
        """f without the rows that gave themselves away; refuses when there were more than f of them."""
        bad = int(masked.sum())
        if bad > self.f and self.rule.least_rows(1) > 1:
            why = f"{bad} updates are not finite, more than the f={self.f} that {self.name} was built for"
            raise DefenseError("more faulty updates than announced", why, "raise f, or have the guard turn them away")
        return max(self.f - bad, 0)

    def _refuse_if_too_few(self, n: int, f: int) -> None:
        """Follow n through the composition and hold it against what each step needs."""
        for step in (*self.pre, self.rule):
            least = step.least_rows(f)
            if n < least:
                why = f"it needs at least {least} vectors for f={f} and gets {n}"
                raise DefenseError(f"{step.name} in {self.name}", why, _fix(step, n, f))
            step.refuse(n, f)
            if isinstance(step, PreAggregator):
                n = step.rows_after(n)


def _fix(step: Step, n: int, f: int) -> str:
    tolerated = max((less for less in range(f) if step.least_rows(less) <= n), default=None)
    return "more clients are needed" if tolerated is None else f"with {n} vectors it tolerates f={tolerated}"


def _clients(surroundings: Surroundings, masked: Mask) -> tuple[int, ...]:
    given = tuple(range(len(masked))) if surroundings.clients is None else surroundings.clients
    if len(given) != len(masked) or len(set(given)) != len(given):
        why = f"{len(masked)} updates came with the clients {given}"
        raise DefenseError("clients that do not match the updates", why, "give each row one number of its own")
    return tuple(client for client, bad in zip(given, masked, strict=True) if not bad)


def _let_in(kept: Mask | None, scene: Scene) -> Mask:
    """Of the finite rows those that some vector was made of which the rule kept."""
    kept = np.ones(scene.n, bool) if kept is None else kept
    mixing = scene.row_mixing
    return kept if mixing is None else np.asarray((mixing[kept] != 0).any(axis=0))


def _canonical(step: Step) -> str:
    given = [
        f"{field.name}={getattr(step, field.name):g}"
        for field in fields(step)  # type: ignore[arg-type]
        if field.default is MISSING or getattr(step, field.name) != field.default
    ]
    return f"{step.name}({','.join(given)})" if given else step.name
