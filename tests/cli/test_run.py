"""`secure-fl run` and `drive`: what is refused before anything is written, how a run is shown, and how it ends.

Most tests drive a real record with an `execute` that writes the events of a run; the last ones train for real.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from secure_fl.cli.output import Output, begin
from secure_fl.cli.run import drive
from secure_fl.errors import BudgetError, FederationError, QuorumError, SecureFLError
from secure_fl.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
SITES = ["site-0", "site-1", "site-2"]
SHA = "ab" * 32
SMOKE = ("run", "--preset", "smoke", "--grid", "local", "-c", "samples=120", "-c", "test-samples=60")


def start(record: RunRecord) -> None:
    record.append("run-started", pid=os.getpid(), grid="local", sites=SITES, resumed_from_round=None)
    record.append("round-finished", round=0, loss=2.3, accuracy=0.1, seconds=0.1, accepted=[])


def play_round(record: RunRecord, number: int) -> None:
    record.append("round-started", round=number, sites=SITES)
    for site in SITES:
        record.append("reply-accepted", round=number, site=site)
    record.append(
        "round-finished", round=number, loss=2.3 / (1 + number), accuracy=0.2 * number, seconds=1.5, accepted=SITES
    )


def finish(record: RunRecord, status: str = "succeeded") -> None:
    record.append("run-finished", status=status, seconds=4.6, model_sha256=SHA, error=None)


def whole_run(record: RunRecord, home: Path) -> None:
    start(record)
    for number in range(1, record.config.rounds + 1):
        play_round(record, number)
    (record.folder / "model.safetensors").touch()
    finish(record)


def stopped_by(*signals: int) -> Callable[[RunRecord, Path], None]:
    """An `execute` during whose first round this process gets `signals`; it ends as the contract says."""

    def execute(record: RunRecord, home: Path) -> None:
        start(record)
        record.append("round-started", round=1, sites=SITES)
        try:
            for number in signals:
                os.kill(os.getpid(), number)
                time.sleep(0)  # the handler runs between two instructions of this thread
        except KeyboardInterrupt:
            finish(record, "interrupted")
            raise
        play_round(record, 1)
        assert record.stop_requested()
        finish(record, "interrupted")

    return execute


def driven(record: RunRecord, execute: Any, *, format: str = "text", **chosen: Any) -> int:
    """The exit code of driving `record`."""
    home = record.folder.parent.parent
    begin(Output(format=format, home=home, **chosen))
    try:
        drive(record, home, execute=execute)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.fixture
def record(new_record: Callable[..., RunRecord]) -> RunRecord:
    return new_record()


def test_the_last_line_names_outcome_and_record_and_lines_are_few(
    record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driven(record, whole_run) == 0
    out, err = capsys.readouterr()
    folder = f"runs/{record.id}/"
    assert out.splitlines() == [
        f"model      {folder}model.safetensors",
        f"succeeded: accuracy 60.0 %, 3 rounds, 4.6 s · {folder}",
    ]
    assert err.splitlines()[0] == f"{record.id} · digits · mobilenet_v2 · 3 sites · 3 rounds · local"
    assert [line[:9] for line in err.splitlines()[1:]] == [f"round {number}/3" for number in range(4)]
    assert len((out + err).splitlines()) <= 15
    assert all(len(line) <= 80 for line in (out + err).splitlines())


def audited(verdict: str) -> Callable[[RunRecord, Path], None]:
    """An `execute` of a run whose audit comes to this verdict; "" for an audit that was cut off."""

    def execute(record: RunRecord, home: Path) -> None:
        whole_run(record, home)
        record.append("audit-started", bytes=598_945_879)
        if verdict:
            record.append(
                "audit-finished", verdict=verdict, reason="It is so.", bundle="audit", statement_sha256=SHA, pdf=""
            )

    return execute


def test_an_audit_that_passed_is_shown_with_its_report(
    new_record: Callable[..., RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(audit=True, grid="deployment")
    assert driven(record, audited("PASS")) == 0
    out, err = capsys.readouterr()
    assert "audit      PASS: It is so." in out and f"report     runs/{record.id}/audit/report.html" in out
    assert "auditing 598.9 MB that crossed the wire" in err


@pytest.mark.parametrize("verdict", ["FAIL", "INCOMPLETE", ""])
def test_an_audit_that_did_not_pass_closes_the_gate(
    verdict: str, new_record: Callable[..., RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(audit=True, grid="deployment")
    assert driven(record, audited(verdict)) == 3
    told = capsys.readouterr().err
    assert "did not come to a verdict" in told if not verdict else f"verdict is {verdict}" in told
    assert not verdict or "audit/report.html" in told


def test_a_program_gets_the_audits_verdict(
    new_record: Callable[..., RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(audit=True, grid="deployment")
    driven(record, audited("PASS"), format="json")
    data = json.loads(capsys.readouterr().out)["data"]["audit"]
    assert data == {"verdict": "PASS", "reason": "It is so.", "bundle": str(record.folder / "audit")}


def test_an_auditors_key_that_is_none_is_refused_before_anything_is_written(cli: Any, home: Path) -> None:
    (home / "open.pub").write_text("no key")
    for name, code in (("none.pub", 4), ("open.pub", 1)):
        told = cli("run", "--preset", "smoke", "--audit", "-c", f"auditor={home / name}")
        assert told.exit_code == code and name in told.stderr
    assert not (home / "runs").exists()


def test_json_has_the_scores_by_round_from_the_initial_model_on(
    record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driven(record, whole_run, format="json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["accuracy"] == [0.1, 0.2, 0.4, pytest.approx(0.6)]
    assert data["loss"] == pytest.approx([2.3, 1.15, 2.3 / 3, 0.575])
    assert (data["final_accuracy"], data["final_loss"]) == (data["accuracy"][-1], data["loss"][-1])
    assert (data["run_id"], data["run_dir"]) == (record.id, str(record.folder))
    assert (data["status"], data["rounds"], data["seconds"]) == ("succeeded", 3, 4.6)
    assert (data["model_sha256"], data["model_file"]) == (SHA, str(record.folder / "model.safetensors"))


def test_jsonl_streams_the_recorded_events_and_ends_with_the_envelope(
    record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driven(record, whole_run, format="jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[:-1] == [event.to_mapping() for event in record.events()[1:]]
    assert lines[-1]["terminal"] is True
    assert lines[-1]["data"]["run_id"] == record.id


def test_quiet_leaves_the_result_alone(record: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    assert driven(record, whole_run, quiet=True) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-1].startswith("succeeded")


@pytest.mark.parametrize(
    ("signals", "rounds"),
    [
        ([signal.SIGINT], 1),
        ([signal.SIGTERM], 1),
        ([signal.SIGTERM, signal.SIGTERM], 1),
        ([signal.SIGINT, signal.SIGTERM], 1),
        ([signal.SIGINT, signal.SIGINT], 0),
        ([signal.SIGTERM, signal.SIGINT], 0),
    ],
)
def test_one_signal_finishes_the_round_and_a_second_ctrl_c_stops_now(
    signals: list[int], rounds: int, record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert driven(record, stopped_by(*signals)) == 130
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("press Ctrl-C again to stop now") == 1
    assert f"{rounds} of 3 rounds are finished and saved" in err
    assert f"fix: secure-fl runs resume {record.id}" in err
    assert err.splitlines()[-1] == "  code: INTERRUPTED"


def test_an_interrupted_run_tells_a_program_what_there_is(
    record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driven(record, stopped_by(signal.SIGINT), format="json") == 130
    envelope = json.loads(capsys.readouterr().out)
    assert (envelope["error_code"], envelope["exit_code"]) == ("INTERRUPTED", 130)
    assert (envelope["data"]["run_id"], envelope["data"]["status"]) == (record.id, "interrupted")
    assert envelope["data"]["accuracy"] == [0.1, 0.2]


def test_the_resume_command_names_a_home_that_is_not_the_current_folder(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = record.folder.parent.parent
    monkeypatch.chdir(tmp_path)
    assert driven(record, stopped_by(signal.SIGINT)) == 130
    assert f"fix: secure-fl --home {home} runs resume {record.id}" in capsys.readouterr().err


def test_an_old_stop_request_does_not_stop_a_resumed_run(record: RunRecord) -> None:
    record.request_stop()

    def execute(record: RunRecord, home: Path) -> None:
        assert not record.stop_requested()
        whole_run(record, home)

    assert driven(record, execute) == 0


@pytest.mark.parametrize("error", [FederationError("a"), QuorumError("b"), BudgetError("c"), SecureFLError("d")])
def test_a_failed_run_ends_with_the_code_of_its_error_and_says_where_to_look(
    error: SecureFLError, record: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    (record.folder / "logs").mkdir()

    def execute(record: RunRecord, home: Path) -> None:
        start(record)
        raise error

    assert driven(record, execute) == error.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {error.what}\n  code: {error.code}\n" in err
    assert err.splitlines()[-1] == f"failed: the record is in runs/{record.id}/, logs in runs/{record.id}/logs/"
    assert driven(record, execute, format="json") == error.exit_code
    assert json.loads(capsys.readouterr().out)["data"]["run_dir"] == str(record.folder)


def test_a_run_that_only_its_record_calls_failed_is_not_called_a_success(record: RunRecord) -> None:
    def execute(record: RunRecord, home: Path) -> None:
        start(record)
        finish(record, "failed")

    assert driven(record, execute) == 1
    assert driven(record, lambda record, home: None) == 1


def test_driving_from_another_thread_leaves_signals_alone(record: RunRecord) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(driven(record, whole_run, quiet=True)))
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "named"),
    [
        (["--dataset", "./no/such/folder"], 2, "no/such/folder"),
        (["--sites", "1000", "-c", "min-size=10"], 2, "1000"),
        (["--preset", "nonsense"], 2, "nonsense"),
        (["--config", "absent.toml"], 2, "absent.toml"),
        (["--weights", "absent.safetensors"], 4, "absent.safetensors"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    arguments: list[str], exit_code: int, named: str, cli: Any, home: Path
) -> None:
    error = cli.error("run", "--grid", "local", *arguments)
    assert error["exit_code"] == exit_code
    assert named in error["message"] + error["why"]
    assert not (home / "runs").exists()


def test_a_real_run_ends_with_a_model_and_its_scores(cli: Any, home: Path) -> None:
    data = cli.data(*SMOKE)
    assert (data["status"], data["rounds"]) == ("succeeded", 2)
    assert len(data["accuracy"]) == len(data["loss"]) == 3
    assert data["loss"][-1] < data["loss"][0]
    folder = Path(data["run_dir"])
    assert folder.parent == home / "runs"
    assert Path(data["model_file"]).is_file()
    assert {"convergence.png", "resources.svg"} <= {each.name for each in (folder / "plots").iterdir()}
    assert RunRecord.open(folder).status() == "succeeded"


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal of 80 columns: the end for a child, and what is on our end once the child is gone."""
    ours, theirs = pty.openpty()
    yield theirs, lambda: _drained(ours)
    os.close(ours)


def _drained(terminal: int) -> str:
    text = b""
    while True:
        try:
            text += os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last writer is gone
            return text.decode()


def test_on_a_terminal_two_ctrl_c_stop_a_real_run_at_once_and_leave_nothing_behind(
    home: Path, terminal: tuple[int, Callable[[], str]]
) -> None:
    theirs, screen = terminal
    child = subprocess.Popen(
        [sys.executable, "-m", "secure_fl", "--format", "jsonl", *SMOKE, "--rounds", "500"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    assert child.stdout is not None
    lines = [json.loads(next(child.stdout))]
    while lines[-1]["kind"] != "round-finished" or lines[-1]["round"] < 1:
        lines.append(json.loads(next(child.stdout)))
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=120)
    envelope = json.loads(rest.splitlines()[-1])
    assert child.returncode == 130
    assert (envelope["error_code"], envelope["terminal"]) == ("INTERRUPTED", True)
    assert "press Ctrl-C again" in screen()
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    (folder,) = (each for each in (home / "runs").iterdir() if each.is_dir())
    assert RunRecord.open(folder).status() == "interrupted"
