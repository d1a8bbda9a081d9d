"""A defense as the strategy of a real run: the same objects that simulations use, behind the aggregator's interface.

Unweighted: a robust rule that multiplied by reported sample counts would trust the very number that a hostile site
chooses (one reply that claims 10¹² images would be the model). Sites are told apart by their roster index, which a site
proves with its keys, so that a rule with a memory cannot be fed under another's name. What a rule draws comes from
(seed, round) alone: a repeated round draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defenses.base import Defense, DefenseError, Surroundings
from secure_fl.adversity import build_defense
from secure_fl.app.strategy import Aggregator, Combination, FedAvg, Offer
from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError
from secure_fl.training.seeds import derive_seed

__all__ = ["RobustRule", "aggregator_of"]


@dataclass(frozen=True)
class RobustRule:
    """One defense, for the rounds of one run in their order: it may remember what it has seen."""

    defense: Defense
    byzantine: int
    seed: int

    def summary(self) -> str:
        """One line that names the rule, and how many hostile sites it is built for."""
        return f"{self.defense.name}: robust to {self.byzantine} hostile sites, unweighted"

    def judge(self, offer: Offer) -> Combination:
        """Apply the defense.

        Raises:
            QuorumError: it cannot tolerate the assumed number of hostile sites among so few updates.
        """
        surroundings = Surroundings(
            clients=tuple(offer.sites),
            reference=offer.reference,
            rng=np.random.default_rng(derive_seed(self.seed, "defense", offer.round)),
        )
        try:
            made = self.defense.aggregate(offer.updates, surroundings)
        except DefenseError as error:
            raise QuorumError(f"round {offer.round}: {error.what}", why=error.why, fix=error.fix) from None
        weights = None if made.weights is None else tuple(made.weights.tolist())
        return Combination(made.step, weights, tuple(made.kept.tolist()), tuple(made.masked.tolist()))


def aggregator_of(config: RunConfig) -> Aggregator:
    """The strategy that the run's `defense` asks for."""
    if config.defense == FEDAVG:
        return FedAvg()
    defense = build_defense(config.defense, sites=config.sites, byzantine=config.byzantine)
    return RobustRule(defense, config.byzantine, config.seed)
