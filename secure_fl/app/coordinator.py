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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.serverapp import Grid

from defenses.guard import l2_norm
from secure_fl.app.averaging import ModelAverage
from secure_fl.app.bench import Bench
from secure_fl.app.casting import card_mark, simulation
from secure_fl.app.client_privacy import ClientPrivacy
from secure_fl.app.collection import Collector
from secure_fl.app.courier import Courier
from secure_fl.app.distributed_privacy import stepper_of
from secure_fl.app.gate import ValidationGate
from secure_fl.app.gathering import Gathered, Gathering, InTheClear
from secure_fl.app.identity import Roster
from secure_fl.app.membership import Membership
from secure_fl.app.messages import Order
from secure_fl.app.secagg.gathering import Journal, Protected
from secure_fl.app.strategy import Aggregator
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
    gathered: Gathered
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
        self.bench = Bench.of(self.config)
        self.gathering = self._gathering(grid)
        self.gate = ValidationGate.of(self.config, self.bench, record)
        self.average = ModelAverage(self.config.average)
        self.measured: Evaluation | None = None
        self.open_round: _Round | None = None

    def _gathering(self, grid: Grid) -> Gathering:
        """How this run's updates reach us."""
        if self.config.secagg != "none":
            journal = Journal(self.record)
            return Protected(
                Courier(grid, self.membership, journal),
                self.roster,
                self.bench,
                self.config,
                self.aggregator,
                journal=journal,
                lives=lambda: self.record.summary().attempts,
                run=self.record.id,
                folder=self.record.folder,
                stepper=stepper_of(self.config, self.record, self.roster, parameters=self.bench.vector_spec.size),
            )
        privacy = ClientPrivacy.of(self.config, self.record, self.roster) if self.config.dp_of_sites else None
        collector = Collector(grid, self.membership, self.record)
        return InTheClear(collector, self.aggregator, self.bench, self.config, privacy)

    def to_the_end(self) -> None:
        """Join, all rounds, final model."""
        vector, done = self._starting_point()
        self.membership.refresh()
        if done == 0:
            self._record_round(_Round(0, vector, Gathered.nothing(self.gathering.spent())))
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
        if len(self.roster.entries) - len(unwilling) < self.gathering.needed:
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
            **self.gathering.facts(),
            **self.facts,
        )
        return vector, done

    def _enough_or_stopped(self) -> Any:
        """All sites are waited for; after half the time, a quorum is enough to begin."""
        patience = time.monotonic() + self.config.join_timeout_s / 2

        def enough() -> bool:
            quorum_here = len(self.membership.present()) >= self.gathering.needed
            return self.record.stop_requested() or (quorum_here and time.monotonic() > patience)

        return enough

    def _round(self, number: int, vector: Vector) -> Vector:
        """Train and aggregate; the round stays open until the next one's orders are out."""
        began = time.monotonic()
        self.membership.refresh()
        members = self.gathering.free_members()
        if len(members) < self.gathering.needed:
            self._close_round()
            self._await_quorum(number)
            members = self.gathering.free_members()

        def meanwhile() -> None:
            self._close_round()
            self.record.append("round-started", round=number, sites=[member.name for member in members])

        order = Order(self.record.id, number, self.bench.vector_spec.digest, self.config, vector)
        gathered = self.gathering.gather(order, members, meanwhile=meanwhile)
        if self.gate is not None:
            kept = self.gate.judge(vector, gathered.step, round=number)
            if kept is not gathered.step:
                self.gathering.undo()
            gathered = replace(gathered, step=kept)
        vector = vector + gathered.step
        self.open_round = _Round(number, vector, gathered, time.monotonic() - began)
        return vector

    def _await_quorum(self, number: int) -> None:
        """Wait for sites to come back; those that hang may answer late and be free again."""
        deadline = time.monotonic() + self.config.join_timeout_s
        while len(free := self.gathering.free_members()) < self.gathering.needed:
            if time.monotonic() > deadline:
                raise QuorumError(
                    f"round {number}: {len(free)} sites are free, {self.gathering.needed} are needed",
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
        brought = done.gathered
        self.record.append(
            "round-finished",
            round=done.number,
            loss=self.measured.loss,
            accuracy=self.measured.accuracy,
            per_class_accuracy=list(self.measured.per_class_accuracy),
            samples=self.measured.samples,
            seconds=round(done.seconds, 3),
            evaluate_s=round(evaluate_s, 3),
            train_loss=brought.train_loss,
            bytes_up=brought.bytes_up,
            bytes_down=brought.bytes_down,
            accepted=list(brought.accepted),
            checkpoint=checkpoint.path.name,
            checkpoint_sha256=checkpoint.sha256,
            update_norm=l2_norm(brought.step),
            **brought.facts,
        )

    def _finish(self, vector: Vector, done: int) -> None:
        """The sites' own view of the final model, the model file, and the outcome."""
        complete = done >= self.config.rounds
        self.membership.refresh()
        order = Order(self.record.id, done, self.bench.vector_spec.digest, self.config, vector)
        self.gathering.conclude(order, complete=complete)
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
