"""Messages to sites and answers from them, with a time limit, and who still owes an answer.

A site that does not answer in time stays *busy*: it gets no further message until its old answer arrives
(which is then late and unused), Flower reports it gone, or it connects anew. So one hanging site costs
one time limit, not one in each round, and it takes part again as soon as it shows life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from secure_fl.app.membership import EventSink, Member, Membership
from secure_fl.app.messages import payload_bytes

__all__ = ["Courier", "Dispatch", "Sent", "is_lost"]

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


@dataclass(frozen=True)
class Sent:
    """One message on its way: to whom, in which round, when (on the courier's clock), and how large its records are."""

    member: Member
    round: int
    at: float
    payload_bytes: int


@dataclass
class Dispatch:
    """Messages that went out together; `waiting`, the ids of those not answered yet, shrinks as answers come."""

    round: int
    waiting: set[str]
    payload_bytes: int


class Courier:
    """Sends to sites and hears them; remembers across rounds who still owes an answer."""

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
        self.clock, self._sleep = clock, sleep
        # A grid that can hold a question back until it has an answer saves us from asking again and again.
        self._ask: Callable[[list[str]], Iterable[Message]] = getattr(grid, "await_messages", grid.pull_messages)
        self._owed: dict[str, Sent] = {}

    def free_members(self) -> list[Member]:
        """Present sites that owe no answer."""
        self._hear_late()
        busy = {sent.member for sent in self._owed.values()}
        return [member for member in self._membership.present() if member not in busy]

    def send(self, messages: Mapping[Member, Message], *, round: int) -> Dispatch:
        """Push one message a member; those that Flower cannot take are recorded as unreachable."""
        sizes = [payload_bytes(message) for message in messages.values()]
        now, dispatch = self.clock(), Dispatch(round, set(), 0)
        pushed = list(self._grid.push_messages(messages.values()))
        for member, message_id, size in zip(messages, pushed, sizes, strict=True):
            if message_id:
                self._owed[message_id] = Sent(member, round, now, size)
                dispatch.waiting.add(message_id)
                dispatch.payload_bytes += size
            else:
                self._events.append("reply-missing", round=round, site=member.name, reason="unreachable")
        return dispatch

    def arrivals(self, dispatch: Dispatch, *, timeout_s: float) -> Iterator[tuple[Sent, Message]]:
        """Each answer as it comes, until all are there or time is up; who has not answered then is recorded."""
        began, waiting = self.clock(), dispatch.waiting
        while waiting and self.clock() - began < timeout_s:
            owed, asked = len(waiting), self.clock()
            yield from self._taken(self._ask(list(waiting)), waiting)
            if len(waiting) == owed:
                pause = min(_POLL_MAX_S, max(_POLL_S, _POLL_SHARE * (asked - began)))
                self._sleep(max(0.0, asked + pause - self.clock()))
        for message_id in waiting:
            name = self._owed[message_id].member.name
            self._events.append("reply-missing", round=dispatch.round, site=name, reason="timeout")

    def _taken(self, replies: Iterable[Message], waiting: set[str]) -> Iterator[tuple[Sent, Message]]:
        for reply in replies:
            message_id = reply.metadata.reply_to_message_id
            if message_id in waiting:
                waiting.discard(message_id)
                yield self._owed.pop(message_id), reply

    def _hear_late(self) -> None:
        """Take answers to earlier messages off the books; they are recorded and not used."""
        if not self._owed:
            return
        for sent, reply in self._taken(self._grid.pull_messages(list(self._owed)), set(self._owed)):
            if not reply.has_error():
                self._events.append("reply-late", round=sent.round, site=sent.member.name)


def is_lost(reply: Message) -> bool:
    """Whether Flower speaks here instead of the site: it is gone, or its answer did not arrive as it should."""
    return reply.has_error() and reply.error.code in _UNREACHABLE_CODES
