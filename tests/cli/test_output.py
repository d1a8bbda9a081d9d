"""What goes to stdout and to stderr, the JSON envelope, the error style, and what `reporting` makes of exceptions."""

from __future__ import annotations

import errno
import io
import json
import math
import stat
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from secure_fl.cli.output import FORMATS, Output, begin, current, examples, home, printable, shown_path
from secure_fl.cli.reporting import reporting
from secure_fl.errors import BudgetError, ConfigError, QuorumError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def envelope(capsys: pytest.CaptureFixture[str]) -> Any:
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return json.loads(out)


def test_a_text_result_is_the_text_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({"a": 1}, "eleven")
    Output().result({"a": 1}, lambda console: console.print("[bold]twelve[/bold]"))
    assert capsys.readouterr() == ("eleven\ntwelve\n", "")


def test_a_json_result_is_one_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    Output(format="json").result({"a": 1}, "eleven")
    assert envelope(capsys) == {"schema_version": "1", "status": "ok", "data": {"a": 1}}


def test_a_jsonl_stream_ends_with_a_terminal_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(format="jsonl")
    output.event({"kind": "round-finished"})
    output.result({"a": 1}, "eleven")
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert "terminal" not in first
    assert last == {"schema_version": "1", "status": "ok", "data": {"a": 1}, "terminal": True}


