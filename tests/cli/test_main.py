"""The entry point: global options, lazy commands, and every exit code that a command line can produce for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secure_fl import __version__
from secure_fl.cli.main import COMMANDS, load_command
from secure_fl.cli.output import EXIT_CODES

ROOT = Path(__file__).resolve().parents[2]


_LOADED = """
import runpy, sys
sys.argv = ["secure-fl", "--help"]
try:
    runpy.run_module("secure_fl", run_name="__main__")
finally:
    print("LOADED", *(name for name in sys.modules if name.startswith(("secure_fl.", "rich"))))
"""


def program(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`secure-fl` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "secure_fl", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command_without_importing_it(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    page, _, loaded = done.stdout.partition("LOADED")
    assert all(f"\n  {name} " in page for name in COMMANDS)
    assert not any(f"secure_fl.cli.{entry.module}" in loaded.split() for entry in COMMANDS.values())
    assert "rich.console" not in loaded.split()


def test_help_documents_every_exit_code(cli: Any) -> None:
    page = cli("--help").stdout
    for code, meaning in EXIT_CODES.items():
        assert any(line.split(maxsplit=1) == [str(code), meaning] for line in page.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_is_a_command_with_help(name: str, cli: Any) -> None:
    assert load_command(name).name == name
    result = cli(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: secure-fl {name}")
    assert "--install-completion" not in result.stdout


EXITS = [
    (0, ["--version"], ""),
    (0, ["config", "show"], ""),
    (2, [], "USAGE"),
    (2, ["rnu"], "USAGE"),
    (2, ["run", "--bogus"], "USAGE"),
    (2, ["run", "--rounds", "many"], "USAGE"),
    (2, ["run", "--grid", "cloud"], "USAGE"),
    (2, ["config", "show", "-c", "momntum=0.5"], "CONFIG_INVALID"),
    (2, ["run", "-c", "rounds=0"], "CONFIG_INVALID"),
    (2, ["classify", "--run", "a", "--model", "b", "c.png"], "USAGE"),
    (4, ["classify", "picture.png"], "NOT_FOUND"),
    (4, ["runs", "show", "latest"], "NOT_FOUND"),
    (4, ["classify", "picture.png", "--model", "absent.safetensors"], "NOT_FOUND"),
]


@pytest.mark.parametrize(("exit_code", "arguments", "code"), EXITS, ids=[" ".join(each[1]) or "-" for each in EXITS])
def test_exit_codes(exit_code: int, arguments: list[str], code: str, cli: Any) -> None:
    text = cli(*arguments)
    assert text.exit_code == exit_code
    if code and arguments:
        assert text.stdout == ""
        assert text.stderr.splitlines()[-1] == f"  code: {code}"
        assert text.stderr.startswith("error: ")
    if exit_code:
        assert cli.error(*arguments)["error_code"] == code
    else:
        cli.data(*arguments)


def test_an_unexpected_exception_is_70_with_a_crash_file_under_home(
    cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_fl.cli.config._rows", lambda resolved: 1 / 0)
    result = cli("config", "show")
    assert result.exit_code == 70
    (file,) = (home / "crashes").iterdir()
    assert str(file) in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in cli("-v", "config", "show").stderr


def test_interruption_before_anything_began_is_130(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(resolved: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secure_fl.cli.config._rows", interrupt)
    result = cli("config", "show")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (130, "error: interrupted")


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_usage_errors_of_the_global_options_obey_the_format_too(format: str, cli: Any) -> None:
    for arguments in (["--format", format, "--bogus"], [f"--format={format}", "--bogus"]):
        result = cli(*arguments)
        assert result.exit_code == 2
        assert json.loads(result.stdout)["error_code"] == "USAGE"
        assert result.stderr == ""
    assert "jsonl" in cli("--format", "xml", "config", "show").stderr


def test_without_a_command_the_help_is_shown_and_it_is_an_error(cli: Any) -> None:
    result = cli()
    assert result.exit_code == 2
    assert result.stdout.startswith("Usage: secure-fl ")
    assert cli("runs").exit_code == 2


def test_a_misspelt_command_option_or_setting_is_answered_with_the_nearest(cli: Any) -> None:
    for arguments, meant in (
        (["confg"], "'config'"),
        (["run", "--round", "3"], "'--rounds'"),
        (["config", "show", "-c", "batch_siz=3"], "`batch-size`"),
    ):
        error = cli.error(*arguments)
        assert meant in error["message"] + error["hint"]
        assert (error["message"] + error["hint"]).count("id you mean") == 1


def test_a_setting_without_a_flag_is_answered_with_how_to_set_it(cli: Any) -> None:
    assert cli.error("run", "--momentum", "0.5")["hint"].endswith("-c momentum=VALUE")


def test_a_global_option_after_the_command_is_answered_with_where_it_goes(cli: Any) -> None:
    result = cli("config", "show", "--format", "json")
    assert result.exit_code == 2
    assert "before the command: secure-fl --format … config show" in result.stderr


def test_version(cli: Any) -> None:
    assert cli("-V").stdout == f"secure-fl {__version__}\n"
    assert cli.data("--version") == {"version": __version__}


def test_home_is_the_option_then_the_variable_then_the_current_folder(
    cli: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*arguments: str) -> str:
        return str(cli(*arguments, "classify", "x.png").stderr.splitlines()[0])

    other, here = tmp_path / "other", tmp_path / "here"
    here.mkdir()
    assert f" {home} " in shown()
    assert f" {other} " in shown("--home", str(other))
    monkeypatch.delenv("SFL_HOME")
    monkeypatch.chdir(here)
    assert f" {here} " in shown()


def test_a_process_ends_with_the_code_and_keeps_stdout_for_the_result(home: Path) -> None:
    good = program("--format", "json", "config", "show", "--rounds", "3")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["data"]["settings"]
    bad = program("config", "show", "-c", "rounds=0")
    assert (bad.returncode, bad.stdout) == (2, "")


def test_a_terminal_that_cannot_show_a_character_gets_another(home: Path) -> None:
    done = program("config", "show", "-c", "dataset=bilder-für-ü", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "bilder-f?r-?" in done.stdout


def test_a_reader_that_goes_away_early_is_no_crash(home: Path) -> None:
    command = f"{sys.executable} -m secure_fl config show | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.startswith("key")
    assert done.stderr == ""
    assert not (home / "crashes").exists()


def test_completion_knows_commands_flags_presets_and_settings(home: Path) -> None:
    for words, expected in (
        ("secure-fl cla", {"classify"}),
        ("secure-fl run --preset ", {"demo", "paper", "private", "smoke"}),
        ("secure-fl run -c mome", {"momentum="}),
    ):
        done = program(_SECURE_FL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
        assert set(done.stdout.split()) == expected
