"""`secure-fl runs …` as a person and as a program meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.runs import RunRecord

NewRecord = Callable[..., RunRecord]


def run_of(record: RunRecord, *, rounds: int = 3, status: str | None = "succeeded", pid: int = 2**30) -> RunRecord:
    """Write what a coordinator would, with two sites and one that is turned away."""
    record.append("run-started", pid=pid, resumed_from_round=None, grid="deployment", tls=True, mutual_tls=True)
    for number in range(rounds + 1):
        if number:
            record.append("round-started", round=number, sites=["site-0", "site-1", "site-2"])
            for site in ("site-0", "site-1"):
                metrics = {"samples": 400, "validation_loss": 0.5, "validation_accuracy": 0.8, "compute_s": 12.5}
                record.append("reply-accepted", round=number, site=site, bytes_up=8_950_000, **metrics)
            record.append("reply-rejected", round=number, site="site-2", reason="norm-cap", detail="L2 norm 4e7")
        saved = record.save_checkpoint(number, np.full(4, number, np.float32), "5bec")
        accepted = ["site-0", "site-1"] if number else []
        record.append(
            "round-finished",
            round=number,
            loss=2.3 / (number + 1),
            accuracy=0.1 + 0.2 * number,
            seconds=14.0,
            accepted=accepted,
            checkpoint=saved.name,
            checkpoint_sha256=saved.sha256,
        )
    if status:
        error = {"code": "QUORUM_LOST", "what": "too few replies", "why": "2 of 3", "fix": "wait"}
        record.append("run-finished", status=status, error=error if status == "failed" else None)
    return record


# -- list


def test_an_empty_home_names_the_command_that_changes_that(cli: Any) -> None:
    result = cli("runs", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no runs yet in runs; start one: secure-fl run --preset demo\n"
    assert cli.data("runs", "list") == {"runs": [], "notes": []}


def test_the_list_shows_each_run_in_one_line(cli: Any, new_record: NewRecord) -> None:
    first, second = run_of(new_record()), new_record(dataset="/data/chest scans", rounds=12)
    result = cli("runs", "list")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    (line,) = (line for line in lines if first.id in line)
    assert line.split()[1:8] == ["succeeded", "digits", "mobilenet_v2", "deployment", "3", "3/3", "70.0"]
    (line,) = (line for line in lines if second.id in line)
    assert line.split()[1:8] == ["created", "chest", "scans", "mobilenet_v2", "local", "3", "0/12"]


def test_a_program_gets_the_rows_as_numbers(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    (row,) = cli.data("runs", "list")["runs"]
    assert (row["id"], row["status"], row["round"], row["rounds"]) == (record.id, "succeeded", 3, 3)
    assert row["accuracy"] == pytest.approx(0.7)
    assert "pid" not in row


def test_only_the_newest_runs_are_listed_when_asked(cli: Any, new_record: NewRecord) -> None:
    records = [new_record() for _ in range(3)]
    (row,) = cli.data("runs", "list", "--last", "1")["runs"]
    assert row["id"] in {record.id for record in records}
    assert row["created"] == max(record.events()[0].time for record in records)


def test_folders_that_are_no_runs_are_told_on_stderr(cli: Any, new_record: NewRecord) -> None:
    record = new_record()
    (record.folder.parent / "notes").mkdir()
    result = cli("runs", "list")
    assert "notes is not a run record; it is left alone" in result.stderr
    assert "notes" not in result.stdout


def test_a_damaged_run_is_listed_and_the_reason_told(cli: Any, new_record: NewRecord) -> None:
    record = new_record()
    (record.folder / "config.json").write_text("{}")
    result = cli("runs", "list")
    assert f"{record.id}  damaged" in result.stdout
    assert "config.json was altered" in result.stderr
    assert cli.error("runs", "show", "latest")["error_code"] == "INTEGRITY_BROKEN"


# -- show


def test_a_run_is_shown_with_its_rounds_sites_refusals_and_files(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    record.append("site-refused", who="203.0.113.7", reason="certificate expired")
    result = cli("runs", "show", "latest")
    assert result.exit_code == 0
    for words in (
        f"run {record.id}  succeeded",
        "digits, mobilenet_v2, 3 sites (dirichlet 0.5), 3 rounds, deployment grid, mutual TLS, seed 0",
        "accuracy 70.0 %, loss 0.5750 after round 3",
        "sites in round 3",
        "3  site-2  rejected  norm-cap: L2 norm 4e7",
        "203.0.113.7  certificate expired",
        f"files in runs/{record.id}/",
        "checkpoints/  (4 files)",
    ):
        assert words in result.stdout, result.stdout


def test_a_failed_run_shows_its_error(cli: Any, new_record: NewRecord) -> None:
    run_of(new_record(), status="failed")
    lines = cli("runs", "show", "latest").stdout.splitlines()
    at = lines.index("error: too few replies")
    assert lines[at + 1 : at + 3] == ["  why: 2 of 3", "  fix: wait"]


def test_a_round_that_never_finished_still_names_who_failed_it(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record(), rounds=0, status=None)
    record.append("round-started", round=1, sites=["site-0"])
    record.append("reply-missing", round=1, site="site-0", reason="timeout")
    record.append("run-finished", status="failed", error=None)
    assert "1  site-0  missing  timeout" in cli("runs", "show", "latest").stdout


def test_a_new_run_without_events_can_be_shown(cli: Any, new_record: NewRecord) -> None:
    record = new_record()
    result = cli("runs", "show", record.id)
    assert f"run {record.id}  created" in result.stdout
    assert cli.data("runs", "show", record.id)["rounds"] == []


def test_a_program_gets_everything_about_a_run(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    data = cli.data("runs", "show", record.id[:10])
    assert (data["run_id"], data["status"], data["run_dir"]) == (record.id, "succeeded", str(record.folder))
    assert [row["round"] for row in data["rounds"]] == [0, 1, 2, 3]
    assert data["rounds"][1]["excluded"][0]["reason"] == "norm-cap"
    assert data["settings"]["sites"] == 3
    assert data["files"]["checkpoints/round-0003.safetensors"] > 0


def test_what_a_site_says_cannot_steer_the_terminal(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record(), rounds=0, status=None)
    record.append("round-started", round=1, sites=["site-0"])
    record.append("reply-rejected", round=1, site="\x1b[2J[bold]x", reason="malformed", detail="\x1b]0;owned\x07\r\n")
    record.append("site-refused", who="\x1b[31mred", reason="\x9b1m")
    record.append("run-finished", status="failed", error={"code": "X", "what": "\x1b[1mboo", "why": "", "fix": ""})
    out = cli("runs", "show", "latest").stdout
    assert not set(out) & {"\x1b", "\x9b", "\x07", "\r"}
    assert "[bold]x" in out


def test_a_run_that_does_not_exist_is_not_found(cli: Any, new_record: NewRecord) -> None:
    record = new_record()
    error = cli.error("runs", "show", "1999")
    assert (error["error_code"], error["exit_code"], error["why"]) == ("NOT_FOUND", 4, f"the latest is {record.id}")


# -- export, plot, verify


def test_export_writes_two_tables_and_prints_where(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    result = cli("runs", "export", "latest")
    folder = f"runs/{record.id}/export"
    assert result.stdout.splitlines() == [f"{folder}/rounds.csv", f"{folder}/sites.csv"]
    rows = list(csv.DictReader(io.StringIO(Path(folder, "rounds.csv").read_text())))
    assert [row["accepted"] for row in rows] == ["0", "2", "2", "2"]


def test_export_writes_json_where_it_is_told_to(cli: Any, new_record: NewRecord, tmp_path: Path) -> None:
    record = run_of(new_record())
    data = cli.data("runs", "export", "latest", "--to", "json", "--out", str(tmp_path / "out"))
    assert data == {"run_id": record.id, "files": [str(tmp_path / "out" / "run.json")]}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["run_id"] == record.id


def test_export_to_an_unknown_format_is_a_wrong_usage(cli: Any, new_record: NewRecord) -> None:
    new_record()
    error = cli.error("runs", "export", "latest", "--to", "xlsx")
    assert (error["exit_code"], error["error_code"]) == (2, "USAGE")
    assert "'xlsx' is not one of csv, json" in error["message"]


def test_plot_prints_the_figures_and_says_which_is_missing(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record(), rounds=1)
    result = cli("runs", "plot", "latest")
    assert result.stdout.splitlines() == [f"runs/{record.id}/plots/convergence.{kind}" for kind in ("png", "svg")]
    assert "no resource figure" in result.stderr


def test_a_run_with_nothing_to_draw_says_why(cli: Any, new_record: NewRecord) -> None:
    new_record()
    error = cli.error("runs", "plot", "latest")
    assert error["exit_code"] == 4
    assert error["why"].startswith("no convergence figure: no round has finished yet")


def test_verify_tells_what_was_checked_and_the_hash_to_keep(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    result = cli("runs", "verify", "latest")
    head = record.events()[-1].hash
    assert result.stdout.splitlines() == [
        f"verified {record.id}: {len(record.events())} events, 6 files",
        f"last hash {head}",
    ]
    assert cli.data("runs", "verify", "latest")["head"] == head


def test_verify_fails_on_a_record_that_was_altered(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    (record.folder / "checkpoints" / "round-0002.safetensors").write_bytes(b"")
    error = cli.error("runs", "verify", "latest")
    assert (error["exit_code"], error["error_code"]) == (1, "INTEGRITY_BROKEN")
    assert "round-0002.safetensors was altered" in error["message"]


# -- delete


def test_nothing_is_deleted_without_being_asked_for(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    result = cli("runs", "delete", "latest")
    assert result.exit_code == 2
    assert f"needs a confirmation: delete run {record.id} (succeeded, 3 rounds, " in result.stderr
    assert record.folder.exists()


@pytest.mark.parametrize("command", [("runs", "delete", "latest", "--yes"), ("--yes", "runs", "delete", "latest")])
def test_yes_deletes(cli: Any, new_record: NewRecord, command: tuple[str, ...]) -> None:
    record = run_of(new_record())
    assert cli(*command).stdout.startswith(f"deleted {record.id}, ")
    assert not record.folder.exists()


@pytest.mark.parametrize(("answer", "is_left"), [("n", True), ("y", False)])
def test_on_a_terminal_the_person_is_asked(new_record: NewRecord, answer: str, is_left: bool) -> None:
    record = run_of(new_record())
    terminal, side = pty.openpty()
    try:
        command = [sys.executable, "-m", "secure_fl", "runs", "delete", record.id]
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            command, stdin=side, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
        ) as process:
            os.write(terminal, f"{answer}\n".encode())
            said, asked = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(side)
    assert f"delete run {record.id} (succeeded, 3 rounds, " in asked
    assert process.returncode == (130 if is_left else 0)
    assert said.startswith("deleted") != is_left
    assert record.folder.exists() == is_left


def test_a_running_run_is_not_deleted(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record(), status=None, pid=os.getpid())
    error = cli.error("runs", "delete", "latest", "--yes")
    assert (error["exit_code"], error["message"]) == (1, f"run {record.id} is running")
    assert record.folder.exists()


def test_a_damaged_run_can_be_deleted(cli: Any, new_record: NewRecord) -> None:
    record = new_record()
    (record.folder / "config.json").write_text("{}")
    assert cli("runs", "delete", "latest", "--yes").exit_code == 0
    assert not record.folder.exists()


# -- stop and resume


def test_stop_asks_a_running_run_to_end(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record(), status=None, pid=os.getpid())
    assert cli.data("runs", "stop", "latest") == {"run_id": record.id, "status": "running", "stop_requested": True}
    assert record.stop_requested()


def test_a_run_that_has_ended_cannot_be_stopped(cli: Any, new_record: NewRecord) -> None:
    record = run_of(new_record())
    error = cli.error("runs", "stop", "latest")
    assert (error["exit_code"], error["why"]) == (1, "it is succeeded")
    assert not record.stop_requested()


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What `drive` was called with; the run itself is tested where it is driven."""
    import secure_fl.cli.run

    calls: list[tuple[str, Path]] = []
    monkeypatch.setattr(secure_fl.cli.run, "drive", lambda record, home: calls.append((record.id, home)))
    return calls


