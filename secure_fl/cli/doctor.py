"""`secure-fl doctor`: is this machine fit to run a federation, and if not, what to type.

The whole takes about three seconds at most, also where importing PyTorch takes much longer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fl.cli import checks, installation
from secure_fl.cli.checks import Check
from secure_fl.cli.output import current, examples, home, printable
from secure_fl.errors import SecureFLError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["UnfitError", "app", "examine"]

IMPORT_LIMIT_S = 2.5

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


class UnfitError(SecureFLError):
    """At least one check failed."""

    code = "CHECK_FAILED"
    exit_code = 1


@app.command(epilog=examples("secure-fl doctor", "secure-fl --format json doctor"))
def doctor(
    port: Annotated[int, typer.Option("--port", metavar="INT", help="try this port; 0: any", min=0, max=65535)] = 0,
) -> None:
    """Check this machine, and say how to fix what is wrong.

    Each line is ok, warn or fail; what is not ok comes with a fix. Exit code 1 if a check failed.
    """
    found = examine(home(), port=port, import_limit_s=IMPORT_LIMIT_S)
    counts = Counter(check.level for check in found)
    data = {"checks": [asdict(check) for check in found], **{level: counts[level] for level in ("ok", "warn", "fail")}}
    failed = [check for check in found if check.level == "fail"]
    if not failed:
        current().result(data, lambda console: _table(console, found))
        return
    if not current().machine:
        _table(current().console(), found)
    current().error(UnfitError(f"{len(failed)} of {len(found)} checks failed", fix=failed[0].fix), data=data)
    raise typer.Exit(UnfitError.exit_code)


def examine(home: Path, *, port: int = 0, import_limit_s: float) -> list[Check]:
    """All checks, in the order in which people should read them."""
    import psutil

    federation = home / "federation"
    with installation.importing(import_limit_s) as pytorch:
        found = [checks.python(), *installation.packages()]
        later = [
            checks.processor(),
            checks.memory(psutil.virtual_memory().available),
            checks.shared_memory(),
            checks.port(number=port),
            checks.disk(home),
            *checks.certificates(federation),
            *checks.private_keys(federation),
            checks.runs(home),
        ]
        return [*found, *(installation.torch_builds() or [pytorch()]), *later]


def _table(console: Console, found: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    signs = {"ok": ("✓ ok", "green"), "warn": ("! warn", "yellow"), "fail": ("✗ fail", "bold red")}
    for check in found:
        sign, style = signs[check.level]
        table.add_row(
            Text(sign, style=style), Text(check.name, style="bold"), Text(printable(check.found), overflow="fold")
        )
        if check.fix:
            table.add_row("", "", Text(f"fix: {printable(check.fix)}", style="cyan", overflow="fold"))
    console.print(table)
