"""Whether a run that says it is running still does: its process may have died without a word.

`run-started` names a process. A number alone is not enough, since numbers are used again after a while
and after a reboot; so a process that was born after the event does not count.
"""

from __future__ import annotations

from secure_fl.runs.rows import RunStatus, RunSummary

__all__ = ["is_alive", "live_status"]

# The kernel's birth times and the clock of the events differ by a few hundredths of a second.
_BIRTH_SLACK_S = 1.0


def live_status(summary: RunSummary) -> RunStatus:
    """The recorded status, corrected for a process that died without a word."""
    if summary.recorded_status is not RunStatus.RUNNING:
        return summary.recorded_status
    alive = is_alive(summary.pid, summary.attempt_started_s)
    return RunStatus.RUNNING if alive else RunStatus.INTERRUPTED


def is_alive(pid: int | None, started_s: float | None) -> bool:
    """Whether the process that wrote `run-started` still lives; a younger process with its number does not count."""
    import psutil

    if pid is None or started_s is None:
        return False
    try:
        process = psutil.Process(pid)
        born_s = process.create_time()
        return born_s <= started_s + _BIRTH_SLACK_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
