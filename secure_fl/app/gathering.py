"""How a round's updates reach the coordinator: each in the clear, or only their sum.

The round loop sends a model out and gets a step back. What lies between is a `Gathering`: `InTheClear` collects
every site's update and lets the run's rule judge them; `app.secagg.gathering.Protected` opens sums and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from defenses.guard import UpdateRules
from secure_fl.app.bench import Bench
from secure_fl.app.client_privacy import ClientPrivacy
from secure_fl.app.collection import Collector, RoundReplies, weight_of
from secure_fl.app.membership import Member
from secure_fl.app.messages import Order
from secure_fl.app.strategy import Aggregator, Combination, Offer
from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError, QuorumError

__all__ = ["Gathered", "Gathering", "InTheClear", "shortfall"]

Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Gathered:
    """What a round brought.

    step: (d,) float32, to add to the global model; accepted: the sites that it came from, by name; train_loss: the
    mean over their images, where it is told; facts: what else `round-finished` says, by how it was gathered.
    """

    step: Vector
    accepted: tuple[str, ...]
    train_loss: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def nothing(cls, facts: Mapping[str, Any]) -> Gathered:
        """Of the initial model, which no round has made."""
        return cls(np.zeros(0, np.float32), (), facts=facts)


class Gathering(Protocol):
    """One way to get from a model to a step."""

    @property
    def needed(self) -> int:
        """The fewest free sites with which a round can begin."""

    def facts(self) -> Mapping[str, Any]:
        """What `run-started` says of it."""

    def spent(self) -> Mapping[str, Any]:
        """What `round-finished` says of the privacy spent before the first round."""

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer."""

    def gather(self, order: Order, members: list[Member], *, meanwhile: Callable[[], None]) -> Gathered:
        """Carry out `order` with `members`. `meanwhile`: done once, while the sites begin to train.

        Raises:
            QuorumError: too few sites gave what the round needs.
            BudgetError: too few could afford it.
        """

    def undo(self) -> None:
        """The step that was brought last was not taken: the next one does not build on it."""

    def conclude(self, order: Order, *, complete: bool) -> None:
        """After the last round that there will be; `complete`: of all that were planned."""


class InTheClear:
    """Every update is seen by the coordinator and judged by the run's rule."""

    def __init__(
        self,
        collector: Collector,
        aggregator: Aggregator,
        bench: Bench,
        config: RunConfig,
        client_privacy: ClientPrivacy | None,
    ) -> None:
        self.collector, self.aggregator, self.bench, self.config = collector, aggregator, bench, config
        self.client_privacy = client_privacy
        self.rules = UpdateRules(size=bench.vector_spec.size, max_norm=config.max_update_norm)
        self.needed = config.quorum_sites

    def facts(self) -> Mapping[str, Any]:
        """Nothing beyond the settings."""
        return {}

    def spent(self) -> Mapping[str, Any]:
        """The run's ε before any site has answered."""
        return self._privacy_spent(RoundReplies())

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer."""
        return self.collector.free_members()

    def gather(self, order: Order, members: list[Member], *, meanwhile: Callable[[], None]) -> Gathered:
        """Collect, judge, combine."""
        replies = self.collector.train(
            order, members, rules=self.rules, timeout_s=self.config.round_timeout_s, meanwhile=meanwhile
        )
        names = tuple(member.name for member, _ in replies.accepted)
        if not self._enough(replies):
            raise shortfall(order, names, self.config.quorum_sites, replies.over_budget)
        made = self._combine(order, replies)
        return Gathered(
            step=made.step,
            accepted=names,
            train_loss=_train_loss(replies),
            bytes_up=replies.bytes_up,
            bytes_down=replies.bytes_down,
            facts={**_judgement(names, made), **self._privacy_spent(replies)},
        )

    def undo(self) -> None:
        """Steps are the sites' own and build on nothing; what a rule has learned of sites from their updates stays."""

    def conclude(self, order: Order, *, complete: bool) -> None:
        """Let each site measure the final model; under DP-SGD nothing measured on its images leaves it."""
        if complete and not self.config.dp_at_sites:
            timeout_s = min(120.0, self.config.round_timeout_s)
            self.collector.evaluate(order, self.collector.free_members(), timeout_s=timeout_s)

    def _enough(self, replies: RoundReplies) -> bool:
        """Whether the quorum holds; replies that were refused are part of what a robust rule tolerates."""
        caught = min(len(replies.refused), self.config.byzantine)
        return bool(replies.accepted) and len(replies.accepted) + caught >= self.config.quorum_sites

    def _combine(self, order: Order, replies: RoundReplies) -> Combination:
        """The step of the global model, and what each update had to do with it."""
        updates = [update.vector for _, update in replies.accepted]
        if self.client_privacy is not None:
            return Combination.of_all(self.client_privacy.combine(updates, round=order.round), len(updates))
        offer = Offer(
            round=order.round,
            updates=updates,
            samples=[weight_of(*pair) for pair in replies.accepted],
            sites=[member.entry.index for member, _ in replies.accepted],
            refused=[member.entry.index for member in replies.refused],
            reference=self.bench.reference(order.model, round=order.round),
        )
        return self.aggregator.judge(offer)

    def _privacy_spent(self, replies: RoundReplies) -> dict[str, float]:
        """The run's ε so far, of the site that has spent most: each site's holds for its own images."""
        spent = {}
        if self.config.dp_at_sites:
            told = [update.metrics.get("dp_epsilon", 0.0) for _, update in replies.accepted]
            spent["epsilon"] = max(told, default=0.0)
        if self.client_privacy is not None:
            spent["client_epsilon"] = self.client_privacy.spent().value
        return spent


def shortfall(order: Order, accepted: tuple[str, ...], needed: int, over_budget: Mapping[str, str]) -> Exception:
    """The error that ends a run for want of replies; `over_budget`: what sites said that could not afford the round."""
    if over_budget:
        return BudgetError(
            f"the privacy budget ends the run before round {order.round}",
            why=next(iter(over_budget.values())).removeprefix(f"{BudgetError.code}: "),
            fix=f"the model of round {order.round - 1} is saved",
        )
    return QuorumError(
        f"round {order.round}: {len(accepted)} usable replies, {needed} are needed",
        why=f"accepted: {', '.join(accepted) or 'none'}",
        fix=f"`secure-fl runs show {order.run}` names the reasons; then `runs resume`",
    )


def _train_loss(replies: RoundReplies) -> float | None:
    weights = [weight_of(*pair) for pair in replies.accepted]
    losses = [update.metrics.get("train_loss") for _, update in replies.accepted]
    known = [(w, loss) for w, loss in zip(weights, losses, strict=True) if loss is not None]
    return sum(w * loss for w, loss in known) / sum(w for w, _ in known) if known else None


def _judgement(names: tuple[str, ...], made: Combination) -> dict[str, Any]:
    """What the rule made of each accepted update, by the name of its site."""
    return {
        "kept": [name for name, kept in zip(names, made.kept, strict=True) if kept],
        "masked": [name for name, masked in zip(names, made.masked, strict=True) if masked],
        "weights": None if made.weights is None else dict(zip(names, made.weights, strict=True)),
    }
