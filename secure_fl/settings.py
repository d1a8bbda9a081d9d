"""How a setting is declared, and how a value that somebody typed becomes one that the declaration accepts.

Each field of `RunConfig` is one `setting(...)`: its default (whose type is the setting's type), range, unit and a line
of help. `checked` turns text from flags, files and the environment into that type, and refuses with the key, the value,
and what would be accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any, NoReturn

from secure_fl.errors import ConfigError

__all__ = ["Scalar", "checked", "key_of", "setting"]

Scalar = bool | int | float | str


def setting(
    default: Scalar,
    help: str,
    group: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    unit: str = "",
) -> Any:
    """Declare one setting; `low` and `high` are inclusive."""
    return field(
        default=default,
        metadata={
            "help": help,
            "group": group,
            "choices": choices,
            "low": low,
            "high": high,
            "unit": unit,
        },
    )


def key_of(name: str) -> str:
    """The kebab-case key of a field."""
    return name.replace("_", "-")


def checked(declared: Field[Any], value: Any) -> Scalar:
    """`value` as the declared type, or a refusal that says what would be accepted."""
    key, wanted, meta = key_of(declared.name), type(declared.default), declared.metadata
    try:
        accepted = _coerced(value, wanted)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"`{key}` is {value!r}", fix=f"give {_article(wanted)}") from None
    if meta["choices"] and accepted not in meta["choices"]:
        raise ConfigError(f"`{key}` is {accepted!r}", fix=f"choose one of: {', '.join(meta['choices'])}")
    if wanted in (int, float) and not meta["low"] <= accepted <= meta["high"]:
        raise ConfigError(f"`{key}` is {accepted}", fix=f"give a value {_range_words(meta)}")
    return accepted


def _coerced(value: Any, wanted: type) -> Scalar:
    """Accept text (from flags and the environment) and exact numeric conversions, nothing lossy."""
    if wanted is bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return words[str(value).lower()] if str(value).lower() in words else _refuse()
    if wanted is int:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            _refuse()
        return int(value)
    if wanted is float:
        number = _refuse() if isinstance(value, bool) else float(value)
        return number if math.isfinite(number) else _refuse()
    return value if isinstance(value, str) else _refuse()


def _refuse() -> NoReturn:
    raise ValueError


def _article(wanted: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[wanted]


def _range_words(meta: Mapping[str, Any]) -> str:
    low, high, unit = meta["low"], meta["high"], meta["unit"]
    suffix = f" {unit}" if unit else ""
    if math.isinf(high):
        return f"of at least {_number(low)}{suffix}"
    return f"between {_number(low)} and {_number(high)}{suffix}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