@pytest.mark.parametrize("format", ["text", "json"])
def test_events_are_for_jsonl_only(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output(format=format).event({"kind": "round-finished"})
    assert capsys.readouterr() == ("", "")


def test_json_has_only_its_own_types(capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "nan": math.nan,
        "inf": [math.inf, 1.5],
        "path": Path("/a"),
        "numpy": (np.float32(0.5), np.int64(3), np.array([1, 2])),
        3: None,
        "flag": True,
    }
    Output(format="json").result(data, "")
    assert envelope(capsys)["data"] == {
        "nan": None,
        "inf": [None, 1.5],
        "path": "/a",
        "numpy": [0.5, 3, [1, 2]],
        "3": None,
        "flag": True,
    }


def test_notes_go_to_stderr_and_quiet_silences_them_but_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    for output in (Output(), Output(quiet=True)):
        output.note("by the way")
        output.warn("look here")
    assert capsys.readouterr() == ("", "by the way\nwarning: look here\nwarning: look here\n")


def test_details_are_for_verbose_only(capsys: pytest.CaptureFixture[str]) -> None:
    Output().detail("more")
    Output(verbose=True).detail("still more")
    assert capsys.readouterr() == ("", "still more\n")


def test_control_characters_of_others_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().note("site \x1b]0;owned\x07 says\rhello\u202e")
    err = capsys.readouterr().err
    assert not any(each in err for each in "\x1b\x07\r\u202e")
    assert printable("plain — ✓ ä") == "plain — ✓ ä"


def test_an_error_has_four_lines_of_which_why_and_fix_are_optional(capsys: pytest.CaptureFixture[str]) -> None:
    Output().error(ConfigError("`lr` is 0", why="it is too small", fix="give 0.1"))
    Output().error(ConfigError("`lr` is 0"))
    assert capsys.readouterr().err.splitlines() == [
        *("error: `lr` is 0", "  why: it is too small", "  fix: give 0.1", "  code: CONFIG_INVALID"),
        *("error: `lr` is 0", "  code: CONFIG_INVALID"),
    ]


def test_a_json_error_is_one_envelope_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Output(format="json").error(BudgetError("no ε left", why="2.1 > 2.0", fix="stop"), data={"run_id": "x"})
    assert envelope(capsys) == {
        "schema_version": "1",
        "status": "error",
        "error_code": "BUDGET_EXCEEDED",
        "message": "no ε left",
        "why": "2.1 > 2.0",
        "hint": "stop",
        "exit_code": 3,
        "data": {"run_id": "x"},
    }


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for color, stream, has_escape in (
        (True, Terminal(), True),
        (False, Terminal(), False),
        (True, io.StringIO(), False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        Output(color=color).error(ConfigError("wrong"))
        assert ("\x1b[" in stream.getvalue()) is has_escape


def test_a_long_error_is_wrapped_under_its_label_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = "/a/long/path/" + "word " * 30
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        Output(color=False).error(ConfigError(text.strip()))
    assert all(len(line) <= 60 for line in terminal.getvalue().splitlines())
    assert terminal.getvalue().splitlines()[1].startswith("       word")
    assert len(pipe.getvalue().splitlines()) == 2


def test_a_result_for_a_pipe_is_wide_and_without_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    stream = io.StringIO()
    console = Output().console(stream)
    console.print("[bold red]x[/] [i]file[0][/]")
    assert console.width == 120
    assert "\x1b" not in stream.getvalue()


def test_confirmation_without_anybody_to_ask_is_refused_unless_yes_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    Output(yes=True).confirm("delete it?")
    with pytest.raises(ConfigError, match="delete it") as refused:
        Output().confirm("delete it?")
    assert "--yes" in refused.value.fix
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    with pytest.raises(ConfigError):
        Output(format="json").confirm("delete it?")
    Output().confirm("delete it?")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    with pytest.raises(click.Abort):
        Output().confirm("delete it?")


@pytest.mark.parametrize(
    ("raised", "exit_code", "code"),
    [
        (ConfigError("x"), 2, "CONFIG_INVALID"),
        (BudgetError("x"), 3, "BUDGET_EXCEEDED"),
        (QuorumError("x"), 5, "QUORUM_LOST"),
        (click.UsageError("x"), 2, "USAGE"),
        (click.Abort(), 130, "INTERRUPTED"),
        (KeyboardInterrupt(), 130, "INTERRUPTED"),
        (PermissionError(errno.EACCES, "denied", "/a/b"), 4, "PERMISSION_DENIED"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), 1, "DISK_UNWRITABLE"),
        (OSError(errno.EIO, "Input/output error"), 70, "INTERNAL"),
        (ValueError("x"), 70, "INTERNAL"),
    ],
)
def test_every_exception_ends_in_a_documented_exit_code(
    raised: BaseException, exit_code: int, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format in FORMATS:
        begin(Output(format=format, home=tmp_path))
        with pytest.raises(SystemExit) as end, reporting():
            raise raised
        assert end.value.code == exit_code
        out, err = capsys.readouterr()
        if format == "text":
            assert out == ""
            assert err.splitlines()[-1] == f"  code: {code}"
        else:
            body = json.loads(out)
            assert (body["error_code"], body["exit_code"], body["status"]) == (code, exit_code, "error")
            assert err == ""


def test_an_exit_that_a_command_chose_passes_untouched() -> None:
    with pytest.raises(SystemExit) as end, reporting(), reporting():
        raise SystemExit(5)
    assert end.value.code == 5
    with pytest.raises(click.exceptions.Exit), reporting():
        raise click.exceptions.Exit(3)


def test_a_bug_leaves_a_private_crash_file_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(Output(home=tmp_path))
    with pytest.raises(SystemExit), reporting():
        raise ZeroDivisionError("of all things")
    err = capsys.readouterr().err
    (file,) = (tmp_path / "crashes").iterdir()
    assert "ZeroDivisionError: of all things" in err
    assert str(file) in err
    assert "Traceback" not in err
    assert "Traceback" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_bug_where_home_cannot_be_written_leaves_its_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(other))
    begin(Output(home=tmp_path / "file"))
    with pytest.raises(SystemExit), reporting():
        raise ZeroDivisionError
    assert len(list(other.iterdir())) == 1
    assert str(other) in capsys.readouterr().err


def test_verbose_shows_the_traceback_of_foreseen_errors_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(Output(verbose=True, home=tmp_path))
    with pytest.raises(SystemExit), reporting():
        raise ConfigError("wrong")
    assert "Traceback" in capsys.readouterr().err


def test_home_is_that_of_the_invocation(tmp_path: Path) -> None:
    begin(Output(home=tmp_path))
    assert home() == tmp_path
    assert current().home == tmp_path


def test_a_path_is_shown_as_short_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs" / "a") == "runs/a"
    assert shown_path(Path("runs")) == "runs"
    assert shown_path(tmp_path.parent) == str(tmp_path.parent)


def test_examples_are_marked_as_what_to_type() -> None:
    assert examples("secure-fl doctor").splitlines()[-1] == "$ secure-fl doctor"
