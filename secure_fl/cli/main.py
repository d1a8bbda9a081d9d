"""The entry point `secure-fl`: global options, and commands that are imported when they are called.

The table `COMMANDS` is all that `--help` needs; a command's file is imported only to run it or to
show its own help. So starting up costs Typer and rich, not PyTorch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import click
import typer
from typer.core import TyperGroup

from secure_fl import __version__
from secure_fl.cli.help import help_page, install_help
from secure_fl.cli.output import EXIT_CODES, FORMATS, Output, begin, current, examples
from secure_fl.cli.reporting import reporting

__all__ = ["COMMANDS", "app", "main"]


class Entry(NamedTuple):
    """One command: its file, and the line that `--help` shows."""

    module: str
    summary: str
    panel: str


COMMANDS = {
    "run": Entry("run", "Train one model over all sites, and record the run.", "Train"),
    "runs": Entry("runs", "List, show, export, resume and delete runs.", "Train"),
    "federation": Entry("federation", "Make keys and certificates; take part from another machine.", "Train"),
    "compare": Entry("compare", "Simulate attacks against defenses, and report what survives.", "Study"),
    "classify": Entry("classify", "Say what is on an image, with a trained model.", "Use"),
    "serve": Entry("serve", "Serve the Command Center: all of this in a browser.", "Use"),
    "replay": Entry("replay", "Play a scenario of attack and defense again, under any defense.", "Look"),
    "audit": Entry("audit", "Search captures and files for pictures, and verify a signed report.", "Look"),
    "privacy": Entry("privacy", "Plan a privacy budget, and show what is spent.", "Look"),
    "data": Entry("data", "Show a data set, and which site holds what.", "Look"),
    "config": Entry("config", "Show every setting, and where its value comes from.", "Look"),
    "doctor": Entry("doctor", "Check this machine, and say how to fix what is wrong.", "Look"),
}


class LazyGroup(TyperGroup):
    """A group whose commands are rows of `COMMANDS` until one of them is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The row as a command that can be listed, not run."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        row = click.Command(cmd_name, short_help=entry.summary, help=entry.summary)
        row.rich_help_panel = entry.panel  # type: ignore[attr-defined]
        return row

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The real command, imported now."""
        try:
            name, row, rest = super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None
        return name, None if row is None or name is None else load_command(name), rest

    def get_help(self, ctx: click.Context) -> str:
        """Our page instead of Typer's."""
        return help_page(self, ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Fix how this invocation speaks before any command is looked up, so that errors obey it too."""
        rest = super().parse_args(ctx, args)
        chosen = ctx.params
        begin(
            Output(
                format=chosen["format"],
                quiet=chosen["quiet"],
                verbose=chosen["verbose"],
                color=not chosen["no_color"] and not os.environ.get("NO_COLOR"),
                yes=chosen["yes"],
                home=Path(chosen["home"]).expanduser().absolute(),
            )
        )
        return rest

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run one command line; always ends in `SystemExit` with a documented code."""
        argv = list(sys.argv[1:] if args is None else args)
        begin(_first_look(argv))
        extra |= {"standalone_mode": False, "prog_name": "secure-fl"}
        with reporting():
            code = super().main(argv, **extra)
        raise SystemExit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it, but Ctrl-C reaches `reporting` (Typer would swallow it without a word)."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


def load_command(name: str) -> click.Command:
    """Import the file of a command and give its click command, under its name."""
    group: typer.Typer = importlib.import_module(f"secure_fl.cli.{COMMANDS[name].module}").app
    command = typer.main.get_command(group)
    command.name = name
    own = ("install_completion", "show_completion")  # of the program as a whole, not of a command
    command.params = [each for each in command.params if each.name not in own]
    install_help(command)
    return command


def _first_look(argv: list[str]) -> Output:
    """How to speak before the global options are parsed: for their own help, and if they are wrong."""
    color = "--no-color" not in argv and not os.environ.get("NO_COLOR")
    for at, flag in enumerate(argv):
        if flag in COMMANDS:
            break
        value = flag.removeprefix("--format=") if "=" in flag else "".join(argv[at + 1 : at + 2])
        if flag.startswith("--format") and value in FORMATS:
            return Output(format=value, color=color)
    return Output(color=color)


EPILOG = "\n\n".join(
    [
        "[bold]Exit codes[/bold]",
        *(f"{code:>5}  {meaning}" for code, meaning in EXIT_CODES.items()),
        "\n" + examples("secure-fl run --preset smoke --grid local", "secure-fl doctor"),
    ]
)

app = typer.Typer(
    cls=LazyGroup,
    name="secure-fl",
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        current().result({"version": __version__}, f"secure-fl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    format: Annotated[
        str, typer.Option("--format", click_type=click.Choice(FORMATS), help="how results are printed")
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no notes and no progress")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="more notes, and tracebacks")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="plain text; so does NO_COLOR=1")] = False,
    home: Annotated[
        Path,
        typer.Option(
            "--home",
            envvar="SFL_HOME",
            help="folder that holds runs/ and federation/",
            metavar="DIR",
            show_default=False,
        ),
    ] = Path(),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="answer yes to every question")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Federated image classification over TLS: train one model on images that never leave their sites."""
    if ctx.invoked_subcommand is None:
        if current().machine:
            raise click.UsageError("no command given", ctx)
        print(ctx.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