@pytest.mark.parametrize("status", ["interrupted", "failed", None])
def test_resume_drives_a_run_that_did_not_finish(
    cli: Any, new_record: NewRecord, driven: list[tuple[str, Path]], home: Path, status: str | None
) -> None:
    record = run_of(new_record(), status=status)
    record.request_stop()
    assert cli("runs", "resume", record.id[:-2]).exit_code == 0
    assert driven == [(record.id, home)]
    assert not record.stop_requested()


def test_resume_says_when_it_has_to_start_anew(cli: Any, new_record: NewRecord, driven: list[tuple[str, Path]]) -> None:
    record = new_record()
    assert "has no complete round; it starts anew" in cli("runs", "resume", "latest").stderr
    assert [id for id, _ in driven] == [record.id]


def test_resume_warns_when_it_falls_back_behind_a_damaged_checkpoint(
    cli: Any, new_record: NewRecord, driven: list[tuple[str, Path]]
) -> None:
    record = run_of(new_record(), status="interrupted")
    (record.folder / "checkpoints" / "round-0003.safetensors").write_bytes(b"")
    result = cli("runs", "resume", "latest")
    assert "the checkpoints after round 2 are damaged; their rounds are repeated" in result.stderr
    assert len(driven) == 1


def test_a_run_that_is_finished_or_running_is_not_resumed(
    cli: Any, new_record: NewRecord, driven: list[tuple[str, Path]]
) -> None:
    finished = run_of(new_record())
    assert cli.error("runs", "resume", finished.id)["message"] == f"run {finished.id} has finished"
    running = run_of(new_record(), status=None, pid=os.getpid())
    assert cli.error("runs", "resume", running.id)["message"] == f"run {running.id} is running"
    assert driven == []


# -- the group


def test_each_command_has_examples_in_its_help(cli: Any) -> None:
    for command in ("list", "show", "export", "delete", "verify", "plot", "stop", "resume"):
        result = cli("runs", command, "--help")
        assert result.exit_code == 0
        assert f"$ secure-fl runs {command}" in result.stdout


def test_heavy_libraries_are_not_loaded_to_list_runs(new_record: NewRecord) -> None:
    run_of(new_record())
    script = """
import sys
from secure_fl.cli.main import app
try:
    app(["runs", "list"])
except SystemExit as end:
    assert end.code == 0
    print(sorted({"torch", "flwr", "sklearn", "matplotlib", "numpy"} & set(sys.modules)))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
