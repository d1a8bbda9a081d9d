"""Who did what, and when: a log whose rows cannot be changed without it showing.

Each row's hash covers the row and the hash before it (a chain), and after each row the last hash is signed (Ed25519).
So `verify` finds a row that was edited, deleted, added or moved, and, by the signed head, a tail that was cut.

Against: whoever can write the database, but not read the signing key. It does not hold against somebody with both, and
a database that was put back as a whole to an earlier state verifies: note the head elsewhere to see that too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webui.store.db import Database

__all__ = ["Action", "Actions", "ChainStatus"]

_FIRST = "0" * 64
_FIELDS = ("seq", "time_s", "user_name", "role", "address", "action", "object", "outcome", "request_id", "prev_hash")
_DOMAIN = b"secure-fl action log head v1\n"


@dataclass(frozen=True, slots=True)
class Action:
    """One row."""

    seq: int
    time_s: float
    user_name: str
    role: str
    address: str
    action: str
    object: str
    outcome: str
    request_id: str
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """What a check of the whole log found: `fault` is empty if nothing was altered."""

    rows: int
    head: str
    fault: str

    @property
    def ok(self) -> bool:
        """Whether the log is as it was written."""
        return not self.fault


class Actions:
    """The log. There is no way to change or delete a row."""

    def __init__(self, database: Database, clock: Callable[[], float], key: Ed25519PrivateKey) -> None:
        self._database, self._clock, self._key = database, clock, key

    def add(
        self,
        action: str,
        outcome: str,
        *,
        object: str = "",
        user_name: str = "",
        role: str = "",
        address: str = "",
        request_id: str = "",
    ) -> None:
        """Append a row and sign the new head; control characters are escaped, so that a row stays a line."""
        texts = [_plain(each) for each in (user_name, role, address, action, object, outcome, request_id)]
        with self._database.writing() as connection:
            last = connection.execute("SELECT seq, hash FROM actions ORDER BY seq DESC LIMIT 1").fetchone()
            seq, prev = (last["seq"] + 1, last["hash"]) if last else (1, _FIRST)
            values = (seq, self._clock(), *texts, prev)
            digest = _hash(values)
            connection.execute("INSERT INTO actions VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*values, digest))
            connection.execute(
                "INSERT OR REPLACE INTO action_head VALUES (1, ?, ?, ?)",
                (seq, digest, self._key.sign(_head(seq, digest)).hex()),
            )

    def latest(self, *, before: int | None = None, limit: int = 100) -> list[Action]:
        """Newest first; `before` is the last seq of the page before."""
        rows = self._database.reading().execute(
            "SELECT * FROM actions WHERE seq < ? ORDER BY seq DESC LIMIT ?", (before or 2**62, limit)
        )
        return [Action(**dict(row)) for row in rows]

    def verify(self) -> ChainStatus:
        """Read the whole log and say what, if anything, is wrong with it."""
        with self._database.writing() as connection:  # rows and head of one moment
            rows = connection.execute("SELECT * FROM actions ORDER BY seq").fetchall()
            head = connection.execute("SELECT * FROM action_head").fetchone()
        digest, count = _FIRST, 0
        for count, row in enumerate(rows, 1):
            if row["seq"] != count or row["prev_hash"] != digest:
                return ChainStatus(len(rows), digest, f"row {count} does not follow the one before it")
            digest = _hash(tuple(row[name] for name in _FIELDS))
            if row["hash"] != digest:
                return ChainStatus(len(rows), digest, f"row {count} was altered")
        return ChainStatus(count, digest, self._head_fault(head, count, digest))

    def _head_fault(self, head: sqlite3.Row | None, count: int, digest: str) -> str:
        if head is None:
            return "rows without a signed head" if count else ""
        try:
            self._key.public_key().verify(bytes.fromhex(head["signature"]), _head(head["seq"], head["hash"]))
        except (InvalidSignature, ValueError):
            return "the head is not signed with our key"
        if (head["seq"], head["hash"]) != (count, digest):
            return f"the signed head is row {head['seq']}, the log ends with row {count}"
        return ""


def _hash(values: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=True, allow_nan=False).encode()).hexdigest()


def _head(seq: int, digest: str) -> bytes:
    return _DOMAIN + f"{seq} {digest}".encode()


def _plain(text: str) -> str:
    escaped = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return escaped[:300].encode("utf-8", "replace").decode()
