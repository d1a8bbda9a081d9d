"""A run's numbers for other tools: CSV tables, or one JSON document.

    rounds.csv   one row a round: the global model on the test images
    sites.csv    one row a site and round: what it reported, or why it did not count
    run.json     all of it, with settings, environment and data

A cell that a spreadsheet would take for a formula gets a leading apostrophe, as OWASP advises, since site
names and reasons come from elsewhere. Empty cells are numbers that are missing or were not finite.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_fl.runs.atomic import write_atomic, writing
from secure_fl.runs.record import pretty
from secure_fl.runs.rows import Exclusion, RoundRow, RunSummary, SiteRow

if TYPE_CHECKING:
    from secure_fl.runs.record import RunRecord

__all__ = ["ExportFormat", "export", "rounds_csv", "run_document", "sites_csv"]

_ROUND_COLUMNS = (
    "round", "started", "finished", "seconds", "loss", "accuracy", "samples", "train_loss", "update_norm",
    "bytes_up", "bytes_down",
)  # fmt: skip
_SITE_COLUMNS = tuple(each.name for each in fields(SiteRow) if each.name != "per_class_accuracy")


class ExportFormat(StrEnum):
    """What `export` can write."""

    CSV = "csv"
    JSON = "json"


def export(record: RunRecord, to: ExportFormat, out: Path | None = None) -> list[Path]:
    """Write the run's numbers into the folder `out` (the record's `export/` by default); returns the files.

    Raises:
        SecureFLError: the folder cannot be written.
    """
    folder = record.folder / "export" if out is None else out
    summary = record.summary()
    match to:
        case ExportFormat.CSV:
            texts = {"rounds.csv": rounds_csv(summary.rounds), "sites.csv": sites_csv(summary.rounds)}
        case ExportFormat.JSON:
            texts = {"run.json": pretty(run_document(record, summary)).decode()}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    return [folder / name for name in texts]


def rounds_csv(rounds: Sequence[RoundRow]) -> str:
    """Global metrics; `class_0 …` is the accuracy on each class, in the order of the data set's classes."""
    classes = max((len(row.per_class_accuracy) for row in rounds), default=0)
    header = [*_ROUND_COLUMNS, "accepted", "rejected", "missing", "late", *(f"class_{k}" for k in range(classes))]
    return _csv(header, (_round_cells(row, classes) for row in rounds))


def sites_csv(rounds: Sequence[RoundRow]) -> str:
    """Per-site metrics; `outcome` is accepted, rejected, missing or late, with `reason` unless accepted."""
    header = [*_SITE_COLUMNS[:2], "outcome", "reason", *_SITE_COLUMNS[2:]]
    return _csv(header, (cells for row in rounds for cells in _site_cells(row)))


def run_document(record: RunRecord, summary: RunSummary) -> dict[str, Any]:
    """Everything about a run as JSON-able types."""
    return {
        "run_id": record.id,
        "status": record.status().value,
        "settings": record.config.to_mapping(),
        "origins": dict(record.origins),
        "environment": record.environment,
        "data": record.data,
        "created": summary.created,
        "started": summary.started,
        "finished": summary.finished,
        "seconds": summary.active_s,
        "attempts": summary.attempts,
        "start": summary.start,
        "end": summary.end,
        "rounds": [asdict(row) for row in summary.rounds],
        "refused": [asdict(each) for each in summary.refused],
        "final_evaluations": [asdict(each) for each in summary.evaluations],
    }


def _round_cells(row: RoundRow, classes: int) -> list[object]:
    counts = [sum(each.outcome == outcome for each in row.excluded) for outcome in ("rejected", "missing", "late")]
    padded = [*row.per_class_accuracy, *[None] * (classes - len(row.per_class_accuracy))]
    return [*(getattr(row, name) for name in _ROUND_COLUMNS), len(row.accepted), *counts, *padded]


def _site_cells(row: RoundRow) -> Iterable[list[object]]:
    for site in row.sites:
        values = [getattr(site, name) for name in _SITE_COLUMNS]
        yield [*values[:2], "accepted", None, *values[2:]]
    for excluded in row.excluded:
        yield [excluded.round, excluded.site, excluded.outcome, _words(excluded), *[None] * (len(_SITE_COLUMNS) - 2)]


def _words(excluded: Exclusion) -> str:
    return f"{excluded.reason}: {excluded.detail}" if excluded.detail else excluded.reason


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
