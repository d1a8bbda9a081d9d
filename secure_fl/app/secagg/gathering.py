"""A round under secure aggregation: the coordinator gets sums, and what may be told of them.

Threat model, as a run sees it. Against a coordinator that does anything it likes: it learns the sum over at least
⌊2n/3⌋ + 1 of the n sites of a group, and of a single site that it took part, how long it took, and its declared number
of images. The roster that makes this true is the sites' own (`app.signed_roster`). Not against: what a sum says of its
parts (differential privacy is for that), and what a hostile site puts into it.

When a round does not come through. Before any shares were asked for, it is tried once more with fresh keys, without
those whom the protocol has convicted; sites keep their update meanwhile and train only once. Once shares have been
asked for, no second sum over other survivors may exist (`released`), so the round is *void*: the model stays, and the
run goes on with the next round. A site whose secrets could not be opened is barred from then on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from secure_fl.app.bench import Bench
from secure_fl.app.courier import Courier
from secure_fl.app.distributed_privacy import Stepper
from secure_fl.app.gathering import Gathered, shortfall
from secure_fl.app.identity import Roster
from secure_fl.app.membership import EventSink, Member
from secure_fl.app.messages import Order
from secure_fl.app.secagg.groups import Draw, Grouped, form_groups, groups_on_record
from secure_fl.app.secagg.layout import Layout, averages, digest_of, largest_weight
from secure_fl.app.secagg.rounds import Attempt, GroupSum, Part, Standing, forget
from secure_fl.app.secagg.voting import Verdict, Voting
from secure_fl.app.strategy import Aggregator
from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError, FederationError
from secure_fl.privacy.regime import spent_after
from secure_fl.protection import privacy_set, privacy_summary, threshold_of
from secure_fl.secagg.errors import FalseSecrets, SlotReused
from secure_fl.secagg.graph import shape_of
from secure_fl.secagg.server import Server
from secure_fl.secagg.terms import Slot, Terms

__all__ = ["Journal", "Protected"]

# At a round, in one life of the coordinator.
_ATTEMPTS = 2


class Journal:
    """Events that may have to wait: what happens in a round before it is announced comes after `round-started`."""

    def __init__(self, events: EventSink) -> None:
        self._events, self._holds = events, False
        self._held: list[tuple[str, dict[str, object]]] = []

    def append(self, kind: str, **fields: object) -> None:
        """Record one event, now or when held ones are released."""
        if self._holds:
            self._held.append((kind, fields))
        else:
            self._events.append(kind, **fields)

    def hold(self) -> None:
        """Keep what comes until it is released."""
        self._holds = True

    def release(self) -> None:
        """Record what was kept, and from now on what comes."""
        self._holds = False
        for kind, fields in self._held:
            self._events.append(kind, **fields)
        self._held.clear()


class Protected:
    """Rounds in which only sums are seen.

    journal: where the courier, too, records its events. lives: how often this run has been started, the present life
    included: attempts are numbered across all of them, so that a round that is repeated after a crash is another slot.
    run, folder: the run's id, and its folder, where its groups are kept. stepper: makes steps of sums in which noise is
    shared.
    """

    def __init__(
        self,
        courier: Courier,
        roster: Roster,
        bench: Bench,
        config: RunConfig,
        aggregator: Aggregator,
        *,
        journal: Journal,
        lives: Callable[[], int],
        run: str,
        folder: Path,
        stepper: Stepper | None = None,
    ) -> None:
        if any(not entry.identity_key for entry in roster.entries):
            raise FederationError(
                "secure aggregation needs a roster with identity keys",
                why="this grid's sites have none",
                fix="start the run with `secure-fl run`",
            )
        self._courier, self._bench, self._config, self._stepper = courier, bench, config, stepper
        self._journal, self._lives, self._folder = journal, lives, folder
        self._keys = {entry.index: bytes.fromhex(entry.identity_key) for entry in roster.entries}
        self._declared = {entry.index: entry.samples or 0 for entry in roster.entries}
        self._names = {entry.index: entry.name for entry in roster.entries}
        self._voting = Voting(config, aggregator, self._names)
        self._draw = Draw(run, config.secagg_group_size, len(self._keys))
        self._groups = Grouped((tuple(sorted(self._keys)),), b"")
        if config.secagg == "grouped":
            self._groups = groups_on_record(self._keys, self._draw, folder=folder)
        self._standing: dict[int, Standing] = {}
        self._barred: set[int] = set()

    @property
    def needed(self) -> int:
        """The fewest free sites with which a round can begin: the quorum of the sum, or more if the run asks for it."""
        return max(self._config.quorum_sites, threshold_of(len(self._keys)) if self._config.secagg == "full" else 1)

    def facts(self) -> Mapping[str, Any]:
        """The mode, and what it promises."""
        config, groups = self._config, self._groups.members
        return {
            "protection": privacy_summary(config),
            "secagg": {
                "mode": config.secagg,
                "privacy_set": privacy_set(config),
                "thresholds": [threshold_of(len(members)) for members in groups],
                "groups": [[self._names[index] for index in members] for members in groups],
                "byzantine": config.byzantine,
                "colluders": config.secagg_colluders,
                "ring_bits": int(config.secagg_bits),
                "clip": config.secagg_clip,
                "roster": {str(index): key.hex() for index, key in self._keys.items()},
            },
        }

    def spent(self) -> Mapping[str, Any]:
        """The run's ε before any site has answered."""
        return spent_after(self._config, 0)

    def _spent(self, attempt: Attempt) -> Mapping[str, float]:
        """ε at the end of a round: what sites told; where noise is shared they tell nothing, and the settings say it.

        A life of the coordinator repeats one round at most.
        """
        if attempt.epsilon is not None and not self._config.dp_distributed:
            return {"epsilon": attempt.epsilon}
        return spent_after(self._config, attempt.parts[0].slot.round + self._lives() - 1)

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer, have not been barred, and are in a group where groups are formed."""
        grouped = {index for group in self._groups.members for index in group} or set(self._keys)
        return [each for each in self._courier.free_members() if each.entry.index in grouped - self._barred]

    def gather(self, order: Order, members: list[Member], *, meanwhile: Callable[[], None]) -> Gathered:
        """Open the round's sums, or find it void. Raises QuorumError, BudgetError."""
        if not self._groups.members:
            self._groups = form_groups(
                self._courier, members, self._keys, self._draw, folder=self._folder, events=self._journal
            )
            members = self.free_members()
        announced = False

        def announce() -> None:
            nonlocal announced
            if not announced:
                announced = True
                meanwhile()
                self._journal.release()

        self._journal.hold()
        try:
            return self._gathered(order, members, announce)
        finally:
            announce()

    def undo(self) -> None:
        """The stepper forgets its last step."""
        if self._stepper is not None:
            self._stepper.undo()

    def conclude(self, order: Order, *, complete: bool) -> None:
        """Sites say nothing of their own, and drop keys that they have advertised for a round that will not be."""
        if self._standing:
            self._forget(order)

    def _forget(self, order: Order) -> None:
        """Have all sites that can be asked drop all that they hold, keys that they have advertised ahead included."""
        self._standing = {}
        forget(self._courier, self.free_members(), round=order.round)

    def _gathered(self, order: Order, members: list[Member], announce: Callable[[], None]) -> Gathered:
        attempts: list[Attempt] = []
        first, taking_part = _ATTEMPTS * (self._lives() - 1) + 1, members
        for number in range(first, first + _ATTEMPTS):
            attempt = Attempt(
                self._courier,
                self._journal,
                order,
                {member.entry.index: member for member in taking_part},
                [self._part(order, number, group) for group in range(len(self._groups.members))],
                following=first if order.round < self._config.rounds else None,
            )
            attempts.append(attempt)
            sums = attempt.carry_out(self._standing, meanwhile=announce)
            self._standing = attempt.standing
            for part in attempt.parts:
                self._journal.append("secagg-slot", **part.evidence())
                if isinstance(part.failure, FalseSecrets):
                    self._barred.update(part.failure.sites)
            if sums:
                return self._brought(order, attempts, sums)
            if any(part.opened for part in attempt.parts):
                return self._void(order, attempts)
            taking_part = [each for each in self.free_members() if each.entry.index not in attempt.convicted]
        refusals = {name: said for attempt in attempts for name, said in attempt.refusals.items()}
        if any(said.startswith(f"{SlotReused.code}: ") for said in refusals.values()):
            return self._void(order, attempts)  # an earlier life of ours has opened this round
        left = max(attempts[-1].parts, key=lambda part: len(part.survivors))
        names = tuple(self._names[index] for index in left.survivors)
        self._forget(order)
        poor = {name: said for name, said in refusals.items() if said.startswith(f"{BudgetError.code}: ")}
        raise shortfall(order, names, left.terms.quorum, poor)

    def _part(self, order: Order, attempt: int, group: int) -> Part:
        members = self._groups.members[group]
        shape = shape_of(len(members))
        # Shares of noise are made for sites that count alike.
        declared = tuple(1 if self._config.dp_distributed else self._declared[index] for index in members)
        heaviest = largest_weight(self._config, declared)
        size = self._bench.vector_spec.size
        layout = Layout.of(
            self._config, size=size, members=len(members), max_weight=heaviest, model_sha256=order.model_sha256
        )
        terms = Terms(
            slot=Slot(order.run, order.round, attempt, group),
            members=members,
            threshold=shape.threshold,
            neighbours=shape.neighbours,
            words=layout.words,
            ring_bits=int(self._config.secagg_bits),
            clip=self._config.secagg_clip,
            max_weight=heaviest,
            model_sha256=order.model_sha256,
            settings_sha256=digest_of(order.config, declared, self._groups.proof),
        )
        server = Server(terms, self._keys, threads=min(4, os.cpu_count() or 1))
        return Part(terms, layout, declared, self._groups.proof, server)

    def _brought(self, order: Order, attempts: list[Attempt], sums: list[GroupSum]) -> Gathered:
        made = self._verdict(order, attempts[-1].parts, sums)
        told = averages(_added(sums))
        return Gathered(
            step=made.step,
            accepted=tuple(self._names[index] for index in made.accepted),
            train_loss=told.pop("train_loss"),
            bytes_up=sum(each.bytes_up for each in attempts),
            bytes_down=sum(each.bytes_down for each in attempts),
            facts={
                **made.facts,
                "secagg": {**self._slots(attempts), "clipped": _added(sums).get("clipped"), **told},
                **self._spent(attempts[-1]),
            },
        )

    def _verdict(self, order: Order, parts: list[Part], sums: list[GroupSum]) -> Verdict:
        """The step that the sums make: a noised one has a rule of its own, and is longer than any bound."""
        if self._stepper is not None:
            (opened,) = sums
            step = self._stepper.step(opened.update, opened.sites, round=order.round)
            return Verdict(step, opened.sites, {})
        reference = self._bench.reference(order.model, round=order.round)
        return self._voting.judge(order.round, parts, sums, reference=reference, events=self._journal)

    def _void(self, order: Order, attempts: list[Attempt]) -> Gathered:
        """The round is lost and the model stays."""
        self._forget(order)
        return Gathered(
            step=np.zeros_like(order.model),
            accepted=(),
            bytes_up=sum(each.bytes_up for each in attempts),
            bytes_down=sum(each.bytes_down for each in attempts),
            facts={
                "secagg": {**self._slots(attempts), "void": str(attempts[-1].parts[0].failure)},
                **self._spent(attempts[-1]),
            },
        )

    def _slots(self, attempts: list[Attempt]) -> dict[str, Any]:
        """How the round's sums came about."""
        last = attempts[-1]
        return {
            "attempt": last.parts[0].slot.attempt,
            "seconds": last.seconds,
            "groups": [
                {
                    "transcript": part.server.transcript.hex(),
                    "survivors": self._named(part.survivors),
                    "dropped": self._named(set(part.terms.members) - set(part.survivors)),
                    "liars": {self._names[index]: lie for index, lie in part.sum.liars.items()} if part.sum else {},
                }
                for part in last.parts
            ],
        }

    def _named(self, indexes: Any) -> list[str]:
        return [self._names[index] for index in sorted(indexes)]


def _added(sums: list[GroupSum]) -> dict[str, int]:
    """The counters of all groups together."""
    names = sums[0].counters
    return {name: sum(each.counters[name] for each in sums) for name in names}
