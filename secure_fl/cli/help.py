"""The page that `--help` prints, laid out for 80 columns and up.

Typer's own page needs a Markdown parser and a syntax highlighter, which take longer to import than
everything else at start-up; this one needs neither. Help texts may use the few rich tags in `_TAGS`;
other square brackets are left as they are.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
from functools import partial

import click

from secure_fl.cli.output import current

__all__ = ["help_page", "install_help"]

_TAGS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_TAG = re.compile(r"(?<!\\)\[(/?)(" + "|".join(_TAGS) + r"|(?<=/))\]")
_HANG = 4
_LEFT_MOST = 26

Row = tuple[str, str]


def install_help(command: click.Command) -> None:
    """Let `command` and all below it print this page."""
    command.get_help = partial(help_page, command)  # type: ignore[method-assign]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            install_help(each)


def help_page(command: click.Command, ctx: click.Context) -> str:
    """The help of one command: usage, what it does, its options by panel, its commands, examples."""
    width = min(shutil.get_terminal_size().columns, 100)
    pieces = " ".join(command.collect_usage_pieces(ctx))
    parts = [f"[bold]Usage:[/bold] {ctx.command_path} {pieces}", *_prose(command.help or "", width)]
    for title, rows in _panels(command, ctx):
        parts.append("\n".join([f"[bold]{title}[/bold]", *_columns(rows, width)]))
    if command.epilog:
        parts.append(re.sub(r"\n\n(?=[$ \[])", "\n  ", command.epilog))
    return _styled("\n\n".join(parts))


def _prose(text: str, width: int) -> list[str]:
    paragraphs = textwrap.dedent(text).strip().split("\n\n")
    return ["\n".join(_wrapped(each, width - 2, "  ", "  ")) for each in paragraphs if each]


def _panels(command: click.Command, ctx: click.Context) -> list[tuple[str, list[Row]]]:
    """Rows by panel, in the order in which panels first appear; plain options come after the others."""
    panels: dict[str, list[Row]] = {"Arguments": []}
    plain: list[Row] = []
    for param in command.get_params(ctx):
        panel = getattr(param, "rich_help_panel", None)
        if getattr(param, "hidden", False):
            continue
        if not isinstance(param, click.Option):
            panels.setdefault(panel or "Arguments", []).append(_argument_row(param, command, ctx))
        elif panel is None:
            plain.append(_option_row(param, ctx))
        else:
            panels.setdefault(panel, []).append(_option_row(param, ctx))
    panels["Options"] = plain
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            if below is not None and not below.hidden:
                panel = getattr(below, "rich_help_panel", None) or "Commands"
                panels.setdefault(panel, []).append((name, below.get_short_help_str(limit=200)))
    return [(title, rows) for title, rows in panels.items() if rows]


def _option_row(option: click.Option, ctx: click.Context) -> Row:
    """How an option is written, and what it means, with its default."""
    flags = ", ".join(sorted(option.opts, key=len)) + "".join(f" / {each}" for each in option.secondary_opts)
    name = flags if option.is_flag or option.count else f"{flags} {option.make_metavar(ctx)}"
    words = [option.help or ""]
    default = option.get_default(ctx, call=False)
    if option.show_default and isinstance(default, (int, float, str)) and default not in ("", False):
        words.append(f"[dim](default: {getattr(default, 'value', default)})[/dim]")
    if option.envvar:
        words.append(f"[dim](or set {option.envvar})[/dim]")
    return name, " ".join(words)


def _argument_row(argument: click.Parameter, command: click.Command, ctx: click.Context) -> Row:
    """The same for an argument. Typer 0.20 loses an argument's help under click 8.5: ask the declaration."""
    function = inspect.signature(command.callback, eval_str=True) if command.callback is not None else None
    declared = function.parameters.get(argument.name or "") if function is not None else None
    infos = getattr(declared.annotation, "__metadata__", ()) if declared is not None else ()
    texts = [getattr(argument, "help", None) or "", *(getattr(info, "help", None) or "" for info in infos)]
    return argument.make_metavar(ctx), next(filter(None, texts), "")


def _columns(rows: list[Row], width: int) -> list[str]:
    """Two columns; a left side that is too long stands on a line of its own."""
    left = min(_LEFT_MOST, max(len(name) for name, _ in rows)) + 4
    lines = []
    for name, text in rows:
        wrapped = _wrapped(text, width, " " * left, " " * left)
        first = f"  [cyan]{name}[/cyan]"
        if len(name) + 4 <= left and wrapped:
            lines.append(first + " " * (left - 2 - len(name)) + wrapped.pop(0).lstrip())
        else:
            lines.append(first)
        lines += wrapped
    return lines


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Words of `text` in lines of at most `width` visible characters."""
    lines, line, indent = [], first, first
    for word in text.split():
        if line != indent and len(_bare(line)) + 1 + len(_bare(word)) > width:
            lines.append(line)
            line = indent = rest
        line += word if line == indent else f" {word}"
    return [*lines, line] if line.strip() else lines


def _bare(text: str) -> str:
    return _TAG.sub("", text).replace("\\[", "[")


def _styled(text: str) -> str:
    if not (current().color and sys.stdout.isatty()):
        return _bare(text)
    ansi = _TAG.sub(lambda tag: "\x1b[0m" if tag[1] else f"\x1b[{_TAGS[tag[2]]}m", text)
    return ansi.replace("\\[", "[")
