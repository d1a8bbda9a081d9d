"""What a value may be: a rule for each kind of value, what breaks it, and how a rule is spelled in JSON.

A rule is narrow on purpose: one type, one range, one shape. `fault_of` says what is wrong in words for the report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = [
    "Array",
    "Blob",
    "Blobs",
    "Flag",
    "Masked",
    "Number",
    "Numbers",
    "Rule",
    "Text",
    "Texts",
    "fault_of",
    "rule_of",
    "spelled",
]


@dataclass(frozen=True)
class Text:
    """A text of at most `longest` characters that is, as a whole, of the pattern."""

    longest: int
    pattern: str = r"[ -~]*"


@dataclass(frozen=True)
class Blob:
    """Between `shortest` and `longest` bytes: keys and signatures."""

    shortest: int
    longest: int


@dataclass(frozen=True)
class Number:
    """One number, whole or not, from `low` to `high`, both included; NaN and infinities only if `any_float`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    any_float: bool = False


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Numbers:
    """At most `most` numbers in a list, each from `low` to `high`."""

    most: int
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Texts:
    """At most `most` texts in a list."""

    most: int
    each: Text = Text(64, "[0-9a-f]{64}")


@dataclass(frozen=True)
class Array:
    """An array of exactly this type and shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Masked:
    """An array of exactly this type and shape, of integers that are uniform because they are masked (`masked`)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Blobs:
    """At most `most` byte strings in a list, each of at most `longest` bytes."""

    most: int
    longest: int


Rule = Text | Blob | Blobs | Number | Flag | Numbers | Texts | Array | Masked


def fault_of(value: Any, rule: Rule) -> str:
    """What is wrong with a value; empty if nothing is."""
    match rule:
        case Text():
            return _text_fault(value, rule)
        case Blob():
            if not isinstance(value, bytes):
                return f"{type(value).__name__} in place of bytes"
            fits = rule.shortest <= len(value) <= rule.longest
            return "" if fits else f"{len(value)} bytes, {rule.shortest} to {rule.longest} are declared"
        case Flag():
            return "" if isinstance(value, bool) else f"{type(value).__name__} in place of true or false"
        case Number():
            return _number_fault(value, rule)
        case Numbers(most, low, high):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} numbers is declared"
            each = Number(low, high)
            return next(filter(None, (_number_fault(number, each) for number in value)), "")
        case Texts(most, each):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} texts is declared"
            return next(filter(None, (_text_fault(text, each) for text in value)), "")
        case Blobs(most, longest):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} byte strings is declared"
            return next(filter(None, (fault_of(each, Blob(0, longest)) for each in value)), "")
        case Array(dtype, shape) | Masked(dtype, shape):
            if not isinstance(value, np.ndarray):
                return f"{type(value).__name__} in place of an array"
            fits = value.dtype.str.lstrip("<|=") == dtype and value.shape == shape
            return "" if fits else f"{value.dtype} {value.shape} in place of {dtype} {shape}"


def _text_fault(value: Any, rule: Text) -> str:
    if isinstance(value, bytes):  # the body of a refusal
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return "bytes that are no text"
    if not isinstance(value, str):
        return f"{type(value).__name__} in place of a text"
    if len(value) > rule.longest:
        return f"{len(value)} characters, at most {rule.longest} are declared"
    return "" if _pattern(rule.pattern).fullmatch(value) else f"a text that is not of the form {rule.pattern}"


def _number_fault(value: Any, rule: Number) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{type(value).__name__} in place of a number"
    if rule.whole and not isinstance(value, int):
        return f"{value!r} in place of a whole number"
    if not math.isfinite(value):
        return "" if rule.any_float else f"{value!r} in place of a finite number"
    return "" if rule.low <= value <= rule.high else f"{value:g} is not between {rule.low:g} and {rule.high:g}"


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


_TYPES: Mapping[str, Any] = {
    each.__name__: each for each in (Text, Blob, Blobs, Number, Flag, Numbers, Texts, Array, Masked)
}


def spelled(rule: Rule) -> dict[str, Any]:
    """JSON has no infinity: a bound that is none is left out."""
    kept = {key: value for key, value in asdict(rule).items() if value not in (math.inf, -math.inf)}
    return {"type": type(rule).__name__, **kept}


def rule_of(spelled: Mapping[str, Any]) -> Rule:
    given = {key: value for key, value in spelled.items() if key != "type"}
    if "shape" in given:
        given["shape"] = tuple(given["shape"])
    if isinstance(given.get("each"), dict):
        given["each"] = Text(**given["each"])
    made: Rule = _TYPES[spelled["type"]](**given)
    return made
