"""A defense as the strategy of a real run: the same objects that simulations use, behind the aggregator's interface.

Unweighted: a robust rule that multiplied by reported sample counts would trust the very number that a hostile site
chooses (one reply that claims 10¹² images would be the model). Sites are told apart by their roster index, which a site
proves with its keys, so that a rule with a memory cannot be fed under another's name. What a rule draws comes from
(seed, round) alone: a repeated round draws the same.

A site whose reply the guard turned away is one of the f faulty ones, caught: it enters the rule as a row of NaN, which
`defenses` masks and counts against f. Otherwise a hostile site could end a run by sending rubbish, as soon as
the rule needs every reply. A silent site may be honest, and lowers nothing.

Under `secagg=grouped` the same rules decide over the means of groups instead: one row a group, n the number of groups,
and f still the number of hostile sites, since each spoils one group at most. The roster index is then the group's
number, and a group whose mean is longer than honest members could have made it is the one that was caught.
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
    """One defense, for the rounds of one run in their order: it may remember what it has seen.

    over: what it decides over, where that is not the sites' updates.
    """

    defense: Defense
    byzantine: int
    seed: int
    over: str = ""

    def summary(self) -> str:
        """One line that names the rule, and how many hostile sites it is built for."""
        return f"{self.defense.name}{self.over}: robust to {self.byzantine} hostile sites, unweighted"

    def judge(self, offer: Offer) -> Combination:
        """Apply the defense.

        Raises:
            QuorumError: it cannot tolerate the assumed number of hostile sites among so few updates.
        """
        caught = list(offer.refused)[: self.byzantine]
        nothing = [np.full_like(offer.updates[0], np.nan)] * len(caught)
        surroundings = Surroundings(
            clients=(*offer.sites, *caught),
            reference=offer.reference,
            rng=np.random.default_rng(derive_seed(self.seed, "defense", offer.round)),
        )
        try:
            made = self.defense.aggregate([*offer.updates, *nothing], surroundings)
        except DefenseError as error:
            raise QuorumError(f"round {offer.round}: {error.what}", why=error.why, fix=error.fix) from None
        count = len(offer.updates)
        weights = None if made.weights is None else tuple(made.weights[:count].tolist())
        return Combination(made.step, weights, tuple(made.kept[:count].tolist()), tuple(made.masked[:count].tolist()))


def aggregator_of(config: RunConfig) -> Aggregator:
    """The strategy that the run's `defense` asks for."""
    if config.defense == FEDAVG:
        return FedAvg()
    defense = build_defense(config.defense, sites=config.voters, byzantine=config.byzantine)
    over = f" over {config.voters} group means" if config.secagg == "grouped" else ""
    return RobustRule(defense, config.byzantine, config.seed, over)
