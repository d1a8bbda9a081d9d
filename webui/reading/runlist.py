"""The list of runs as somebody asked for it: filtered and in an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secure_fl.runs.index import RunRow

__all__ = ["COLUMNS", "Selection", "selected"]

# By column: what to sort by. Rows without a value come last in either direction.
COLUMNS: dict[str, Callable[[RunRow], Any]] = {
    "created": lambda row: row.created,
    "status": lambda row: row.status,
    "dataset": lambda row: row.dataset.lower() or None,
    "model": lambda row: row.model or None,
    "sites": lambda row: row.sites or None,
    "round": lambda row: row.round,
    "accuracy": lambda row: row.accuracy,
    "loss": lambda row: row.loss,
    "seconds": lambda row: row.seconds or None,
}


@dataclass(frozen=True)
class Selection:
    """text: words that all must occur in id, data set, model, grid or partition; sort: a key of COLUMNS."""

    text: str = ""
    status: str = ""
    sort: str = "created"
    descending: bool = True

    def __post_init__(self) -> None:
        if self.sort not in COLUMNS:
            raise ValueError(f"runs cannot be sorted by {self.sort!r}")


def selected(rows: Sequence[RunRow], wanted: Selection) -> tuple[RunRow, ...]:
    """The rows that match, in order; rows that are equal stay as they were."""
    words = wanted.text.lower().split()
    matching = [row for row in rows if wanted.status in ("", row.status) and all(word in _text(row) for word in words)]
    key = COLUMNS[wanted.sort]
    known = [row for row in matching if key(row) is not None]
    unknown = [row for row in matching if key(row) is None]
    return (*sorted(known, key=key, reverse=wanted.descending), *unknown)


def _text(row: RunRow) -> str:
    return " ".join((row.id, row.dataset, row.model, row.grid, row.partition, row.status, f"seed {row.seed}")).lower()
