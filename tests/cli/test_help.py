"""The help page fits the terminal, shows what Typer declares, and its examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import click
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from secure_fl.cli.help import help_page, install_help
from secure_fl.cli.main import COMMANDS, app, load_command
from secure_fl.cli.output import Output, begin
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.runs import RunRecord

# What these need is made in tests/federation, which runs them too.
ELSEWHERE = {
    "secure-fl federation site": "takes part in a federation that runs elsewhere",
    "secure-fl serve": "serves until somebody ends it (tests/webui/test_server.py)",
    "secure-fl audit verify": "needs a run that was audited over TLS",
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name."""
    for name in COMMANDS:
        command = load_command(name)
        if isinstance(command, click.Group):
            for below, each in command.commands.items():
                yield f"secure-fl {name} {below}", each
        else:
            yield f"secure-fl {name}", command


def examples_of(command: click.Command) -> list[str]:
    return [line.strip()[2:] for line in (command.epilog or "").splitlines() if line.strip().startswith("$ ")]


EXAMPLES = [(name, example) for name, command in commands() for example in examples_of(command)]


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda each: each if isinstance(each, str) else "")
def test_every_command_says_what_it_does_and_shows_examples_of_itself(name: str, command: click.Command) -> None:
    assert command.help
    found = examples_of(command)
    assert found
    assert all(name in re.sub(r"--format json |--yes ", "", example) for example in found)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("arguments", [[], ["run"], ["config", "show"], ["doctor"], ["classify"]], ids=str)
def test_a_page_fits_its_terminal(width: int, arguments: list[str], cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    page = cli(*arguments, "--help").stdout
    typed = ("$ ", "  $ ", "Usage:")  # what is to be typed is never folded
    assert all(len(line) <= width for line in page.splitlines() if not line.startswith(typed))


@pytest.fixture
def sample() -> tuple[click.Command, click.Context]:
    program = typer.Typer(add_completion=False)

    @program.command(epilog="[bold]Examples[/bold]\n\n$ sample x[0]")
    def sample(
        files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="what to read")],
        level: Annotated[int, typer.Option("--level", "-l", help="how [cyan]much[/cyan], see \\[1]", min=0)] = 3,
        secret: Annotated[str, typer.Option("--secret", hidden=True)] = "",
        loud: Annotated[bool, typer.Option("--loud/--soft", help="how it sounds")] = True,
        name: Annotated[str, typer.Option(help="your name", envvar="WHO", rich_help_panel="You")] = "",
        a_flag_with_a_name_that_is_far_too_long: Annotated[bool, typer.Option(help="it wraps")] = False,
    ) -> None:
        """Do one thing.

        And say it in [bold]two[/bold] paragraphs.
        """

    command = typer.main.get_command(program)
    return command, click.Context(command, info_name="sample")


def test_a_page_shows_all_that_was_declared_and_nothing_hidden(sample: tuple[click.Command, click.Context]) -> None:
    page = help_page(*sample).splitlines()
    assert page[0].startswith("Usage: sample [OPTIONS] FILE...")
    assert "  Do one thing." in page
    assert "  And say it in two paragraphs." in page
    assert "  FILE...  what to read" in page
    assert any(line.split(maxsplit=3)[:2] == ["-l,", "--level"] for line in page)
    text = "\n".join(page)
    assert "how much, see [1] (default: 3)" in text
    assert "--loud / --soft" in text
    assert "(or set WHO)" in text
    assert "secret" not in text
    assert page.index("You") < page.index("Options")
    assert page[-1] == "  $ sample x[0]"


def test_a_page_has_colours_only_on_a_terminal_that_wants_them(
    sample: tuple[click.Command, click.Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b[1mUsage:\x1b[0m" in help_page(*sample)
    begin(Output(color=False))
    assert "\x1b" not in help_page(*sample)


def test_help_of_groups_lists_their_commands_and_reaches_those_below() -> None:
    group = load_command("config")
    install_help(group)
    assert "  show  Show all settings" in help_page(group, click.Context(group, info_name="config"))


class LivedIn:
    """A home with a finished run and a picture, in which command lines are run."""

    def __init__(self, home: Path) -> None:
        self.home = home
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "picture.png")
        (home / "update.bin").write_bytes(np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32).tobytes())
        self("secure-fl run --preset smoke --grid local -c samples=90 -c test-samples=30")

    def __call__(self, example: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SFL_HOME", str(self.home))
            patch.chdir(self.home)
            result = CliRunner().invoke(app, shlex.split(example)[1:])
        assert result.exit_code == 0, result.stdout + result.stderr

    def prepare(self, command: str) -> None:
        """Make the latest run, or the federation, one that `command` is meant for."""
        settings = {"grid": "local", "model": "light_cnn", "rounds": 1, "samples": 90, "test_samples": 30}
        if command in ("secure-fl runs stop", "secure-fl runs resume"):
            record = RunRecord.create(self.home, ResolvedConfig(RunConfig(**settings), {}), environment={})
            if command.endswith("stop"):
                record.append("run-started", pid=os.getpid(), resumed_from_round=None)
        elif command == "secure-fl federation provision":
            shutil.rmtree(self.home / "federation" / "sites" / "site-2", ignore_errors=True)  # lost


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    return LivedIn(tmp_path_factory.mktemp("lived-in"))


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_every_example_in_help_runs(name: str, example: str, lived_in: LivedIn) -> None:
    if name in ELSEWHERE:
        pytest.skip(ELSEWHERE[name])
    lived_in.prepare(name)
    lived_in(example)
