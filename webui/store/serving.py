"""Which model is in service, and who let it in: one proposes, another approves.

Separation of duties: whoever proposed a model cannot approve it, and no admin can do either; the table itself refuses a
row in which both are the same person. An approved model stays in service until another one is approved.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from secure_fl.errors import ConfigError, NotFoundError
from webui.store.db import Database
from webui.store.users import StaleError

__all__ = ["Promotion", "PromotionState", "Serving"]

_SELECT = """SELECT p.id, p.run_id, p.model_sha256, p.state, p.proposer_id, u.name AS proposer, p.proposed_s,
    d.name AS decider, p.decided_s, p.version
    FROM promotions p JOIN users u ON u.id = p.proposer_id LEFT JOIN users d ON d.id = p.decider_id"""


class PromotionState(StrEnum):
    """How far a proposal has come."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One proposal and what became of it. model_sha256: of the model file, which is compared before it is served."""

    id: str
    run_id: str
    model_sha256: str
    state: PromotionState
    proposer_id: str
    proposer: str
    proposed_s: float
    decider: str | None
    decided_s: float | None
    version: int


class Serving:
    """The proposals."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def list(self) -> list[Promotion]:
        """All proposals, newest first."""
        return [_promotion(row) for row in self._database.reading().execute(_SELECT + " ORDER BY p.proposed_s DESC")]

    def current(self) -> Promotion | None:
        """The approved one."""
        row = self._database.reading().execute(_SELECT + " WHERE p.state = 'approved'").fetchone()
        return row and _promotion(row)

    def propose(self, run_id: str, model_sha256: str, proposer_id: str) -> str:
        """A new proposal's id.

        Raises:
            ConfigError: this model is proposed or in service already.
        """
        id = str(uuid.uuid4())
        with self._database.writing() as connection:
            open_one = connection.execute(
                "SELECT 1 FROM promotions WHERE model_sha256 = ? AND state IN ('proposed', 'approved')", (model_sha256,)
            )
            if open_one.fetchone():
                raise ConfigError("this model is proposed or in service already")
            connection.execute(
                "INSERT INTO promotions (id, run_id, model_sha256, state, proposer_id, proposed_s)"
                " VALUES (?,?,?,?,?,?)",
                (id, run_id, model_sha256, PromotionState.PROPOSED.value, proposer_id, self._clock()),
            )
        return id

    def approve(self, id: str, decider_id: str, version: int) -> None:
        """Put a proposed model in service; the one before it is replaced.

        Raises:
            ConfigError: the decider proposed it. NotFoundError, StaleError: it is not there, or was decided meanwhile.
        """
        self._decide(id, decider_id, version, PromotionState.APPROVED)

    def refuse(self, id: str, decider_id: str, version: int) -> None:
        """Turn a proposal down; raises as `approve`."""
        self._decide(id, decider_id, version, PromotionState.REFUSED)

    def _decide(self, id: str, decider_id: str, version: int, state: PromotionState) -> None:
        with self._database.writing() as connection:
            row = connection.execute("SELECT * FROM promotions WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise NotFoundError("no such proposal")
            if row["version"] != version or row["state"] != PromotionState.PROPOSED.value:
                raise StaleError("somebody decided this meanwhile", fix="reload the page")
            if row["proposer_id"] == decider_id:
                raise ConfigError(
                    "whoever proposed a model cannot decide on it",
                    why="two people answer for what is in service",
                    fix="ask another auditor",
                )
            if state is PromotionState.APPROVED:
                connection.execute(
                    "UPDATE promotions SET state = 'replaced', version = version + 1 WHERE state = 'approved'"
                )
            connection.execute(
                "UPDATE promotions SET state = ?, decider_id = ?, decided_s = ?, version = version + 1 WHERE id = ?",
                (state.value, decider_id, self._clock(), id),
            )


def _promotion(row: sqlite3.Row) -> Promotion:
    return Promotion(**{**dict(row), "state": PromotionState(row["state"])})
