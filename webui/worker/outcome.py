"""How a job's process ended, read from what it left behind.

The files say more than an exit code, and they say it also to a worker that is not the parent of the process (the
parent was killed, and this one took over). `secure-fl --format jsonl` ends with an envelope whose `terminal` is true;
a process that left none did not end by itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.store.jobs import JobState

__all__ = ["Outcome", "envelope", "outcome", "run_id"]

_TAIL_BYTES = 1 << 20
_HEADLINE = re.compile(r"^(\d{8}-\d{6}-[0-9a-z]{4,}) · ", re.MULTILINE)
_SAVED = 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """What goes into the job's row."""

    state: JobState
    exit_code: int | None
    message: str


def outcome(folder: Path, *, exit_code: int | None, cancelled: bool) -> Outcome:
    """The verdict on the job whose files lie in `folder`; `exit_code` is None where nobody could see it."""
    said = envelope(folder)
    if said is not None and said["status"] == "ok" and not exit_code:
        return Outcome(JobState.SUCCEEDED, 0, "")
    if said is not None and said["status"] == "error":
        code = int(said.get("exit_code") or 1)
        saved = JobState.CANCELLED if cancelled else JobState.INTERRUPTED
        reason = f"{said['message']}: {said['why']}" if said.get("why") else str(said["message"])
        return Outcome(saved if code == _SAVED else JobState.FAILED, code, reason)
    if said is not None:  # it told its result, and an exit code that is a verdict: something was found, say
        return Outcome(JobState.FAILED, exit_code, f"ended with exit code {exit_code}")
    if cancelled:
        return Outcome(JobState.CANCELLED, exit_code, "ended before it could save")
    if exit_code is None or exit_code < 0:
        how = f" by signal {-exit_code}" if exit_code else ""
        return Outcome(JobState.INTERRUPTED, exit_code, f"its process was killed{how}")
    return Outcome(JobState.FAILED, exit_code, _last_line(folder / "stderr.log") or f"exit code {exit_code}")


def envelope(folder: Path) -> dict[str, Any] | None:
    """The result that the process printed last; None if it came to none."""
    for line in reversed(_tail(folder / "stdout.jsonl").splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        if isinstance(document, dict) and document.get("terminal") is True:
            return document
        return None
    return None


def run_id(folder: Path) -> str | None:
    """The run that the process records, from the headline that it prints; None as long as there is none."""
    found = _HEADLINE.search(_tail(folder / "stderr.log"))
    return found[1] if found else None


def _last_line(path: Path) -> str:
    lines = _tail(path).strip().splitlines()
    return lines[-1][:300] if lines else ""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
