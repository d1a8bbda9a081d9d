"""Rules that compare directions: with the client's own past (FoolsGold), with the server's update (FLTrust), with each
other (FLAME).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import DefenseError, Guarantee, Mask, Surroundings, Vector
from defenses.gram import ORIGIN, REFERENCE, plain_gram
from defenses.parameters import at_least
from defenses.rows import mix
from defenses.scene import Decision, Rule, Scene, Weighted

__all__ = ["FLAME", "FLTrust", "FoolsGold", "cosines", "first_majority", "foolsgold_weights"]

_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-6  # of a cosine of float32 vectors


@dataclass(frozen=True)
class FoolsGold(Rule):
    """Clients whose summed updates point the same way are taken for one attacker with many names.

    `confidence`: κ of the paper. The step is the mean weighted by the learning rates of Algorithm 1.
    """

    confidence: float = 1.0

    name = "foolsgold"
    needs_clients = True
    guarantee = Guarantee(
        paper="Fung et al. 2020, The Limitations of Federated Learning in Sybil Settings, Algorithm 1",
        tolerates="any number of sybils that pursue one goal, while honest clients differ",
        breaks="with one attacker alone, with attackers who differ, and with honest clients whose data are alike",
        costs="a (d,) float32 vector of memory per client, two reads of the data, one of the memory",
    )

    def __post_init__(self) -> None:
        at_least(1e-9, self.name, confidence=self.confidence)

    def least_rows(self, f: int) -> int:
        """f + 1: somebody has to be honest."""
        return f + 1

    def decide(self, scene: Scene) -> Decision:
        """Weights from the similarity of the clients' sums of updates."""
        past: Mapping[int, Vector] = scene.memory or {}
        present = scene.rows if scene.row_mixing is None else list(mix(scene.rows, scene.row_mixing))
        sums = {client: _added(past.get(client), update) for client, update in zip(scene.clients, present, strict=True)}
        history, _ = plain_gram(list(sums.values()))
        weights = foolsgold_weights(cosines(history.around(ORIGIN)), self.confidence)
        kept = {**past, **sums}
        return Weighted(weights / (weights.sum() or 1.0), kept=weights > 0, memory=lambda step: kept)


def _added(past: Vector | None, update: Vector) -> Vector:
    if past is None:
        return update.copy()
    if past.shape != update.shape:
        raise DefenseError("updates of another length", "the past ones had another", "build a new defense")
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(past + update, -_LARGEST, _LARGEST), np.float32)


def foolsgold_weights(similar: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """(n,) learning rates between 0 and 1 from (n, n) cosines; Algorithm 1, lines 6 to 22."""
    n = len(similar)
    if n == 1:
        return np.ones(1)
    others = similar - np.diag(np.full(n, np.inf))
    most = others.max(axis=1)
    # Pardoning: who resembles somebody with a stronger double is scaled down by the ratio.
    safe = np.where(np.abs(most) > 0, most, 1.0)
    ratio = np.where(most[None, :] > most[:, None], most[:, None] / safe[None, :], 1.0)
    pardoned = np.where(np.eye(n, dtype=bool), -np.inf, np.where(np.isfinite(others), similar * ratio, 0.0))
    rates = np.clip(1.0 - pardoned.max(axis=1), 0.0, 1.0)
    if not rates.max() > _ROUNDING:
        return np.zeros(n)
    rates = np.clip(rates / rates.max(), 1e-12, 0.99)
    return np.asarray(np.clip(confidence * (np.log(rates / (1.0 - rates)) + 0.5), 0.0, 1.0))


@dataclass(frozen=True)
class FLTrust(Rule):
    """The mean of the updates, each brought to the norm of the server's own, weighted by its cosine if positive."""

    name = "fltrust"
    geometric = True
    measures_distances = False
    guarantee = Guarantee(
        paper="Cao et al. 2021, FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping, Algorithm 2",
        tolerates="any f < n: the step is no longer than the server's update and never against it",
        breaks="when the server's data are not like the clients', and by attackers who stay on its side",
        costs="one read for the Gram with the server's update, one for the sum; the server trains every round",
    )

    def least_rows(self, f: int) -> int:
        """f + 1."""
        return f + 1

    def anchor(self, surroundings: Surroundings, memory: Any) -> Vector | None:
        """The server's update; refuses when there is none."""
        if surroundings.reference is None:
            why = "it weighs the updates by the server's own, which is missing"
            raise DefenseError("fltrust without a reference", why, "give the coordinator trusted data to train on")
        if not np.isfinite(surroundings.reference).all():
            why = "an entry of the server's own update is not finite"
            raise DefenseError("fltrust with a broken reference", why, "look into the coordinator's training")
        return np.asarray(surroundings.reference, np.float32)

    def decide(self, scene: Scene) -> Decision:
        """Trust scores times norm ratios, over the sum of the scores; nobody trusted means no step."""
        space = scene.gram
        norms, own = np.sqrt(space.distances2_to(ORIGIN)), np.sqrt(space.norm2_of(REFERENCE))
        safe = np.where(norms > 0, norms, np.inf)
        trust = np.maximum(space.along(REFERENCE) / safe / (own or np.inf), 0.0)
        return Weighted(trust * own / safe / (trust.sum() or 1.0), kept=trust > 0)


@dataclass(frozen=True)
class FLAME(Rule):
    """Keep the majority that agrees in direction, shorten it to the median norm, add a little noise.

    `noise`: standard deviation in units of the median norm (λ of the paper). HDBSCAN with a least cluster of ⌊n/2⌋ + 1
    and one sample finds the first component of the single-linkage tree that holds so many, which is computed as such.
    """

    noise: float = 0.001

    name = "flame"
    geometric = True
    measures_distances = False
    draws = True
    guarantee = Guarantee(
        paper="Nguyen et al. 2022, FLAME: Taming Backdoors in Federated Learning, Algorithm 1",
        tolerates="f < n/2 with directions unlike the honest ones; what slips in is no longer than the median norm",
        breaks="under skewed data, where honest directions differ more than attackers from their neighbours",
        costs="one read for the Gram, one for the sum, noise on every parameter; draws unless noise=0",
    )

    def __post_init__(self) -> None:
        at_least(0.0, self.name, noise=self.noise)

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """Clipped mean of the majority."""
        plain = scene.gram.around(ORIGIN)
        norms = np.sqrt(scene.gram.distances2_to(ORIGIN))
        bound = float(np.median(norms))
        kept = first_majority(1.0 - cosines(plain))
        weights = np.where(kept, np.minimum(1.0, bound / np.maximum(norms, bound or 1.0)), 0.0)
        return Weighted(weights / kept.sum(), kept=kept, noise=self.noise * bound)


def cosines(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n) cosines from inner products around the origin; a zero vector has cosine 0 with all, itself included."""
    norms = np.sqrt(np.maximum(plain.diagonal(), 0.0))
    safe = np.where(norms > 0, norms, np.inf)
    return np.clip(plain / safe[:, None] / safe[None, :], -1.0, 1.0)


def first_majority(distances: NDArray[np.float64]) -> Mask:
    """(n,): the first component of more than n/2 members when pairs are joined by growing distance."""
    n = len(distances)
    component = np.arange(n)
    pairs = np.argsort(distances[np.triu_indices(n, 1)], kind="stable")
    first, second = np.triu_indices(n, 1)
    for i, j in zip(first[pairs], second[pairs], strict=True):
        component[component == component[j]] = component[i]
        joined = component == component[i]
        if 2 * joined.sum() > n:
            return np.asarray(joined)
    return np.ones(n, bool)
