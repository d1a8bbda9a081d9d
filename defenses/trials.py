"""A defense as an adversary tries it out: called as often as it likes, with nothing remembered.

An adaptive attack asks what the step would be if it sent this or that. Where the weights follow from inner products
alone, it need not show updates at all: `SpanTrial.weights_of_gram` answers from an (n, n) matrix, in microseconds
instead of a read of the data. That holds for rules that look at nothing but distances and norms, behind any
pre-aggregators; not for those that look at coordinates, signs, or a point of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import Surroundings, Vector
from defenses.composition import Composition
from defenses.gram import Gram
from defenses.rules.krum import Krum, MultiKrum
from defenses.rules.means import GeometricMedian, Mean, NormClipping
from defenses.rules.spectral import CAF
from defenses.rules.subsets import MDA, SMEA, MoNNA
from defenses.scene import Formed, Scene

__all__ = ["SpanTrial", "Trial", "trial_of"]

_BY_PRODUCTS = (CAF, MDA, SMEA, GeometricMedian, Krum, Mean, MoNNA, MultiKrum, NormClipping)
_NO_COORDINATES = np.empty(0, np.float32)


@dataclass(frozen=True)
class Trial:
    """The step that `defense` would take; each call begins with the memory that it had when the trial was made.

    `surroundings` is called for each trial, so that a generator in it can begin anew.
    """

    defense: Composition
    surroundings: Callable[[], Surroundings]

    def __call__(self, updates: NDArray[Any]) -> Vector:
        """(n, d) updates to the (d,) step."""
        return copy.copy(self.defense).aggregate(updates, self.surroundings()).step


@dataclass(frozen=True)
class SpanTrial(Trial):
    """The same for a defense whose weights follow from inner products."""

    def weights_of_gram(self, products: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, n) plain inner products of the updates, all of them finite, to the (n,) weights of the step."""
        n = len(products)
        seen_from_origin = np.zeros((n + 1, n + 1))  # the last point is the origin itself
        seen_from_origin[:n, :n] = products
        scene = Scene(
            rows=[_NO_COORDINATES] * n,
            f=self.defense.f,
            clients=tuple(range(n)),
            surroundings=self.surroundings(),
            base=Gram(seen_from_origin, n),
        )
        for step in self.defense.pre:
            scene = scene.mixed(step.mix(scene))
        decision = self.defense.rule.decide(scene)
        if isinstance(decision, Formed):
            raise TypeError(f"{self.defense.name} works on coordinates: use a plain Trial")
        return decision.weights if scene.row_mixing is None else decision.weights @ scene.row_mixing


def trial_of(defense: Composition, surroundings: Callable[[], Surroundings] = Surroundings) -> Trial:
    """The trial of a defense as it stands, with `weights_of_gram` where its weights follow from inner products."""
    kind = SpanTrial if isinstance(defense.rule, _BY_PRODUCTS) else Trial
    return kind(copy.copy(defense), surroundings)
