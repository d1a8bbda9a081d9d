"""Is a record whole and unaltered? The chain first, then every file whose hash the chain holds.

What this can and cannot prove stands in `events`: it finds every alteration by somebody who did not
also rewrite the whole chain, and it cannot see that lines were cut off the end, except by what they
left behind (a checkpoint that no event names is told as a note; a crash leaves the same).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secure_fl.errors import IntegrityError
from secure_fl.runs import checkpoints
from secure_fl.runs.atomic import file_sha256
from secure_fl.runs.events import Event
from secure_fl.runs.rounds import summarise

if TYPE_CHECKING:
    from secure_fl.runs.record import RunRecord

__all__ = ["Verification", "check_file", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """A record that was found whole. `head` is the hash of the last event: keep it elsewhere to detect cuts."""

    events: int
    head: str
    files: tuple[str, ...]
    notes: tuple[str, ...]


def verify(record: RunRecord) -> Verification:
    """Check everything.

    Raises:
        IntegrityError: names the line that breaks the chain, or the file that is missing or altered.
    """
    reader = record.follow()
    events = reader.poll()
    notes = [
        f"{event['bytes']} bytes of a torn line lie in {event['file']}" for event in _of(events, "record-repaired")
    ]
    if reader.torn_bytes:
        notes.append(f"the last line ({reader.torn_bytes} bytes) is torn; the next append moves it aside")
    expected = _expected_files(events)
    for name, sha256 in expected.items():
        check_file(record.folder / name, sha256)
    for path in sorted((record.folder / checkpoints.FOLDER).glob("round-*.safetensors")):
        if f"{checkpoints.FOLDER}/{path.name}" not in expected:
            notes.append(f"no event names {checkpoints.FOLDER}/{path.name}; it does not count")
    return Verification(len(events), events[-1].hash, tuple(expected), tuple(notes))


def check_file(path: Path, sha256: str) -> None:
    """Refuse a file that is missing or whose bytes are not those that the chain names."""
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing", why="the record's events name it with its hash") from None
    if found != sha256:
        raise IntegrityError(
            f"{path} was altered",
            why=f"its SHA-256 is {found[:12]}…, the record's events say {sha256[:12]}…",
            fix="restore the file from a copy",
        )


def _expected_files(events: list[Event]) -> dict[str, str]:
    """SHA-256 by path inside the run folder; of a file that was written again, the newest."""
    born = events[0]
    expected = {"config.json": born["config_sha256"], "environment.json": born["environment_sha256"]}
    for event in _of(events, "data-described") + _of(events, "record-repaired"):
        expected[event["file"]] = event["sha256"]
    summary = summarise(events)
    for row in summary.rounds:
        if row.checkpoint_sha256:
            path = checkpoints.checkpoint_path(Path(), row.round)
            expected[str(path)] = row.checkpoint_sha256
    if summary.end.get("model_file_sha256"):  # `model_sha256` is of the numbers alone, whatever the file
        expected["model.safetensors"] = summary.end["model_file_sha256"]
    return expected


def _of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]
