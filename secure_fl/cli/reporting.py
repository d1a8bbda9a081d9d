"""How a command ends: whatever is raised inside becomes output and one of the documented exit codes.

Errors that we foresaw say what, why and fix. What the operating system refuses for want of rights or
room is the user's to mend, so it is told the same way. Anything else is a bug of ours: it leaves a
crash file, and no traceback on the screen unless --verbose asks for it.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from secure_fl.cli.output import current
from secure_fl.errors import SecureFLError

__all__ = ["reporting", "usage_error"]


@contextmanager
def reporting() -> Iterator[None]:
    """Turn whatever is raised inside into output and an exit code (`SystemExit`)."""
    try:
        yield
    except SecureFLError as error:
        _end(error)
    except click.exceptions.NoArgsIsHelpError as error:
        if current().machine:
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
    message, hint, guess = error.format_message().partition("Did you mean")
    guess = guess.partition("Did you mean")[0]  # click and Typer both guess
    what = (message[:1].lower() + message[1:]).rstrip(". (") + (
        f"; {hint.lower()}{guess.rstrip(' ()')}" if hint else ""
    )
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


def _end(error: SecureFLError) -> NoReturn:
    if current().verbose:
        traceback.print_exc()
    current().error(error)
    raise SystemExit(error.exit_code) from None


def _end_crashed(error: BaseException) -> NoReturn:
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
    for folder in (current().home / "crashes", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=time.strftime("secure-fl-%Y%m%d-%H%M%S-"), suffix=".txt", dir=folder)
        except OSError:  # read-only home: try the next folder
            continue
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return Path(name)
    return Path(os.devnull)
