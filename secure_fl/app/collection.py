"""One round's traffic: send the order to each site, judge what comes back, know who is missing.

A site that does not answer in time stays *busy*: it gets no further order until its old answer arrives
(which is then late and unused), Flower reports it gone, or it connects anew. So one hanging site costs
one time limit, not one in each round, and it takes part again as soon as it shows life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flwr.app import Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from defenses.guard import Reason, Refusal, UpdateRules
from secure_fl.app.membership import EventSink, Member, Membership
from secure_fl.app.messages import (
    Order,
    Update,
    order_message,
    over_budget,
    payload_bytes,
    read_metrics,
    read_update,
)
from secure_fl.app.untrusted import unreadable

__all__ = ["Collector", "RoundReplies", "weight_of"]

# A poll costs some milliseconds of CPU, which training could use: the longer a round lasts, the rarer we ask.
_POLL_S, _POLL_MAX_S, _POLL_SHARE = 0.1, 0.5, 0.02
# Flower's error codes for a node that is gone and for objects that never arrived.
_UNREACHABLE_CODES = frozenset(
    {
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
    }
)


@dataclass
class RoundReplies:
    """What one round brought: accepted updates in roster order, with the member each came from.

    `over_budget`: by site, what it said when its privacy budget did not allow the round. `refused`: sites whose reply
    the guard turned away: hostile or broken, and so among the f that a robust rule was built for.
    """

    accepted: list[tuple[Member, Update]] = field(default_factory=list)
    over_budget: dict[str, str] = field(default_factory=dict)
    refused: list[Member] = field(default_factory=list)
    bytes_down: int = 0
    bytes_up: int = 0


@dataclass(frozen=True)
class _Sent:
    member: Member
    round: int
    at: float
    payload_bytes: int


class Collector:
    """Sends orders and gathers judged replies; remembers across rounds who still owes an answer."""

    def __init__(
        self,
        grid: Grid,
        membership: Membership,
        events: EventSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._membership, self._events = grid, membership, events
        self._clock, self._sleep = clock, sleep
        self._owed: dict[str, _Sent] = {}

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer."""
        self._hear_late()
        busy = {sent.member for sent in self._owed.values()}
        return [member for member in self._membership.present() if member not in busy]

    def train(
        self,
        order: Order,
        members: list[Member],
        *,
        rules: UpdateRules,
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> RoundReplies:
        """Run the train phase of `order.round` with `members`; returns when all answered or time is up.

        `meanwhile`: what the coordinator does while the sites begin to train; the time limit runs from its end.
        """
        replies = RoundReplies()
        waiting = self._send(order, members, kind=MessageType.TRAIN, timeout_s=timeout_s, meanwhile=meanwhile)
        replies.bytes_down = sum(self._owed[each].payload_bytes for each in waiting)
        for sent, reply in self._arrivals(waiting, timeout_s):
            replies.bytes_up += payload_bytes(reply)
            self._judge(reply, sent, order, rules, replies)
        for message_id in waiting:
            self._events.append(
                "reply-missing", round=order.round, site=self._owed[message_id].member.name, reason="timeout"
            )
        replies.accepted.sort(key=lambda pair: pair[0].entry.index)
        return replies

    def evaluate(self, order: Order, members: list[Member], *, timeout_s: float) -> None:
        """Let sites measure the model on their own images; each answer becomes an event."""
        waiting = self._send(order, members, kind=MessageType.EVALUATE, timeout_s=timeout_s)
        for sent, reply in self._arrivals(waiting, timeout_s):
            self._events.append("site-evaluated", round=order.round, site=sent.member.name, **read_metrics(reply))

    def _send(
        self,
        order: Order,
        members: list[Member],
        *,
        kind: str,
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> set[str]:
        # The message outlives the round a little, so that a late answer can still be told from a lost one.
        ttl_s = 4 * timeout_s + 600
        messages = [order_message(member.node_id, order, kind=kind, ttl_s=ttl_s) for member in members]
        size = payload_bytes(messages[0]) if messages else 0
        now, waiting = self._clock(), set()
        pushed = list(self._grid.push_messages(messages))
        meanwhile()
        for member, message_id in zip(members, pushed, strict=True):
            if message_id:
                self._owed[message_id] = _Sent(member, order.round, now, size)
                waiting.add(message_id)
            else:
                self._events.append("reply-missing", round=order.round, site=member.name, reason="unreachable")
        return waiting

    def _arrivals(self, waiting: set[str], timeout_s: float) -> Iterator[tuple[_Sent, Message]]:
        """Each answer as it comes, until `waiting` (which shrinks) is empty or time is up."""
        began = self._clock()
        while waiting and self._clock() - began < timeout_s:
            owed = len(waiting)
            yield from self._pull(waiting)
            if len(waiting) == owed:
                self._sleep(min(_POLL_MAX_S, max(_POLL_S, _POLL_SHARE * (self._clock() - began))))

    def _pull(self, waiting: set[str]) -> Iterator[tuple[_Sent, Message]]:
        for reply in self._grid.pull_messages(list(waiting)):
            message_id = reply.metadata.reply_to_message_id
            if message_id in waiting:
                waiting.discard(message_id)
                yield self._owed.pop(message_id), reply

    def _judge(self, reply: Message, sent: _Sent, order: Order, rules: UpdateRules, replies: RoundReplies) -> None:
        name = sent.member.name
        judged: Update | Refusal | None
        if reply.has_error() and reply.error.code in _UNREACHABLE_CODES:
            judged = unreadable(reply)
        else:
            judged = read_update(reply, order, sent.member.entry, rules=rules, sample_cap=order.config.sample_cap)
        if judged is None:
            self._events.append("reply-missing", round=order.round, site=name, reason="unreachable")
            return
        if isinstance(judged, Refusal):
            if over_budget(judged):
                replies.over_budget[name] = judged.detail
            if judged.reason is not Reason.SITE_ERROR:  # one that says that it failed may be honest
                replies.refused.append(sent.member)
            self._events.append(
                "reply-rejected", round=order.round, site=name, reason=str(judged.reason), detail=judged.detail[:500]
            )
            return
        replies.accepted.append((sent.member, judged))
        self._events.append(
            "reply-accepted",
            round=order.round,
            site=name,
            weight=weight_of(sent.member, judged),
            samples=judged.samples,
            elapsed_s=round(self._clock() - sent.at, 3),
            bytes_up=judged.payload_bytes,
            bytes_down=sent.payload_bytes,
            **judged.metrics,
        )

    def _hear_late(self) -> None:
        """Take answers to earlier rounds off the books; they are recorded and not used."""
        if not self._owed:
            return
        for sent, reply in self._pull(set(self._owed)):
            if not reply.has_error():
                self._events.append("reply-late", round=sent.round, site=sent.member.name)


def weight_of(member: Member, update: Update) -> int:
    """The site's weight in FedAvg: what the roster declares, else its own (already capped) count."""
    return member.entry.samples if member.entry.samples is not None else update.samples
