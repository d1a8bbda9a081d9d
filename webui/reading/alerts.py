"""What somebody should look at now, in order of urgency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secure_fl.runs.index import DAMAGED, RunRow
from webui.reading.audits import AuditLine
from webui.reading.host import Host

__all__ = ["Alert", "alerts_of"]

_NEWEST = 20  # runs that are still news
_LITTLE_DISK = 0.05
_LITTLE_MEMORY = 0.05


@dataclass(frozen=True)
class Alert:
    """level: bad or warn; subject: the id of a run, or ""; page: "run", "audit" or "system"."""

    level: str
    page: str
    subject: str
    words: str


def alerts_of(rows: Sequence[RunRow], audits: Sequence[AuditLine], host: Host) -> tuple[Alert, ...]:
    """rows: newest first."""
    newest = rows[:_NEWEST]
    ids = {row.id for row in newest}
    found = [
        Alert("bad", "run", row.id, "The record was altered or cannot be read.")
        for row in rows
        if row.status == DAMAGED
    ]
    found += [
        Alert("bad", "audit", each.run, f"Audit failed: {each.reason}")
        for each in audits
        if each.verdict == "FAIL" and each.run in ids
    ]
    if host.disk_free_bytes < _LITTLE_DISK * host.disk_bytes:
        found.append(Alert("bad", "system", "", f"Only {host.disk_free_bytes / 1e9:.1f} GB of disk are free."))
    if host.memory > 1 - _LITTLE_MEMORY:
        found.append(Alert("warn", "system", "", f"{100 * host.memory:.0f} % of the memory is in use."))
    found += [
        Alert("warn", "run", row.id, f"Interrupted after round {row.round} of {row.rounds}; it can go on from there.")
        for row in newest
        if row.status == "interrupted"
    ]
    found += [
        Alert("warn", "run", row.id, f"Failed in round {row.round} of {row.rounds}.")
        for row in newest
        if row.status == "failed"
    ]
    return tuple(found)
