"""Client-level differential privacy: the coordinator clips each site's update and adds noise to their sum.

McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018, algorithm 1, with a fixed
denominator and every site in every round. With S the clip and σ the noise multiplier,

    step = (Σ clip(update, S) + N(0, (σS)²)) / n,        n = the number of sites in the roster

so that adding or removing one site changes the sum by at most S. Sites count equally: a weight by images would
raise the sensitivity. The coordinator itself sees each update; it is trusted here. With few sites the noise is
large: at n = 5 this is a study of the mechanism more than a way to a good model.

Under secure aggregation the sites clip and add the noise themselves (`distributed_privacy`), and the coordinator is
not trusted with single updates; `enter` is then all that it does here, and each site keeps a ledger of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from defenses.guard import l2_norm
from secure_fl.app.identity import Roster
from secure_fl.app.site_privacy import ledger_file
from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError
from secure_fl.privacy.accounting import Epsilon, PrivacyEvent, epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.mechanism import gaussian_mechanism
from secure_fl.privacy.randomness import Randomness
from secure_fl.privacy.regime import accounted_delta, client_event
from secure_fl.runs import RunRecord

__all__ = ["ClientPrivacy"]

Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClientPrivacy:
    """The mechanism of one run, and the coordinator's ledger of it, beside the sites' own."""

    event: PrivacyEvent
    clip: float
    sites: int
    budget: float
    delta: float
    ledger: Ledger
    run: str
    roster: str
    adjacency: str
    seed: int | None

    @classmethod
    def of(cls, config: RunConfig, record: RunRecord, roster: Roster) -> ClientPrivacy:
        """The mechanism that keeps the run's `dp-epsilon` over all its rounds."""
        names = ",".join(sorted(entry.name for entry in roster.entries))
        return cls(
            event=client_event(config),
            clip=config.dp_client_clip,
            sites=len(roster.entries),
            budget=config.dp_epsilon,
            delta=accounted_delta(config),
            ledger=Ledger(ledger_file(record.folder.parents[1], "coordinator")),
            run=record.id,
            roster=f"sites:{hashlib.sha256(names.encode()).hexdigest()}",
            adjacency="zero-out" if config.dp_distributed else "add-remove",
            seed=config.seed if config.insecure_test_rng else None,
        )

    def combine(self, updates: Sequence[Vector], *, round: int) -> Vector:
        """The noised mean of the clipped updates, (d,) float32; entered into the ledger first. Raises as `enter`."""
        self.enter(round=round)
        total = np.zeros(len(updates[0]), np.float64)
        for update in updates:
            total += update.astype(np.float64) * min(1.0, self.clip / max(l2_norm(update), 1e-12))
        source = Randomness.from_system() if self.seed is None else Randomness.insecure_for_tests(self.seed + round)
        noised = gaussian_mechanism(
            torch.from_numpy(total),
            sensitivity=self.clip,
            noise_multiplier=self.event.noise_multiplier,
            randomness=source,
        )
        return np.asarray(noised.numpy() / self.sites, dtype=np.float32)

    def enter(self, *, round: int) -> None:
        """Enter a round into the ledger; when this returns, it is on the disk.

        Raises:
            BudgetError: rounds that were repeated have used the run's budget up; nothing has been entered.
        """
        before = [each.event for each in self.ledger.spendings(self.roster) if each.run == self.run]
        cost = epsilon([*before, self.event], self.delta).value
        if cost > self.budget:
            raise BudgetError(
                f"round {round} would exceed the run's privacy budget of ε = {self.budget:g} for each site",
                why=f"it would come to ε = {cost:.3f}: rounds that were repeated count",
                fix=f"the model of round {round - 1} is saved",
            )
        self.ledger.spend(
            self.event,
            run=self.run,
            round=round,
            unit="client",
            data=self.roster,
            adjacency=self.adjacency,
            test_rng=self.seed is not None,
        )

    def spent(self) -> Epsilon:
        """What this roster's updates have cost, over all runs."""
        return self.ledger.epsilon(self.roster, self.delta)
