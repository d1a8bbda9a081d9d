"""The coordinator's trips of one attempt at a round's sums: all groups side by side, in the same messages.

    advertise → share → train → agree → open

Each trip has a deadline. Whoever has not answered by then, or answered what the protocol refuses, is out of this
attempt; the trip's group goes on while its quorum holds, and is given up otherwise. Nothing is asked for twice under
the same keys: another attempt begins with new ones. What each slot came to is written down as evidence that anybody
with the roster can check (`secure_fl.secagg.evidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flwr.app import Message, RecordDict

from defenses.guard import Reason
from secure_fl.app.courier import Courier, Sent, is_lost
from secure_fl.app.membership import EventSink, Member
from secure_fl.app.messages import Order, payload_bytes
from secure_fl.app.secagg import wire
from secure_fl.app.secagg.layout import Layout
from secure_fl.app.secagg.wire import OpenOrder, ShareOrder
from secure_fl.app.untrusted import unreadable
from secure_fl.secagg.errors import SecAggError
from secure_fl.secagg.evidence import SlotEvidence
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed
from secure_fl.secagg.ring import Ring, Vector
from secure_fl.secagg.server import SecureSum, Server
from secure_fl.secagg.terms import Slot, Terms

__all__ = ["Attempt", "GroupSum", "Part", "Standing", "forget"]

# A site that is not training answers at once; this is for its network and for a machine that is busy.
_TRIP_S, _TRIP_SHARE = 30.0, 0.25
_FORGET_S = 5.0

Take = Callable[[int, Message], None]


@dataclass(frozen=True)
class GroupSum:
    """What one group's sum says. sites: roster indexes of whose it is; update: the weighted mean, (d,) float32."""

    group: int
    sites: tuple[int, ...]
    update: Vector
    weight: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Standing:
    """Keys that a site has advertised ahead, for the slot that follows; they die with its connection."""

    member: Member
    slot: Slot
    advert: Advert


@dataclass
class Part:
    """One group's part of an attempt. `failure`: why it was given up; `opened`: whether shares were asked for."""

    terms: Terms
    layout: Layout
    declared: tuple[int, ...]
    proof: bytes
    server: Server
    adverts: Mapping[int, Advert] = field(default_factory=dict)
    inboxes: Mapping[int, Mapping[int, bytes]] = field(default_factory=dict)
    survivors: tuple[int, ...] = ()
    agreements: Mapping[int, Agreement] = field(default_factory=dict)
    opened: bool = False
    sum: SecureSum | None = None
    failure: SecAggError | None = None

    @property
    def slot(self) -> Slot:
        """Which sum this is."""
        return self.terms.slot

    def evidence(self) -> dict[str, Any]:
        """What can be shown of it to anybody: no share is among it."""
        found = SlotEvidence(
            self.terms,
            self.adverts,
            transcript=self.server.transcript,
            survivors=self.survivors,
            agreements=self.agreements,
            released=self.server.released,
            liars=self.sum.liars if self.sum else {},
        )
        return {
            "round": self.slot.round,
            "attempt": self.slot.attempt,
            "group": self.slot.group,
            "outcome": "summed" if self.failure is None and self.sum is not None else "abandoned",
            "reason": str(self.failure) if self.failure else "",
            "dropped": list(self.sum.dropped) if self.sum else [],
            **found.to_mapping(),
        }

    def decoded(self) -> GroupSum | None:
        """The group's mean and counters; None where the part was given up, or the sum cannot be a sum of encodings."""
        if self.sum is None:
            return None
        weights = dict(zip(self.terms.members, self.declared, strict=True))
        public = [weights[index] for index in self.sum.survivors]
        try:
            update, weight, counters = self.layout.decode(self.sum.words, sum(public) if all(public) else None)
        except SecAggError as error:
            self.failure = error
            return None
        return GroupSum(self.slot.group, self.sum.survivors, update, weight, counters)


