"""Which sites are here: from Flower's node numbers to names in the roster.

Flower knows a node by a random number bound to its node key. We ask each new node who it is; it answers
a fresh nonce with its identity signature (`join_statement`), so that an answer cannot be replayed. A
node that is not in the roster, speaks for another site, or signs wrongly is refused by name, once, and
never receives a model.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Message
from flwr.serverapp import Grid

from defenses.guard import Refusal
from secure_fl.app.identity import Roster, RosterEntry, join_statement, verify
from secure_fl.app.messages import Introduction, over_budget, query_message, read_introduction
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError

__all__ = ["EventSink", "Member", "Membership"]

_POLL_S = 0.1


class EventSink(Protocol):
    """Where the coordinator's events go: the run record."""

    def append(self, kind: str, **fields: object) -> None:
        """Record one event."""


@dataclass(frozen=True, slots=True)
class Member:
    """A site that proved who it is, Flower's number for it, and since when it has been connected.

    A site that was restarted is another member of the same name: what its former self owes is lost.
    """

    entry: RosterEntry
    node_id: int
    session: str

    @property
    def name(self) -> str:
        """The site's name in the roster."""
        return self.entry.name


@dataclass(slots=True)
class _Query:
    node_id: int
    session: str
    nonce: str


class Membership:
    """The present sites of one run. `refresh` is cheap and is called wherever the coordinator waits."""

    def __init__(
        self,
        grid: Grid,
        roster: Roster,
        config: RunConfig,
        *,
        run: str,
        events: EventSink,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._roster, self._config, self._run, self._events = grid, roster, config, run, events
        self._clock, self._sleep = clock, sleep
        self._members: dict[int, Member] = {}
        self._online: dict[int, str] = {}
        self._queries: dict[str, _Query] = {}
        self._asked: set[tuple[int, str]] = set()
        self.unwilling: dict[int, str] = {}
        """Nodes that the run would cost more privacy than they have left, and what they said."""

    def present(self) -> list[Member]:
        """The sites that are online and known, in the order of the roster."""
        return sorted(self._members.values(), key=lambda member: member.entry.index)

    def refresh(self) -> None:
        """Notice nodes that came or went; ask the new ones who they are; read answers."""
        self._online = _sessions(self._grid)
        for member in self.present():
            if self._online.get(member.node_id) != member.session:
                del self._members[member.node_id]
                self._asked.discard((member.node_id, member.session))
                self._events.append("site-left", site=member.name)
        self._ask()
        self._hear()

    def wait_for(self, count: int, *, timeout_s: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Return when at least `count` sites are present or have declined, or when `stop()`.

        Raises:
            QuorumError: fewer are present after `timeout_s`.
        """
        deadline = self._clock() + timeout_s
        while True:
            self.refresh()
            here = [member.name for member in self.present()]
            if len(here) + len(self.unwilling) >= count or stop():
                return
            if self._clock() > deadline:
                raise QuorumError(
                    f"only {len(here)} of {count} needed sites joined within {timeout_s:g} s",
                    why=f"present: {', '.join(here) or 'none'}",
                    fix="look at the sites' logs, or raise join-timeout-s",
                )
            self._sleep(_POLL_S)

    def _ask(self) -> None:
        """Ask each connection once: a site may take minutes to load its images before it answers."""
        for node_id, session in sorted(self._online.items()):
            if (node_id, session) in self._asked:
                continue
            nonce = secrets.token_hex(16)
            message = query_message(node_id, run=self._run, nonce=nonce, config=self._config)
            for message_id in self._grid.push_messages([message]):
                if message_id:
                    self._asked.add((node_id, session))
                    self._queries[message_id] = _Query(node_id, session, nonce)

    def _hear(self) -> None:
        if not self._queries:
            return
        for reply in self._grid.pull_messages(list(self._queries)):
            query = self._queries.pop(reply.metadata.reply_to_message_id, None)
            if query is not None:
                self._admit(query, reply)

    def _admit(self, query: _Query, reply: Message) -> None:
        if self._online.get(query.node_id) != query.session:
            return  # it connected anew since, and was asked again
        told = read_introduction(reply)
        if isinstance(told, Refusal):
            if over_budget(told):
                self.unwilling[query.node_id] = told.detail
            self._refuse(f"node {query.node_id}", f"{told.reason}: {told.detail}")
            return
        entry = self._roster.by_name(told.site)
        reason = self._objection(told, query.nonce, entry)
        if reason or entry is None:
            self._refuse(told.site, reason)
            return
        self._members[query.node_id] = Member(entry, query.node_id, query.session)
        # Under secure aggregation a site whose count is not public keeps it to itself.
        counted = told.samples or None
        self._events.append("site-joined", site=entry.name, index=entry.index, samples=counted, data=told.data)

    def _objection(self, told: Introduction, nonce: str, entry: RosterEntry | None) -> str:
        """Why this introduction is not believed; empty when it is."""
        if entry is None:
            return "not in the roster"
        if told.index != entry.index:
            return f"claims index {told.index}; the roster says {entry.index}"
        if any(member.name == entry.name for member in self._members.values()):
            return "another node already speaks for this site"
        statement = join_statement(
            run=self._run, nonce=nonce, site=told.site, index=told.index, samples=told.samples, data=told.data
        )
        if entry.identity_key and not verify(entry.identity_key, statement, told.signature):
            return "the signature does not fit the site's identity key"
        return ""

    def _refuse(self, who: str, reason: str) -> None:
        self._events.append("site-refused", who=who, reason=reason)


def _sessions(grid: Grid) -> dict[int, str]:
    """Nodes that are online, and since when. Flower keeps a restarted node's number, so the time tells."""
    nodes = getattr(grid, "get_nodes", None)
    if nodes is None:
        return {node_id: "" for node_id in grid.get_node_ids()}
    return {node.node_id: node.last_activated_at for node in nodes()}
