"""The coordinator's round loop, the same on every grid.

    join → [ send model → collect and judge updates → aggregate → evaluate → checkpoint ] × T → model

A round is evaluated and saved while the sites already train on what came of it: the next order is sent
first, and only then is this round closed. Its events are still in order: `round-finished` of one round
comes before `round-started` of the next.

Each round ends with a checkpoint: after a crash the loop goes on from the last complete round, and
because all randomness of a round is derived from (seed, round, site), it ends in the model of an
uninterrupted run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.serverapp import Grid

from defenses.guard import UpdateRules, l2_norm
from secure_fl.app.averaging import ModelAverage
from secure_fl.app.bench import Bench
from secure_fl.app.casting import card_mark, simulation
from secure_fl.app.client_privacy import ClientPrivacy
from secure_fl.app.collection import Collector, RoundReplies, weight_of
from secure_fl.app.identity import Roster
from secure_fl.app.membership import Membership
from secure_fl.app.messages import Order
from secure_fl.app.strategy import Aggregator, Combination, Offer
from secure_fl.data import describe_data
from secure_fl.errors import BudgetError, QuorumError, SecureFLError
from secure_fl.models import ModelCard, fingerprint, flatten, save_model, unflatten
from secure_fl.privacy.regime import planned, promise
from secure_fl.runs import RunRecord
from secure_fl.training.evaluation import Evaluation

__all__ = ["coordinate"]

Vector = np.ndarray[Any, Any]


@dataclass
class _Round:
    """A round that is aggregated and not closed yet: neither evaluated nor saved.

    `seconds`: from its orders to its model. The evaluation of the round before is in it, that of its own is not.
    """

    number: int
    vector: Vector
    replies: RoundReplies = field(default_factory=RoundReplies)
    combination: Combination | None = None
    seconds: float = 0.0


def coordinate(grid: Grid, record: RunRecord, roster: Roster, aggregator: Aggregator, *, facts: dict[str, Any]) -> None:
    """Run the record's config on `grid` to its end, a stop request, or an error; all outcomes are recorded.

    `facts`: what the grid knows of itself (kind, TLS, process id), for the `run-started` event.

    Raises:
        SecureFLError: the run failed; its `run-finished` event says the same.
    """
    started = time.monotonic()
    try:
        _Run(grid, record, roster, aggregator, facts, started).to_the_end()
    except SecureFLError as error:
        _record_failure(record, error.code, error.what, error.why, error.fix, started)
        raise
    except Exception as error:
        _record_failure(record, "INTERNAL", f"{type(error).__name__}: {error}", "", "", started)
        raise


def _record_failure(record: RunRecord, code: str, what: str, why: str, fix: str, started: float) -> None:
    rounds = record.rounds()
    last = rounds[-1] if rounds else None
    record.append(
        "run-finished",
        status="failed",
        round=last.round if last else 0,
        loss=last.loss if last else None,
        accuracy=last.accuracy if last else None,
        seconds=round(time.monotonic() - started, 3),
        model_sha256=None,
        error={"code": code, "what": what, "why": why, "fix": fix},
    )


class _Run:
    """One pass through the loop; holds what the steps share."""

    def __init__(
        self,
        grid: Grid,
        record: RunRecord,
        roster: Roster,
        aggregator: Aggregator,
        facts: dict[str, Any],
        started: float,
    ) -> None:
        self.config, self.record, self.aggregator, self.started = planned(record.config), record, aggregator, started
        self.roster, self.facts = roster, facts
        self.membership = Membership(grid, roster, self.config, run=record.id, events=record)
        self.collector = Collector(grid, self.membership, record)
        self.bench = Bench.of(self.config)
        self.rules = UpdateRules(size=self.bench.vector_spec.size, max_norm=self.config.max_update_norm)
        self.client_privacy = ClientPrivacy.of(self.config, record, roster) if self.config.dp_of_sites else None
        self.average = ModelAverage(self.config.average)
        self.measured: Evaluation | None = None
        self.open_round: _Round | None = None

    def to_the_end(self) -> None:
        """Join, all rounds, final model."""
        vector, done = self._starting_point()
        self.membership.refresh()
        if done == 0:
            self._record_round(_Round(0, vector))
        self.membership.wait_for(
            len(self.roster.entries), timeout_s=self.config.join_timeout_s, stop=self._enough_or_stopped()
        )
        self._refuse_below_quorum()
        try:
            while done < self.config.rounds and not self.record.stop_requested():
                vector = self._round(done + 1, vector)
                done += 1
        except BudgetError:
            self._close_round()
            self._save_model(vector, done)
            raise
        finally:
            self._close_round()  # the last one; or, when the next one failed, the one before it
        self._finish(vector, done)

    def _refuse_below_quorum(self) -> None:
        """Too many sites cannot afford the run: better said before anybody has spent anything."""
        unwilling = self.membership.unwilling
        if len(self.roster.entries) - len(unwilling) < self.config.quorum_sites:
            raise BudgetError(
                f"{len(unwilling)} of {len(self.roster.entries)} sites cannot afford this run",
                why=next(iter(unwilling.values())).removeprefix(f"{BudgetError.code}: "),
                fix="give a smaller dp-epsilon or fewer rounds",
            )

    def _starting_point(self) -> tuple[Vector, int]:
        """The initial model, or the last complete round of an interrupted run."""
        self.record.write_data(describe_data(self.config))
        checkpoint = self.record.last_checkpoint()
        vector = self.record.load_checkpoint(checkpoint) if checkpoint else flatten(self.bench.model)
        done = checkpoint.round if checkpoint else 0
        if self.config.average and checkpoint:
            for each in self.record.checkpoints():
                self.average.add(self.record.load_checkpoint(each))
        self.record.append(
            "run-started",
            resumed_from_round=done,
            sites=[entry.name for entry in self.roster.entries],
            spec_digest=self.bench.vector_spec.digest,
            parameters=self.bench.vector_spec.size,
            model=self.config.model,
            rule=self.aggregator.summary(),
            simulation=simulation(self.config, self.roster),
            privacy=promise(self.config),
            **self.facts,
        )
        return vector, done

    def _enough_or_stopped(self) -> Any:
        """All sites are waited for; after half the time, a quorum is enough to begin."""
        patience = time.monotonic() + self.config.join_timeout_s / 2

        def enough() -> bool:
            quorum_here = len(self.membership.present()) >= self.config.quorum_sites
            return self.record.stop_requested() or (quorum_here and time.monotonic() > patience)

        return enough

    def _round(self, number: int, vector: Vector) -> Vector:
        """Train and aggregate; the round stays open until the next one's orders are out."""
        began = time.monotonic()
        self.membership.refresh()
        members = self.collector.free_members()
        if len(members) < self.config.quorum_sites:
            self._close_round()
            self._await_quorum(number)
            members = self.collector.free_members()

        def meanwhile() -> None:
            self._close_round()
            self.record.append("round-started", round=number, sites=[member.name for member in members])

        order = Order(self.record.id, number, self.bench.vector_spec.digest, self.config, vector)
        replies = self.collector.train(
            order, members, rules=self.rules, timeout_s=self.config.round_timeout_s, meanwhile=meanwhile
        )
        enough = self._enough(replies)
        if not enough and replies.over_budget:
            raise BudgetError(
                f"the privacy budget ends the run before round {number}",
                why=next(iter(replies.over_budget.values())).removeprefix(f"{BudgetError.code}: "),
                fix=f"the model of round {number - 1} is saved",
            )
        if not enough:
            raise QuorumError(
                f"round {number}: {len(replies.accepted)} usable replies, {self.config.quorum_sites} are needed",
                why=f"accepted: {', '.join(m.name for m, _ in replies.accepted) or 'none'}",
                fix=f"`secure-fl runs show {self.record.id}` names the reasons; then `runs resume`",
            )
        combination = self._combine(number, vector, replies)
        vector = vector + combination.step
        self.open_round = _Round(number, vector, replies, combination, time.monotonic() - began)
        return vector

    def _enough(self, replies: RoundReplies) -> bool:
        """Whether the quorum holds; replies that were refused are part of what a robust rule tolerates."""
        caught = min(len(replies.refused), self.config.byzantine)
        return bool(replies.accepted) and len(replies.accepted) + caught >= self.config.quorum_sites

    def _combine(self, number: int, vector: Vector, replies: RoundReplies) -> Combination:
        """The step of the global model, and what each update had to do with it."""
        updates = [update.vector for _, update in replies.accepted]
        if self.client_privacy is not None:
            return Combination.of_all(self.client_privacy.combine(updates, round=number), len(updates))
        offer = Offer(
            round=number,
            updates=updates,
            samples=[weight_of(*pair) for pair in replies.accepted],
            sites=[member.entry.index for member, _ in replies.accepted],
            refused=[member.entry.index for member in replies.refused],
            reference=self.bench.reference(vector, round=number),
        )
        return self.aggregator.judge(offer)

    def _await_quorum(self, number: int) -> None:
        """Wait for sites to come back; those that hang may answer late and be free again."""
        deadline = time.monotonic() + self.config.join_timeout_s
        while len(free := self.collector.free_members()) < self.config.quorum_sites:
            if time.monotonic() > deadline:
                raise QuorumError(
                    f"round {number}: {len(free)} sites are free, {self.config.quorum_sites} are needed",
                    why=f"free: {', '.join(member.name for member in free) or 'none'}",
                    fix="look at the sites' logs; `runs resume` goes on from the last complete round",
                )
            time.sleep(0.2)
            self.membership.refresh()

    def _close_round(self) -> None:
        """Evaluate and save the round that is open, if one is."""
        if self.open_round is not None:
            closing, self.open_round = self.open_round, None
            self._record_round(closing)

    def _record_round(self, done: _Round) -> None:
        """Evaluate, save, and only then say that the round is complete."""
        evaluating = time.monotonic()
        self.measured = self.bench.measure(self.average.add(done.vector))
        evaluate_s = time.monotonic() - evaluating
        checkpoint = self.record.save_checkpoint(done.number, done.vector, self.bench.vector_spec.digest)
        weights = [weight_of(*pair) for pair in done.replies.accepted]
        losses = [update.metrics.get("train_loss") for _, update in done.replies.accepted]
        known = [(w, loss) for w, loss in zip(weights, losses, strict=True) if loss is not None]
        self.record.append(
            "round-finished",
            round=done.number,
            loss=self.measured.loss,
            accuracy=self.measured.accuracy,
            per_class_accuracy=list(self.measured.per_class_accuracy),
            samples=self.measured.samples,
            seconds=round(done.seconds, 3),
            evaluate_s=round(evaluate_s, 3),
            train_loss=sum(w * loss for w, loss in known) / sum(w for w, _ in known) if known else None,
            bytes_up=done.replies.bytes_up,
            bytes_down=done.replies.bytes_down,
            accepted=[member.name for member, _ in done.replies.accepted],
            **_judgement(done),
            checkpoint=checkpoint.path.name,
            checkpoint_sha256=checkpoint.sha256,
            update_norm=l2_norm(done.combination.step) if done.combination is not None else 0.0,
            **self._privacy_spent(done),
        )

    def _privacy_spent(self, done: _Round) -> dict[str, float]:
        """The run's ε so far, of the site that has spent most: each site's holds for its own images."""
        spent = {}
        if self.config.dp_at_sites:
            told = [update.metrics.get("dp_epsilon", 0.0) for _, update in done.replies.accepted]
            spent["epsilon"] = max(told, default=0.0)
        if self.client_privacy is not None:
            spent["client_epsilon"] = self.client_privacy.spent().value
        return spent

    def _finish(self, vector: Vector, done: int) -> None:
        """The sites' own view of the final model, the model file, and the outcome."""
        complete = done >= self.config.rounds
        if complete and not self.config.dp_withholds:
            order = Order(self.record.id, done, self.bench.vector_spec.digest, self.config, vector)
            self.membership.refresh()
            self.collector.evaluate(
                order, self.collector.free_members(), timeout_s=min(120.0, self.config.round_timeout_s)
            )
        measured, file_sha256 = self._save_model(vector, done)
        self.record.append(
            "run-finished",
            status="succeeded" if complete else "interrupted",
            round=done,
            loss=measured.loss,
            accuracy=measured.accuracy,
            seconds=round(time.monotonic() - self.started, 3),
            # Of the weights alone: runs with equal weights have equal hashes, whatever their ids.
            model_sha256=fingerprint(self.bench.model).removeprefix("sha256:"),
            model_file_sha256=file_sha256,
            error=None,
        )

    def _save_model(self, vector: Vector, done: int) -> tuple[Evaluation, str]:
        """Write the model file; how good the model is, and the file's hash."""
        shown = self.average.of(vector)
        measured = self.measured or self.bench.measure(shown)
        unflatten(shown, self.bench.model)
        card = ModelCard(
            spec=self.bench.spec,
            classes=self.bench.test.classes,
            mean=self.bench.normalisation.mean,
            std=self.bench.normalisation.std,
            run_id=self.record.id,
            round=done,
            extra={"accuracy": f"{measured.accuracy:.6f}", "dataset": self.config.dataset, **card_mark(self.config)},
        )
        return measured, save_model(self.record.folder / "model.safetensors", self.bench.model, card)


def _judgement(done: _Round) -> dict[str, Any]:
    """What the rule made of each accepted update, by the name of its site."""
    if done.combination is None:
        return {}
    names, made = [member.name for member, _ in done.replies.accepted], done.combination
    return {
        "kept": [name for name, kept in zip(names, made.kept, strict=True) if kept],
        "masked": [name for name, masked in zip(names, made.masked, strict=True) if masked],
        "weights": None if made.weights is None else dict(zip(names, made.weights, strict=True)),
    }