class Attempt:
    """The trips of one attempt; what they cost and brought stays readable afterwards.

    members: by roster index, those that take part. following: the attempt number under which the next round begins,
    None where there is no next round. refusals: what sites said that failed, by name; convicted: indexes of sites
    whose messages the protocol refused; standing: keys for the next round, by index; epsilon: what the run has cost
    the site that has spent most, under DP-SGD.
    """

    def __init__(
        self,
        courier: Courier,
        events: EventSink,
        order: Order,
        members: Mapping[int, Member],
        parts: Iterable[Part],
        *,
        following: int | None,
    ) -> None:
        self.parts = list(parts)
        self.bytes_up = self.bytes_down = 0
        self.epsilon: float | None = None
        self.seconds: dict[str, float] = {}
        self.refusals: dict[str, str] = {}
        self.convicted: set[int] = set()
        self.standing: dict[int, Standing] = {}
        self._courier, self._events, self._order, self._following = courier, events, order, following
        self._members = dict(members)
        self._part_of = {index: part for part in self.parts for index in part.terms.members}

    def carry_out(self, standing: Mapping[int, Standing], *, meanwhile: Callable[[], None]) -> list[GroupSum]:
        """Make all trips; the sums of the groups that came through. `meanwhile`: done while the sites begin to train.

        standing: keys that sites have advertised ahead; those that fit are used, and only other sites are asked.
        """
        self._advertise(standing)
        self._share()
        self._train(meanwhile)
        self._agree()
        self._open()
        sums = [part.decoded() for part in self.parts]
        return [each for each in sums if each is not None]

    def _advertise(self, standing: Mapping[int, Standing]) -> None:
        missing = {}
        for index, member in self._members.items():
            ahead, part = standing.get(index), self._part_of[index]
            if ahead is not None and (ahead.member, ahead.slot) == (member, part.slot):
                self._guarded(index, partial(part.server.take_advert, index, ahead.advert))
            else:
                missing[index] = wire.content_of_slot(part.slot)

        def take(index: int, reply: Message) -> None:
            self._part_of[index].server.take_advert(index, Advert.from_bytes(wire.read_bytes(reply, "advert")))

        self._trip("advertise", wire.ADVERTISE, missing, take)
        for part in self._living():
            with _closing(part):
                part.adverts = part.server.close_adverts()

    def _share(self) -> None:
        contents: dict[int, RecordDict] = {}
        for part in self._living():
            order = ShareOrder(part.terms, part.adverts, self._order.config, part.declared, part.proof)
            contents |= dict.fromkeys(part.adverts, wire.content_of_share(order))

        def take(index: int, reply: Message) -> None:
            self._part_of[index].server.take_sealed(index, Sealed.from_bytes(wire.read_bytes(reply, "sealed")))

        self._trip("share", wire.SHARE, contents, take)
        for part in self._living():
            with _closing(part):
                part.inboxes = part.server.close_sealed()

    def _train(self, meanwhile: Callable[[], None]) -> None:
        contents = {
            index: wire.content_of_masked(self._order, part.slot, inbox)
            for part in self._living()
            for index, inbox in part.inboxes.items()
        }

        def take(index: int, reply: Message) -> None:
            terms = self._part_of[index].terms
            words = wire.read_words(reply, words=terms.words, dtype=Ring(terms.ring_bits).dtype)
            self._part_of[index].server.take_masked(index, words)
            self.epsilon = max(filter(None, (self.epsilon, wire.read_epsilon(reply))), default=None)

        self._trip("train", wire.MASKED, contents, take, meanwhile=meanwhile)
        for part in self._living():
            with _closing(part):
                part.survivors = part.server.close_masked()

    def _agree(self) -> None:
        contents = {
            index: wire.content_of_slot(part.slot, part.survivors)
            for part in self._living()
            for index in part.survivors
        }

        def take(index: int, reply: Message) -> None:
            agreement = Agreement.from_bytes(wire.read_bytes(reply, "agreement"))
            self._part_of[index].server.take_agreement(index, agreement)

        self._trip("agree", wire.AGREE, contents, take)
        for part in self._living():
            with _closing(part):
                part.agreements = part.server.close_agreements()

    def _open(self) -> None:
        contents: dict[int, RecordDict] = {}
        for part in self._living():
            part.opened = True
            order = OpenOrder(part.slot, part.agreements, self._next(part))
            contents |= dict.fromkeys(part.agreements, wire.content_of_open(order))

        def take(index: int, reply: Message) -> None:
            part = self._part_of[index]
            part.server.take_opening(index, Opening.from_bytes(wire.read_bytes(reply, "opening")))
            following, advert = self._next(part), wire.read_bytes(reply, "advert", default=b"")
            if following is not None and advert:
                self.standing[index] = Standing(self._members[index], following, Advert.from_bytes(advert))

        self._trip("open", wire.OPEN, contents, take)
        for part in self._living():
            with _closing(part):
                part.sum = part.server.close()

    def _living(self) -> list[Part]:
        return [part for part in self.parts if part.failure is None]

    def _next(self, part: Part) -> Slot | None:
        if self._following is None:
            return None
        return Slot(part.slot.run, part.slot.round + 1, self._following, part.slot.group)

    def _trip(
        self,
        name: str,
        kind: str,
        contents: Mapping[int, RecordDict],
        take: Take,
        *,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Send each site its content, and take each answer until the deadline."""
        began, limit_s = self._courier.clock(), self._order.config.round_timeout_s
        timeout_s = limit_s if kind == wire.MASKED else min(_TRIP_S, _TRIP_SHARE * limit_s)
        messages = {}
        for index, content in contents.items():
            member = self._members[index]
            # The message outlives the trip a little, so that a late answer can still be told from a lost one.
            messages[member] = Message(
                content,
                dst_node_id=member.node_id,
                message_type=kind,
                group_id=str(self._order.round),
                ttl=4 * limit_s + 600,
            )
        dispatch = self._courier.send(messages, round=self._order.round)
        self.bytes_down += dispatch.payload_bytes
        meanwhile()
        for sent, reply in self._courier.arrivals(dispatch, timeout_s=timeout_s):
            self.bytes_up += payload_bytes(reply)
            self._hear(sent, reply, take, trains=kind == wire.MASKED)
        self.seconds[name] = round(self._courier.clock() - began, 3)

    def _hear(self, sent: Sent, reply: Message, take: Take, *, trains: bool) -> None:
        member, number = sent.member, self._order.round
        if is_lost(reply):
            refusal = unreadable(reply)
            if refusal is None:
                self._events.append("reply-missing", round=number, site=member.name, reason="unreachable")
            else:
                self._reject(member, str(refusal.reason), refusal.detail)
            return
        if reply.has_error():
            said = reply.error.reason or "no reason given"
            self.refusals[member.name] = said
            self._reject(member, str(Reason.SITE_ERROR), said)
            return
        taken = self._guarded(member.entry.index, partial(take, member.entry.index, reply))
        if taken and trains:
            self._events.append(
                "reply-accepted",
                round=number,
                site=member.name,
                weight=member.entry.samples,
                elapsed_s=round(self._courier.clock() - sent.at, 3),
                bytes_up=payload_bytes(reply),
                bytes_down=sent.payload_bytes,
            )

    def _guarded(self, index: int, take: Callable[[], None]) -> bool:
        """Take a message; a refusal names its sender and ends the sender's part, not the round."""
        try:
            take()
        except SecAggError as error:
            self.convicted.add(index)
            self._reject(self._members[index], error.code, str(error))
            return False
        return True

    def _reject(self, member: Member, reason: str, detail: str) -> None:
        self._events.append(
            "reply-rejected", round=self._order.round, site=member.name, reason=reason, detail=detail[:500]
        )


def forget(courier: Courier, members: Iterable[Member], *, round: int) -> None:
    """Tell sites to drop what they hold for a sum that will not be; nobody waits for long."""
    messages = {
        member: Message(RecordDict(), dst_node_id=member.node_id, message_type=wire.FORGET, group_id=str(round))
        for member in members
    }
    for _ in courier.arrivals(courier.send(messages, round=round), timeout_s=_FORGET_S):
        pass


@contextmanager
def _closing(part: Part) -> Iterator[None]:
    """The end of a trip: a refusal gives the part up, and the other groups go on."""
    try:
        yield
    except SecAggError as error:
        part.failure = error
