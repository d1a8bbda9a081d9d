"""What a job's files say about how it ended; the process itself may be long gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from webui.store.jobs import JobState
from webui.worker.outcome import envelope, outcome, run_id

GOOD = {"status": "ok", "data": {"run_id": "r"}, "terminal": True}
SAVED = {"status": "error", "message": "run r was stopped", "why": "", "exit_code": 130, "terminal": True}
OVER = {"status": "error", "message": "no budget left", "why": "2.14 > 2.00", "exit_code": 3, "terminal": True}


def left_behind(folder: Path, *lines: object, stderr: str = "") -> Path:
    (folder / "stdout.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines), encoding="utf-8")
    (folder / "stderr.log").write_text(stderr, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("said", "exit_code", "cancelled", "state", "message"),
    [
        (GOOD, 0, False, JobState.SUCCEEDED, ""),
        (GOOD, None, False, JobState.SUCCEEDED, ""),  # seen by a worker that is not the parent
        (GOOD, 0, True, JobState.SUCCEEDED, ""),  # it was finished before it could be stopped
        (GOOD, 3, False, JobState.FAILED, "ended with exit code 3"),
        (SAVED, 130, False, JobState.INTERRUPTED, "run r was stopped"),
        (SAVED, None, True, JobState.CANCELLED, "run r was stopped"),
        (OVER, 3, False, JobState.FAILED, "no budget left: 2.14 > 2.00"),
        (None, -9, False, JobState.INTERRUPTED, "its process was killed by signal 9"),
        (None, None, False, JobState.INTERRUPTED, "its process was killed"),
        (None, -9, True, JobState.CANCELLED, "ended before it could save"),
        (None, 70, False, JobState.FAILED, "boom"),
    ],
)
def test_every_end_has_its_state(
    tmp_path: Path, said: object, exit_code: int | None, cancelled: bool, state: JobState, message: str
) -> None:
    folder = left_behind(tmp_path, {"kind": "round-finished"}, *([said] if said else []), stderr="note\nboom\n")
    found = outcome(folder, exit_code=exit_code, cancelled=cancelled)
    assert (found.state, found.message) == (state, message)


def test_a_line_that_a_kill_tore_is_no_result(tmp_path: Path) -> None:
    left_behind(tmp_path, {"kind": "round-finished"})
    with (tmp_path / "stdout.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"status": "ok", "terminal": tr')
    assert envelope(tmp_path) is None


def test_a_job_that_left_nothing_has_no_result_and_no_run(tmp_path: Path) -> None:
    assert envelope(tmp_path) is None
    assert run_id(tmp_path) is None


def test_a_run_is_known_as_soon_as_it_says_its_name(tmp_path: Path) -> None:
    left_behind(tmp_path, stderr="warning: slow disk\n20261124-225321-aaf2 · digits · light_cnn\nround 1\n")
    assert run_id(tmp_path) == "20261124-225321-aaf2"
