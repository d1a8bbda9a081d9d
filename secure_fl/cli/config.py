"""`secure-fl config show`: every setting, its value, its unit, and the source that the value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_fl.cli.config_flags import RUN_FLAGS, with_settings
from secure_fl.cli.output import current, examples
from secure_fl.config import GROUPS, key_of, setting_fields
from secure_fl.config_sources import ResolvedConfig

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", help="Show every setting, and where its value comes from.")


@app.callback()
def config() -> None:
    """Show every setting, and where its value comes from."""


@app.command(
    epilog=examples(
        "secure-fl config show --preset demo --origin",
        "secure-fl config show -c momentum=0.5 --lr 0.05 --origin",
    )
)
@with_settings(*RUN_FLAGS)
def show(
    resolved: ResolvedConfig,
    origin: Annotated[bool, typer.Option("--origin", help="also say where each value comes from")] = False,
) -> None:
    """Show all settings as `run` would use them with the same flags."""
    rows = _rows(resolved)
    data: dict[str, Any] = {"settings": rows, "digest": resolved.config.digest()}
    current().result(data, lambda console: _table(console, rows, with_origin=origin))


def _rows(resolved: ResolvedConfig) -> list[dict[str, Any]]:
    values = resolved.config.to_mapping()
    return [
        {
            "key": key_of(each.name),
            "value": values[key_of(each.name)],
            "unit": each.metadata["unit"],
            "origin": resolved.origins[key_of(each.name)],
            "group": each.metadata["group"],
            "help": each.metadata["help"],
            "choices": list(each.metadata["choices"]),
        }
        for each in setting_fields()
    ]


def _table(console: Console, rows: list[dict[str, Any]], *, with_origin: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    # Where the origin takes the room, the meaning has to wait for a wider terminal.
    with_meaning = not with_origin or console.width >= 100
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("key", "value", *["origin"] * with_origin, *["meaning"] * with_meaning):
        table.add_column(title, overflow="fold", no_wrap=title == "key")
    for group in GROUPS:
        table.add_row(f"[dim]{group}[/dim]")
        for row in (row for row in rows if row["group"] == group):
            changed = row["origin"] != "default"
            shown = escape(f"{_shown(row['value'])} {row['unit']}".strip())
            cells = [f"  {row['key']}", f"[bold cyan]{shown}[/]" if changed else shown]
            cells += [escape(row["origin"]) if changed else "[dim]default[/dim]"] * with_origin
            cells += [f"[dim]{escape(row['help'])}[/dim]"] * with_meaning
            table.add_row(*cells)
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else "-"
