"""What the machine was doing: every second for an hour, every ten seconds for a day; older samples go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from webui.store.db import Database

__all__ = ["RINGS", "Samples"]

# Seconds between samples → seconds that they are kept.
RINGS = {1: 60 * 60, 10: 24 * 60 * 60}


class Samples:
    """Two rings of JSON documents (`webui.worker.metrics` says what is in them)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, time_s: int, document: Mapping[str, Any]) -> None:
        """Keep a sample of this second."""
        text = json.dumps(document)
        with self._database.writing() as connection:
            for step_s, kept_s in RINGS.items():
                if time_s % step_s == 0:
                    connection.execute("INSERT OR REPLACE INTO samples VALUES (?,?,?)", (step_s, time_s, text))
                    connection.execute(
                        "DELETE FROM samples WHERE step_s = ? AND time_s <= ?", (step_s, time_s - kept_s)
                    )

    def since(self, step_s: int, time_s: float) -> list[dict[str, Any]]:
        """Samples of the ring `step_s` (1 or 10) after `time_s`, the oldest first, each with its `time_s`."""
        rows = self._database.reading().execute(
            "SELECT time_s, document FROM samples WHERE step_s = ? AND time_s > ? ORDER BY time_s", (step_s, time_s)
        )
        return [{"time_s": row["time_s"], **json.loads(row["document"])} for row in rows]

    def latest(self) -> dict[str, Any] | None:
        """The newest sample."""
        row = (
            self._database.reading()
            .execute("SELECT time_s, document FROM samples WHERE step_s = 1 ORDER BY time_s DESC LIMIT 1")
            .fetchone()
        )
        return row and {"time_s": row["time_s"], **json.loads(row["document"])}
