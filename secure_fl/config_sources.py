"""Where each setting came from: flag > `-c` > SFL_* environment > --config file > preset > default.

The merge keeps the origin of every value, so that `secure-fl config show --origin` can answer "why
is it 0.02?". A file is TOML, either with the keys at top level or under `[secure-fl]`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from secure_fl.config import RunConfig, Scalar, key_of, setting_fields, unknown_key
from secure_fl.errors import ConfigError

__all__ = ["ENV_PREFIX", "ResolvedConfig", "parse_assignments", "preset_names", "resolve"]

ENV_PREFIX = "SFL_"
# Environment variables of ours that are not settings of a run.
_NOT_SETTINGS = frozenset({"SFL_HOME"})


@dataclass(frozen=True)
class ResolvedConfig:
    """A config and, for each kebab-case key, the source that its value was taken from."""

    config: RunConfig
    origins: Mapping[str, str]


def resolve(
    *,
    flags: Mapping[str, Any],
    assignments: Sequence[str] = (),
    environ: Mapping[str, str],
    file: Path | None = None,
    preset: str | None = None,
) -> ResolvedConfig:
    """Merge all sources by precedence and validate the result.

    Args:
        flags: snake- or kebab-case key to value, only those that were given.
        assignments: `key=value` texts of `-c`.
        environ: usually `os.environ`; names that begin with `SFL_` are settings.

    Raises:
        ConfigError: unknown key, unreadable file, or refused value; the message names the source.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if preset is not None:
        layers.append((f"preset {preset}", _preset(preset)))
    if file is not None:
        layers.append((str(file), _file(file)))
    layers += _environment(environ)
    layers.append(("-c", parse_assignments(assignments)))
    layers.append(("flag", flags))

    values: dict[str, Any] = {}
    origins = {key_of(each.name): "default" for each in setting_fields()}
    for origin, layer in layers:
        for key, value in layer.items():
            kebab = key_of(key)
            if kebab not in origins:
                raise _with_source(unknown_key(key), origin)
            values[kebab], origins[kebab] = value, origin
    _check_each(values, origins)
    return ResolvedConfig(RunConfig.from_mapping(values), origins)


def parse_assignments(texts: Sequence[str]) -> dict[str, Scalar]:
    """`["lr=0.1", "norm=batch"]` as a mapping; values stay text and are converted by the schema."""
    parsed: dict[str, Scalar] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"`-c {text}` is not key=value", fix="write for example: -c momentum=0.5")
        parsed[key_of(key.strip())] = value.strip()
    return parsed


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(each.name.removesuffix(".toml") for each in _preset_folder().iterdir() if each.name.endswith(".toml"))


def _preset_folder() -> Any:
    return resources.files("secure_fl") / "presets"


def _preset(name: str) -> Mapping[str, Any]:
    if name not in preset_names():
        raise ConfigError(f"no preset `{name}`", fix=f"choose one of: {', '.join(preset_names())}")
    return tomllib.loads((_preset_folder() / f"{name}.toml").read_text(encoding="utf-8"))


def _file(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read config file {path}", why=error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {path} is not UTF-8 text", why=str(error)) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML", why=str(error)) from None
    settings = table.get("secure-fl", table)
    if not isinstance(settings, dict):
        raise ConfigError(f"`secure-fl` in {path} is not a table", fix="write [secure-fl] above the settings")
    return settings


def _environment(environ: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
    """One layer a variable, so that each is named as the origin of its own setting."""
    return [
        (name, {name.removeprefix(ENV_PREFIX).lower(): value})
        for name, value in environ.items()
        if name.startswith(ENV_PREFIX) and name not in _NOT_SETTINGS
    ]


def _check_each(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Validate value by value first, so that a refusal can name the source of the culprit."""
    for key, value in values.items():
        try:
            RunConfig.from_mapping({key: value})
        except ConfigError as error:
            if f"`{key}` is" in error.what and " but " not in error.what:
                raise _with_source(error, origins[key]) from None


def _with_source(error: ConfigError, origin: str) -> ConfigError:
    return ConfigError(f"{error.what} (from {origin})", why=error.why, fix=error.fix)
