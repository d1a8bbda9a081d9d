"""Frozen dataclasses to JSON and back, strictly: what is missing, unknown or of the wrong kind is an error.

A report is signed evidence, so a part that is not there must never read as a blank. The bytes are those of RFC 8785
(one text for one value), which makes a digest of a value possible, and a second spelling of it a forgery.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import rfc8785

__all__ = ["ShapeError", "canonical", "digest", "from_mapping", "strict_json", "to_mapping"]

_T = TypeVar("_T")
_LARGEST = 2**53 - 1  # integers that every JSON reader keeps exactly (RFC 8785, 3.2.2.3)


class ShapeError(ValueError):
    """A value that is not of the declared shape; the message names the place."""


def to_mapping(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists, enums as their values; raises ShapeError for numbers that JSON lacks."""
    match value:
        case Enum():
            return value.value
        case str():
            # A site's name may hold bytes that are no text; it must not be able to stop the report.
            return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case None | bool():
            return value
        case int() if abs(value) <= _LARGEST:
            return value
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [to_mapping(each) for each in value]
        case Mapping():
            return {to_mapping(str(key)): to_mapping(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_mapping(getattr(value, field.name)) for field in fields(value)}
    raise ShapeError(f"{value!r} has no place in JSON")


def from_mapping(cls: type[_T], raw: Any, at: str = "document") -> _T:
    """The dataclass that `raw` describes, with every field there and no other. `at`: its name in error messages."""
    if not isinstance(raw, Mapping):
        raise ShapeError(f"{at} is no object")
    hints = _hints(cls)  # type: ignore[arg-type]
    if missing := sorted(hints.keys() - raw.keys()):
        raise ShapeError(f"{at}.{missing[0]} is missing")
    if unknown := sorted(raw.keys() - hints.keys()):
        raise ShapeError(f"{at}.{unknown[0]} is not known")
    values = {name: _value(hint, raw[name], f"{at}.{name}") for name, hint in hints.items()}
    try:
        return cls(**values)
    except ShapeError:
        raise
    except ValueError as why:
        raise ShapeError(f"{at}: {why}") from why


def canonical(value: Any) -> bytes:
    """RFC 8785 JSON of a value; raises ShapeError where there is none."""
    try:
        return rfc8785.dumps(to_mapping(value))
    except (rfc8785.CanonicalizationError, RecursionError) as why:
        raise ShapeError(f"no canonical JSON: {why}") from why


def digest(value: Any) -> str:
    """SHA-256 of `canonical(value)`, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def strict_json(text: bytes) -> Any:
    """The value of canonical JSON; raises ShapeError for any other spelling, and for an object that has a key twice."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer)
    except (ValueError, OverflowError, RecursionError) as why:
        raise ShapeError(f"not JSON: {why}") from why
    if canonical(value) != text:
        raise ShapeError("not in canonical form (RFC 8785)")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ShapeError("an object has a key twice")
    return found


def _integer(text: str) -> int | float:
    """A float of 2^53 or more is written without a point, and is a float again."""
    number = int(text)
    return number if abs(number) <= _LARGEST else float(text)


def _refuse(name: str) -> Any:
    raise ShapeError(f"{name} is no number of JSON")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _value(hint: Any, raw: Any, at: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = next(part for part in parts if part is not type(None))
        return None if raw is None else _value(inner, raw, at)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ShapeError(f"{at} is no list")
        return tuple(_value(parts[0], each, f"{at}[{index}]") for index, each in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            raise ShapeError(f"{at} is no object")
        return {str(key): _value(parts[1], each, f"{at}.{key}") for key, each in raw.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return from_mapping(hint, raw, at)
    return _plain(hint, raw, at)


def _plain(hint: Any, raw: Any, at: str) -> Any:
    if issubclass(hint, Enum):
        try:
            return hint(raw)
        except ValueError as why:
            raise ShapeError(f"{at} is {raw!r}, which is no {hint.__name__}") from why
    # 8.0 is written as 8; and True is an int to Python, but not to us.
    kinds = (int, float) if hint is float else (hint,)
    if not isinstance(raw, kinds) or (isinstance(raw, bool) and hint is not bool):
        raise ShapeError(f"{at} is {raw!r}, which is no {hint.__name__}")
    return hint(raw)
