"""One round's traffic in the clear: send the order to each site, judge what comes back, know who is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from defenses.guard import Reason, Refusal, UpdateRules
from secure_fl.app.courier import Courier, Dispatch, Sent, is_lost
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


class Collector:
    """Sends orders and gathers judged replies."""

    def __init__(
        self,
        grid: Grid,
        membership: Membership,
        events: EventSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._events = events
        self._courier = Courier(grid, membership, events, clock=clock, sleep=sleep)

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer."""
        return self._courier.free_members()

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
        dispatch = self._send(order, members, kind=MessageType.TRAIN, timeout_s=timeout_s)
        replies.bytes_down = dispatch.payload_bytes
        meanwhile()
        for sent, reply in self._courier.arrivals(dispatch, timeout_s=timeout_s):
            replies.bytes_up += payload_bytes(reply)
            self._judge(reply, sent, order, rules, replies)
        replies.accepted.sort(key=lambda pair: pair[0].entry.index)
        return replies

    def evaluate(self, order: Order, members: list[Member], *, timeout_s: float) -> None:
        """Let sites measure the model on their own images; each answer becomes an event."""
        dispatch = self._send(order, members, kind=MessageType.EVALUATE, timeout_s=timeout_s)
        for sent, reply in self._courier.arrivals(dispatch, timeout_s=timeout_s):
            self._events.append("site-evaluated", round=order.round, site=sent.member.name, **read_metrics(reply))

    def _send(self, order: Order, members: list[Member], *, kind: str, timeout_s: float) -> Dispatch:
        # The message outlives the round a little, so that a late answer can still be told from a lost one.
        ttl_s = 4 * timeout_s + 600
        messages = {member: order_message(member.node_id, order, kind=kind, ttl_s=ttl_s) for member in members}
        return self._courier.send(messages, round=order.round)

    def _judge(self, reply: Message, sent: Sent, order: Order, rules: UpdateRules, replies: RoundReplies) -> None:
        name = sent.member.name
        judged: Update | Refusal | None
        if is_lost(reply):
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
            elapsed_s=round(self._courier.clock() - sent.at, 3),
            bytes_up=judged.payload_bytes,
            bytes_down=sent.payload_bytes,
            **judged.metrics,
        )


def weight_of(member: Member, update: Update) -> int:
    """The site's weight in FedAvg: what the roster declares, else its own (already capped) count."""
    return member.entry.samples if member.entry.samples is not None else update.samples
