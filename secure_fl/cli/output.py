"""What goes to stdout, what goes to stderr, and how a command ends. The contract:

- stdout holds the result and nothing else: text for people, or with `--format json` exactly one
  envelope `{"schema_version": "1", "status": "ok"|"error", "data": …}`. An error envelope has
  `error_code`, `message`, `why`, `hint` and `exit_code`.
- `--format jsonl` writes one event object a line as things happen, then the envelope with
  `"terminal": true` as the last line.
- stderr holds notes, warnings, progress and, in text mode, errors in four lines: error, why, fix, code.
- Every way to fail has an exit code (`EXIT_CODES`); `reporting` is the one place that decides it.

`main` wraps every command in `reporting`, so a command just raises a `SecureFLError`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    "reporting",
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


@contextmanager
def reporting() -> Iterator[None]:
    """Turn whatever is raised inside into output and an exit code (`SystemExit`)."""
    try:
        yield
    except SecureFLError as error:
        _end(error)
    except click.exceptions.NoArgsIsHelpError as error:
        if _current.machine:
            _end(_foreseen("USAGE", 2, "no command given", fix="add --help"))
        print(error.format_message(), file=sys.stderr)
        raise SystemExit(2) from None
    except click.ClickException as error:
        _end(usage_error(error))
    except (click.Abort, KeyboardInterrupt):
        _end(_foreseen("INTERRUPTED", 130, "interrupted"))
    except BrokenPipeError:
        raise
    except PermissionError as error:
        _end(_foreseen("PERMISSION_DENIED", 4, f"no permission for {error.filename}", fix="choose --home DIR"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            _end_crashed(error)
        _end(_foreseen("DISK_UNWRITABLE", 1, f"cannot write {error.filename or ''}".strip(), why=error.strerror or ""))
    except (click.exceptions.Exit, SystemExit):
        raise
    except Exception as error:
        _end_crashed(error)


def usage_error(error: click.ClickException) -> SecureFLError:
    """click's complaint about the command line in our words: what, and the command that helps."""
    message = error.format_message().rstrip(".")
    what = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "secure-fl"
    fix = f"{path} --help"
    if isinstance(error, click.NoSuchOption):
        fix = _where_option_belongs(error.option_name, path) or fix
    return _foreseen("USAGE", 2, what, fix=fix)


def _where_option_belongs(option: str, path: str) -> str:
    """The fix for an option that exists, but not here; empty if we know of none."""
    from secure_fl.config import key_of, setting_fields

    if option in ("--format", "--quiet", "-q", "--verbose", "-v", "--no-color", "--home", "--yes", "--version", "-V"):
        return f"global options go before the command: secure-fl {option} … {path.removeprefix('secure-fl').strip()}"
    key = option.removeprefix("--")
    if key in {key_of(each.name) for each in setting_fields()}:
        return f"this setting has no flag of its own here; write: -c {key}=VALUE"
    return ""


def _foreseen(code: str, exit_code: int, what: str, *, why: str = "", fix: str = "") -> SecureFLError:
    error = SecureFLError(what, why=why, fix=fix)
    error.code, error.exit_code = code, exit_code
    return error


def _end(error: SecureFLError) -> None:
    if _current.verbose:
        traceback.print_exc()
    _current.error(error)
    raise SystemExit(error.exit_code) from None


def _end_crashed(error: BaseException) -> None:
    path = _crash_file()
    _end(
        _foreseen(
            "INTERNAL",
            70,
            f"internal error: {type(error).__name__}: {error}",
            why="this is a bug in secure-fl, not in what you typed",
            fix=f"please report it with the crash file {path}",
        )
    )


def _crash_file() -> Path:
    """The traceback of the current exception in HOME/crashes, or in the temporary folder; mode 0600."""
    from secure_fl import __version__

    text = f"secure-fl {__version__} · Python {sys.version}\narguments: {sys.argv[1:]}\n\n{traceback.format_exc()}"
    for folder in (_current.home / "crashes", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=time.strftime("secure-fl-%Y%m%d-%H%M%S-"), suffix=".txt", dir=folder)
        except OSError:  # read-only home: try the next folder
            continue
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return Path(name)
    return Path(os.devnull)


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
