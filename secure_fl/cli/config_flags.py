"""Command-line flags derived from the declarations in `secure_fl.config`, so that they never differ.

    @app.command("show")
    @with_settings(*DATA_FLAGS)
    def show(resolved: ResolvedConfig, top: int = 5) -> None: ...

gives the command a flag for each named key (help, choices and default as declared), and `--preset`,
`--config FILE` and `-c key=value` for all other keys. A flag counts as given only if a person typed
it: its default is None, and the value shown as default comes from the declaration.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from secure_fl.config import key_of, setting_fields
from secure_fl.config_sources import preset_names, resolve

__all__ = ["DATA_FLAGS", "RUN_FLAGS", "with_settings"]

DATA_FLAGS = ("dataset", "data-dir", "download", "skip-bad-images", "partition", "alpha", "sites", "seed")
RUN_FLAGS = (
    *("dataset", "data-dir", "download", "skip-bad-images", "partition", "alpha", "sites"),
    *("model", "norm", "weights"),
    *("rounds", "local-epochs", "batch-size", "lr"),
    *("dp-epsilon", "dp-delta", "dp-unit"),
    *("secagg", "secagg-group-size"),
    *("defense", "byzantine", "attack", "attackers"),
    *("grid", "audit", "seed"),
)

SOURCES_PANEL = "All other settings"
_PANELS = {
    "data": "Data",
    "model": "Model",
    "training": "Training",
    "privacy": "Privacy",
    "secagg": "Privacy",
    "defense": "Defense",
    "federation": "Federation",
    "audit": "Federation",
    "run": "Federation",
}
# Sites say how data are dealt, so people look for them there.
_PANEL_OF_KEY = {"sites": "Data"}


def with_settings(*keys: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command whose first parameter is a `ResolvedConfig`: it gets flags for `keys` instead.

    Raises (when decorating):
        KeyError: a key is not a setting.
    """
    declared = {key_of(each.name): each for each in setting_fields()}
    chosen = [declared[key] for key in keys]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        _, *own = signature.parameters.values()

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            flags = {each.name: given.pop(each.name) for each in chosen}
            resolved = resolve(
                flags={name: value for name, value in flags.items() if value is not None},
                preset=given.pop("preset"),
                file=given.pop("config_file"),
                assignments=given.pop("assignments") or (),
                environ=os.environ,
            )
            command(resolved, **given)

        flags = [_flag(each) for each in chosen]
        parameters = [_keyword_only(each) for each in (*own, *flags, *_SOURCES)]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        del wrapped.__wrapped__  # Typer must see our signature, not the command's
        return wrapped

    return decorate


def _flag(declared: Field[Any]) -> inspect.Parameter:
    """The option of one setting; its type is that of the declared default, or None when not given."""
    meta, key, wanted = declared.metadata, key_of(declared.name), type(declared.default)
    panel = _PANEL_OF_KEY.get(key, _PANELS[meta["group"]])
    option = typer.Option(
        f"--{key}",
        help=_help(declared),
        rich_help_panel=panel,
        show_default=False,
        click_type=click.Choice(meta["choices"]) if meta["choices"] else None,
        metavar=None if wanted is bool else _metavar(declared),
    )
    return _parameter(declared.name, Annotated[wanted | None, option])


def _help(declared: Field[Any]) -> str:
    """The declared line of help, with choices, unit and default, as rich markup."""
    meta, default = declared.metadata, declared.default
    words = [meta["help"].replace("[", "\\[")]
    if any(choice not in meta["help"] for choice in meta["choices"]):
        words = [f"{words[0]}:", f"[cyan]{', '.join(meta['choices'])}[/cyan]"]
    if not isinstance(default, bool) and default != "":
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        words.append(f"[dim](default: {' '.join(filter(None, (shown, meta['unit'])))})[/dim]")
    return " ".join(words)


def _metavar(declared: Field[Any]) -> str:
    if declared.name.endswith("_dir"):
        return "DIR"
    if declared.name == "weights":
        return "FILE"
    return {int: "INT", float: "NUMBER"}.get(type(declared.default), "NAME")


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _keyword_only(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _complete_assignment(incomplete: str) -> list[tuple[str, str]]:
    return [
        (f"{key_of(each.name)}=", each.metadata["help"])
        for each in setting_fields()
        if key_of(each.name).startswith(incomplete)
    ]


_SOURCES = (
    _parameter(
        "preset",
        Annotated[
            str | None,
            typer.Option(
                "--preset",
                metavar="NAME",
                help=f"start from settings that ship with us: {', '.join(preset_names())}",
                autocompletion=preset_names,
                rich_help_panel=SOURCES_PANEL,
            ),
        ],
    ),
    _parameter(
        "config_file",
        Annotated[
            Path | None,
            typer.Option("--config", metavar="FILE", help="settings from a TOML file", rich_help_panel=SOURCES_PANEL),
        ],
    ),
    _parameter(
        "assignments",
        Annotated[
            list[str] | None,
            typer.Option(
                "-c",
                metavar="KEY=VALUE",
                help="any setting, repeatable; `secure-fl config show` lists them all",
                autocompletion=_complete_assignment,
                rich_help_panel=SOURCES_PANEL,
            ),
        ],
    ),
)
