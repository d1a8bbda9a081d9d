"""The form of a new run, derived from the declarations of the settings, and the command that does the same.

A value arrives as text. It is accepted or refused by what judges flags and files (`secure_fl.settings.checked`,
`RunConfig`), so the form, the command line and the docs cannot come to disagree.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any, cast

from secure_fl.cli.config_flags import RUN_FLAGS
from secure_fl.config import RunConfig, Scalar, key_of, setting_fields
from secure_fl.config_sources import preset_names, resolve
from secure_fl.errors import ConfigError
from secure_fl.settings import checked
from webui.orders import NOT_HERE

__all__ = ["Group", "Input", "Judged", "command_of", "groups_of", "judged", "preset_values", "presets", "values_of"]

# What most people decide; the rest of each group is folded away.
_FIRST = frozenset(
    (
        *("dataset", "sites", "partition", "alpha", "model", "rounds", "local-epochs", "lr"),
        *("dp-epsilon", "dp-delta", "dp-unit", "defense", "byzantine", "attack", "attackers", "secagg"),
        *("grid", "audit", "seed"),
    )
)
_TITLES = {
    "privacy": "Differential privacy",
    "secagg": "Secure aggregation",
    "defense": "Defense and simulated attack",
}


@dataclass(frozen=True)
class Input:
    """One field. kind: check, choice, int, float or text; low, high: inclusive, None where there is none."""

    key: str
    kind: str
    default: Scalar
    help: str
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    unit: str
    first: bool

    @property
    def label(self) -> str:
        return self.key.replace("-", " ")

    @property
    def range_words(self) -> str:
        """`1 to 1000`, or nothing."""
        if self.low is None and self.high is None:
            return ""
        if self.high is None:
            return f"at least {_figure(self.low)}"
        return f"{_figure(self.low)} to {_figure(self.high)}"


@dataclass(frozen=True)
class Group:
    """Fields that belong together."""

    name: str
    title: str
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Judged:
    """What came of a form. errors: by key, "" for what is wrong with the whole. config: None where there are errors."""

    values: Mapping[str, str]
    errors: Mapping[str, str]
    config: RunConfig | None


def groups_of() -> tuple[Group, ...]:
    """All fields that a run can be given here, in the order of declaration."""
    found: dict[str, list[Input]] = {}
    for declared in setting_fields():
        if key_of(declared.name) not in NOT_HERE:
            found.setdefault(declared.metadata["group"], []).append(_input(declared))
    return tuple(Group(name, _TITLES.get(name, name.capitalize()), tuple(inputs)) for name, inputs in found.items())


def presets() -> tuple[str, ...]:
    """The names of the bundled presets."""
    return tuple(preset_names())


def preset_values(name: str) -> dict[str, str]:
    """The form's fields as a preset fills them in; the defaults for "".

    Raises:
        ConfigError: there is no such preset.
    """
    return values_of(resolve(flags={}, environ={}, preset=name or None).config)


def values_of(config: RunConfig) -> dict[str, str]:
    """The form's fields as they are for a run with these settings."""
    return {key: _text(value) for key, value in config.to_mapping().items() if key not in NOT_HERE}


def judged(form: Mapping[str, str]) -> Judged:
    """Check every field by itself and then all together; keys that the form does not have are ignored."""
    values: dict[str, str] = {}
    accepted: dict[str, Scalar] = {}
    errors: dict[str, str] = {}
    for declared in setting_fields():
        key = key_of(declared.name)
        if key in NOT_HERE:
            continue
        is_flag = type(declared.default) is bool
        text = _flag(form.get(key, "")) if is_flag else form.get(key, _text(cast(Scalar, declared.default))).strip()
        values[key] = text
        try:
            accepted[key] = checked(declared, text)
        except ConfigError as error:
            errors[key] = _sentence(error.fix or error.what)
    if errors:
        return Judged(values, errors, None)
    try:
        return Judged(values, {}, RunConfig.from_mapping(accepted))
    except ConfigError as error:
        words = ": ".join(filter(None, (error.what, error.why)))
        return Judged(
            values, {_culprit(error.what): _sentence(f"{words}. {_sentence(error.fix)}" if error.fix else words)}, None
        )


def command_of(config: RunConfig) -> str:
    """The command line that starts the same run."""
    words, default = ["secure-fl", "run"], RunConfig().to_mapping()
    for key, value in config.to_mapping().items():
        if value == default[key]:
            continue
        if key not in RUN_FLAGS:
            words += ["-c", f"{key}={_text(value)}"]
        elif isinstance(value, bool):
            words.append(f"--{key}")
        else:
            words += [f"--{key}", _text(value)]
    return shlex.join(words)


def _flag(text: str) -> str:
    """A browser sends nothing for a box that is not ticked."""
    return "true" if text in ("on", "true") else "false"


def _input(declared: Field[Any]) -> Input:
    meta, key = declared.metadata, key_of(declared.name)
    kind = (
        "choice"
        if meta["choices"]
        else {bool: "check", int: "int", float: "float", str: "text"}[type(declared.default)]
    )
    return Input(
        key=key,
        kind=kind,
        default=cast(Scalar, declared.default),
        help=meta["help"],
        choices=meta["choices"],
        low=meta["low"] if math.isfinite(meta["low"]) else None,
        high=meta["high"] if math.isfinite(meta["high"]) else None,
        unit=meta["unit"],
        first=key in _FIRST,
    )


def _figure(value: float | None) -> str:
    """A bound as people write it: `1,000,000`, `0.01`, `1e-15`."""
    return "" if value is None else f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _culprit(what: str) -> str:
    """The first setting that a refusal names in backticks, so that the message stands beside its field."""
    quoted = what.split("`")[1::2]
    keys = {key_of(each.name) for each in setting_fields()} - NOT_HERE
    return next((each for each in quoted if each in keys), "")


def _text(value: Scalar) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float) and float(f"{value:g}") == value
        else str(value)
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
