"""What a site asks before it spends privacy: its own ledger, and the budget that is its own to set.

The coordinator proposes noise, rate and steps with each order; the site computes what they cost, holds the cost
against the run's budget and against its own, enters it into its ledger, and only then trains. So a round that
fails, is sent again, or is cut off by a crash has been counted already; a coordinator that asks for less noise
than its budget says is refused.

Under distributed DP (secure aggregation) no trusted coordinator adds noise that protects a whole site, so the site
enters that cost too, under a name of its own: `site:` before the fingerprint of its data. Put to zero and not taken
away, one image's change is a change of the site's update by up to twice its clip: to the images such a round is a
Gaussian mechanism of half the noise multiplier, and so it is held against the site's budget.

From the node config: `privacy-ledger` (a file, needed for DP-SGD), `privacy-budget` (ε for all runs over these
images together; absent: only the runs' own budgets hold) and `privacy-delta` (default 1e-5). A site with a budget
refuses runs without DP-SGD; without one, it trains as privately as the run says, and no more. Test randomness,
whose noise the coordinator could recompute, is drawn only if the site's own `insecure-test-rng` allows it. Where a
grid has no node config of ours (Ray), the environment names a folder of ledgers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError, ConfigError
from secure_fl.privacy.accounting import Epsilon, PrivacyEvent, epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import accounted_delta, client_event, sample_event

__all__ = ["LEDGERS_VARIABLE", "SitePrivacy", "ledger_file"]

LEDGERS_VARIABLE = "SECURE_FL_PRIVACY_LEDGERS"

_SECRET_BYTES = 32
_SITE = "site:"  # before a fingerprint: the site as a whole, and not its images


def ledger_file(home: Path, site: str) -> Path:
    """Where a site that our launcher starts keeps its ledger; it outlives runs."""
    return home / "federation" / "privacy" / f"{site}.jsonl"


def _entries(config: RunConfig, data: str, *, rounds: int = 1) -> list[tuple[str, PrivacyEvent, str]]:
    """What `rounds` rounds cost at a site: unit, event, and in whose name it is entered; images before the site."""
    entries = []
    if config.dp_at_sites:
        entries.append(("sample", sample_event(config, rounds=rounds), data))
    if config.dp_of_sites and config.dp_distributed:
        entries.append(("client", client_event(config, rounds=rounds), _SITE + data))
    return entries


def _for_images(event: PrivacyEvent) -> PrivacyEvent:
    """What a mechanism that protects the site costs each image: the update moves by up to twice the clip."""
    return replace(event, noise_multiplier=event.noise_multiplier / 2)


@dataclass(frozen=True)
class SitePrivacy:
    """A site's ledger and budget; `ledger` is None where none is configured."""

    ledger: Path | None
    budget: float | None
    delta: float
    test_rng: bool

    @classmethod
    def of(cls, node_config: Mapping[str, Any]) -> SitePrivacy:
        """What the node config says."""
        ledger, budget = node_config.get("privacy-ledger"), node_config.get("privacy-budget")
        folder = os.environ.get(LEDGERS_VARIABLE)
        if not ledger and folder:
            ledger = str(Path(folder) / f"site-{node_config['partition-id']}.jsonl")
        return cls(
            ledger=Path(str(ledger)) if ledger else None,
            budget=float(budget) if budget is not None else None,
            delta=float(node_config.get("privacy-delta", 1e-5)),
            test_rng=bool(node_config.get("insecure-test-rng", bool(folder))),
        )

    def admit(self, config: RunConfig, *, samples: int, data: str) -> None:
        """Refuse a run that cannot keep the promises of its config to the end.

        Raises:
            BudgetError: the run would break this site's own budget.
            ConfigError: there is no ledger, δ means nothing for so many images, or the noise would be a test's.
        """
        if not (config.dp_at_sites or config.dp_distributed):
            if self.budget is not None:
                raise BudgetError(
                    "this site trains under differential privacy only",
                    why=f"its budget is ε = {self.budget:g}, and the run has no DP-SGD",
                    fix="run with --dp-epsilon and dp-unit=sample",
                )
            return
        self._refuse_test_rng(config)
        if config.dp_at_sites and config.dp_delta >= 1 / samples:
            raise ConfigError(
                f"`dp-delta` {config.dp_delta:g} is too large for {samples} images",
                why="a mechanism that publishes one image outright would satisfy it",
                fix=f"give less than {1 / samples:.2g}",
            )
        if self.budget is None:
            return
        if self._images_cost(self._ledger(), config, data, rounds=config.rounds) > self.budget:
            spent = self._images_cost(self._ledger(), config, data, rounds=0)
            raise BudgetError(
                f"the run would break this site's privacy budget of ε = {self.budget:g}",
                why=f"ε = {spent:.2f} is spent, at δ = {self.delta:g}",
                fix="give a smaller dp-epsilon or fewer rounds, or leave this site out",
            )

    def spend(self, config: RunConfig, *, run: str, round: int, data: str) -> Epsilon:
        """Enter one round into the ledger, and say what the run has cost with it; on return it is on disk.

        What it has cost each image, or, where the run protects sites only, the site.

        Raises:
            BudgetError: the round would exceed the run's budget or the site's; nothing has been entered.
        """
        self._refuse_test_rng(config)
        ledger, entries = self._ledger(), _entries(config, data)
        with ledger.alone():  # two runs at once must not both find the last of the budget
            costs = []
            for _, event, whose in entries:
                before = [each.event for each in ledger.spendings(whose) if each.run == run]
                costs.append(epsilon([*before, event], accounted_delta(config)))
                if costs[-1].value > config.dp_epsilon:
                    raise BudgetError(
                        f"round {round} would exceed the run's privacy budget of ε = {config.dp_epsilon:g}",
                        why=f"it would come to ε = {costs[-1].value:.3f}: rounds that failed or were sent again count",
                        fix="the model of the last complete round is saved; a new run has a budget of its own",
                    )
            if self.budget is not None and self._images_cost(ledger, config, data, rounds=1) > self.budget:
                raise BudgetError(
                    f"round {round} would exceed this site's privacy budget of ε = {self.budget:g}",
                    why=f"ε = {self._images_cost(ledger, config, data, rounds=0):.3f} is spent",
                    fix="the model of the last complete round is saved",
                )
            for unit, event, whose in entries:
                ledger.spend(
                    event,
                    run=run,
                    round=round,
                    unit=unit,
                    data=whose,
                    adjacency="zero-out" if unit == "client" else "add-remove",
                    test_rng=config.insecure_test_rng,
                )
            return costs[0]

    def _images_cost(self, ledger: Ledger, config: RunConfig, data: str, *, rounds: int) -> float:
        """ε of each image, at this site's δ, over all runs and `rounds` more of this one."""
        spent = ledger.spendings(data)
        noised = {each.run for each in spent}  # there, what protects the site is made of what already protects images
        events = [each.event for each in spent]
        events += [_for_images(each.event) for each in ledger.spendings(_SITE + data) if each.run not in noised]
        if rounds:
            unit, event, _ = _entries(config, data, rounds=rounds)[0]
            events.append(event if unit == "sample" else _for_images(event))
        return epsilon(events, self.delta * accounted_delta(config) / config.dp_delta).value

    def pseudonym(self, data: str) -> str:
        """The data fingerprint as it may leave the site: keyed by a secret of the site's.

        The plain fingerprint would let anybody who guesses the images confirm the guess.
        """
        return "keyed:" + hmac.new(self._secret(), data.encode(), hashlib.sha256).hexdigest()

    def _refuse_test_rng(self, config: RunConfig) -> None:
        if config.insecure_test_rng and not self.test_rng:
            raise ConfigError(
                "the run asks for test randomness, which this site does not allow",
                why="the coordinator could recompute the noise and take it away",
                fix="run without insecure-test-rng",
            )

    def _ledger(self) -> Ledger:
        return Ledger(self._path())

    def _path(self) -> Path:
        if self.ledger is None:
            raise ConfigError(
                "this site has no privacy ledger", fix="start it with --node-config 'privacy-ledger=\"FILE\"'"
            )
        return self.ledger

    def _secret(self) -> bytes:
        path = self._path().with_suffix(".key")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_SECRET_BYTES))
        return path.read_bytes()
