"""A grid whose sites are scripted by the test, and a place for events: the coordinator's parts without training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Error, Message
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.app.identity import Roster, RosterEntry, SiteSigner, join_statement
from secure_fl.app.messages import Introduction, introduction_reply

Handler = Callable[[Message], Message | None]


class Events(list):
    """Remembers (kind, fields)."""

    def append(self, kind: str, **fields: Any) -> None:  # type: ignore[override]
        super().append((kind, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The fields of each event of a kind."""
        return [fields for each, fields in self if each == kind]


class ScriptedGrid:
    """Flower's Grid as far as the coordinator uses it; `handlers[node]` answers, or None for silence."""

    def __init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
        self.handlers: dict[int, Handler] = {}
        self.offline: set[int] = set()
        self.sent: list[Message] = []
        self._replies: dict[str, Message] = {}
        self._numbers = itertools.count()

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self.handlers if node not in self.offline]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message_id = f"m{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = message_id
            self.sent.append(message)
            reply = self.handlers[message.metadata.dst_node_id](message)
            if reply is not None:
                self._replies[message_id] = reply
            ids.append(message_id)
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(each) for each in list(ids) if each in self._replies]

    def deliver(self, message: Message, reply: Message) -> None:
        """A reply that comes later than its message."""
        self._replies[message.metadata.message_id] = reply


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def signer_of(index: int) -> SiteSigner:
    return SiteSigner(Ed25519PrivateKey.from_private_bytes(bytes([index + 1] * 32)))


def introduce(number: int, /, **changes: Any) -> Handler:
    """A site that answers the query as site `number` would, with `changes` to its claim or signature."""

    def handler(message: Message) -> Message:
        order = message.content["order"]
        claim = {"site": f"site-{number}", "index": number, "samples": 10, "data": "sha256:0", **changes}
        signature = claim.pop("signature", None)
        nonce = claim.pop("nonce", order["nonce"])
        key = claim.pop("key", number)
        statement = join_statement(run=order["run"], nonce=nonce, **claim)
        signed = signer_of(key).sign(statement) if signature is None else signature
        return introduction_reply(message, Introduction(signature=signed, **claim))

    return handler


def failing(code: int, reason: str) -> Handler:
    return lambda message: Message(Error(code=code, reason=reason), reply_to=message)


@pytest.fixture
def grid() -> ScriptedGrid:
    return ScriptedGrid()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def roster() -> Roster:
    return Roster(
        tuple(
            RosterEntry(f"site-{i}", i, signer_of(i).public_hex, "", "", samples=100 if i == 0 else None)
            for i in range(3)
        )
    )
