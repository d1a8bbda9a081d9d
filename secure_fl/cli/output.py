"""What goes to stdout, what goes to stderr, and how a command ends. The contract:

- stdout holds the result and nothing else: text for people, or with `--format json` exactly one
  envelope `{"schema_version": "1", "status": "ok"|"error", "data": …}`. An error envelope has
  `error_code`, `message`, `why`, `hint` and `exit_code`.
- `--format jsonl` writes one event object a line as things happen, then the envelope with
  `"terminal": true` as the last line.
- stderr holds notes, warnings, progress and, in text mode, errors in four lines: error, why, fix, code.
- Every way to fail has an exit code (`EXIT_CODES`); `reporting` decides it, in one place. `main` wraps
  every command in that, so a command just raises a `SecureFLError`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from secure_fl.errors import ConfigError, SecureFLError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "EXIT_CODES",
    "FORMATS",
    "Output",
    "begin",
    "current",
    "examples",
    "home",
    "printable",
    "shown_path",
]

SCHEMA_VERSION = "1"
FORMATS = ("text", "json", "jsonl")

EXIT_CODES = {
    0: "success",
    1: "the run or a check failed",
    2: "wrong usage, setting or input file",
    3: "a privacy budget or an audit gate refused",
    4: "not found, or no permission",
    5: "time limit or quorum lost",
    70: "internal error; a crash file is written",
    130: "interrupted; finished rounds are saved",
}


@dataclass(frozen=True)
class Output:
    """How this invocation speaks: chosen by the global options, fixed afterwards."""

    format: str = "text"
    quiet: bool = False
    verbose: bool = False
    color: bool = True
    yes: bool = False
    home: Path = field(default_factory=Path.cwd)

    @property
    def machine(self) -> bool:
        """Whether stdout is for a program (json or jsonl)."""
        return self.format != "text"

    def console(self, stream: TextIO | None = None) -> Console:
        """A rich console on `stream` (stdout by default); 120 columns where there is no terminal.

        Markup is on: pass text that comes from files or users through `rich.markup.escape`.
        """
        from rich.console import Console

        stream = stream or sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else 120
        return Console(file=stream, no_color=not self.color, highlight=False, emoji=False, width=width)

    def result(self, data: Mapping[str, Any], text: Callable[[Console], None] | str) -> None:
        """Print the outcome of a command: `data` in the envelope, or `text` for people."""
        if self.machine:
            self._envelope({"status": "ok", "data": data})
        elif callable(text):
            text(self.console())
        else:
            print(text)

    def event(self, data: Mapping[str, Any]) -> None:
        """One line of a jsonl stream; nothing in the other formats."""
        if self.format == "jsonl":
            print(_json(data), flush=True)

    def note(self, line: str) -> None:
        """Tell people something in passing (stderr; silent under --quiet)."""
        if not self.quiet:
            self._tell(printable(line))

    def detail(self, line: str) -> None:
        """A note that only --verbose shows."""
        if self.verbose:
            self._tell(self._styled(printable(line), dim=True))

    def warn(self, line: str) -> None:
        """Something that a person should look at; shown even under --quiet."""
        self._tell(f"{self._styled('warning:', fg='yellow', bold=True)} {printable(line)}")

    def confirm(self, question: str) -> None:
        """Return if --yes was given or the person agrees.

        Raises:
            ConfigError: nobody can be asked (no terminal, or output for a program).
            click.Abort: the person declined.
        """
        if self.yes:
            return
        if self.machine or not sys.stdin.isatty():
            raise ConfigError(f"needs a confirmation: {question}", fix="repeat with --yes: secure-fl --yes …")
        click.confirm(question, abort=True, err=True)

    def error(self, error: SecureFLError, *, data: Mapping[str, Any] | None = None) -> None:
        """Print a foreseen error; `data` tells a program what exists nevertheless (a run folder, say)."""
        if self.machine:
            self._envelope(
                {
                    "status": "error",
                    "error_code": error.code,
                    "message": error.what,
                    "why": error.why,
                    "hint": error.fix,
                    "exit_code": error.exit_code,
                    "data": data or {},
                }
            )
            return
        self._labelled("error:", error.what, fg="red", bold=True)
        if error.why:
            self._labelled("  why:", error.why, bold=True)
        if error.fix:
            self._labelled("  fix:", error.fix, fg="green", bold=True)
        self._labelled("  code:", error.code, dim=True)

    def _envelope(self, body: Mapping[str, Any]) -> None:
        last = {"terminal": True} if self.format == "jsonl" else {}
        print(_json({"schema_version": SCHEMA_VERSION, **body, **last}), flush=True)

    def _labelled(self, label: str, text: str, **style: Any) -> None:
        text = printable(text)
        if sys.stderr.isatty():
            width = max(40, min(shutil.get_terminal_size().columns, 100) - len(label) - 1)
            lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
            text = ("\n" + " " * (len(label) + 1)).join(lines)
        self._tell(f"{self._styled(label, **style)} {text}")

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self.color and sys.stderr.isatty() else text

    def _tell(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


_current = Output()


def begin(output: Output) -> None:
    """Make `output` the one of this invocation."""
    global _current
    _current = output
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a character must not end the command
            reconfigure(errors="replace")


def current() -> Output:
    """How this invocation speaks."""
    return _current


def home() -> Path:
    """The folder that holds `runs/` and `federation/`: --home, else SFL_HOME, else the current one."""
    return _current.home


def examples(*commands: str) -> str:
    """The epilog of a command's --help; a test runs each of these commands."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"$ {command}" for command in commands)])


def shown_path(path: Path) -> str:
    """`path` as short as it can be typed: relative to the current folder if it is inside."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def printable(text: str) -> str:
    """`text` without control characters: a site or a file name must not steer the terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """`value` in JSON's own types: NaN and infinities as null, paths as text, NumPy scalars as numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
