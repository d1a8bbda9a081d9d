"""What one declared value may be: a number in bounds, a text of a pattern, bytes, a list, or an array of one shape.

A field says what is wrong with a value without repeating it: the value may be the leak.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ArrayField", "BytesField", "Field", "ListField", "NumberField", "TextField", "field_from_mapping"]


@dataclass(frozen=True)
class NumberField:
    """A number. `type`: "bool", "int" or "float"; bounds inclusive; NaN and infinities only where `finite` is false."""

    type: str
    low: float = -math.inf
    high: float = math.inf
    finite: bool = True

    def __post_init__(self) -> None:
        if self.type not in ("bool", "int", "float") or not self.low <= self.high:
            raise ValueError(f"no such number: {self}")

    def fault(self, value: Any) -> str | None:
        """What is wrong with the value, None where nothing is."""
        if type(value).__name__ != self.type:
            return f"is {type(value).__name__}, not {self.type}"
        if self.type == "float" and not math.isfinite(value):
            return "is not finite" if self.finite else None
        return None if self.low <= value <= self.high else f"is outside [{self.low:g}, {self.high:g}]"

    def to_mapping(self) -> dict[str, Any]:
        """For the report; infinite bounds are left out, which JSON cannot write."""
        bounds = {"low": self.low, "high": self.high}
        kept = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
        return {"type": self.type, **kept, "finite": self.finite}


@dataclass(frozen=True)
class TextField:
    """A text of at most `max_length` characters; `pattern`: what the whole of it has to match, "" for anything."""

    max_length: int
    pattern: str = ""

    def __post_init__(self) -> None:
        if self.max_length < 0:
            raise ValueError("a text cannot be shorter than nothing")
        re.compile(self.pattern)

    def fault(self, value: Any) -> str | None:
        """As in `NumberField`."""
        if not isinstance(value, str):
            return f"is {type(value).__name__}, not a text"
        if len(value) > self.max_length:
            return f"has {len(value)} characters, over {self.max_length}"
        return None if not self.pattern or re.fullmatch(self.pattern, value) else "is not of the declared pattern"

    def to_mapping(self) -> dict[str, Any]:
        """For the report."""
        return {"type": "text", "max_length": self.max_length, "pattern": self.pattern}


@dataclass(frozen=True)
class BytesField:
    """At most `max_length` bytes."""

    max_length: int

    def fault(self, value: Any) -> str | None:
        """As in `NumberField`."""
        if not isinstance(value, bytes):
            return f"is {type(value).__name__}, not bytes"
        return None if len(value) <= self.max_length else f"has {len(value)} bytes, over {self.max_length}"

    def to_mapping(self) -> dict[str, Any]:
        """For the report."""
        return {"type": "bytes", "max_length": self.max_length}


@dataclass(frozen=True)
class ListField:
    """At most `max_items` values of one field."""

    item: NumberField | TextField | BytesField
    max_items: int

    def fault(self, value: Any) -> str | None:
        """As in `NumberField`."""
        if not isinstance(value, list | tuple):
            return f"is {type(value).__name__}, not a list"
        if len(value) > self.max_items:
            return f"has {len(value)} items, over {self.max_items}"
        faults = (self.item.fault(each) for each in value)
        return next((f"has an item that {fault}" for fault in faults if fault), None)

    def to_mapping(self) -> dict[str, Any]:
        """For the report."""
        return {"type": "list", "item": self.item.to_mapping(), "max_items": self.max_items}


@dataclass(frozen=True)
class ArrayField:
    """An array of exactly this shape and NumPy type ("float32")."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        np.dtype(self.dtype)
        object.__setattr__(self, "shape", tuple(self.shape))

    def fault(self, value: Any) -> str | None:
        """As in `NumberField`."""
        if not isinstance(value, np.ndarray):
            return f"is {type(value).__name__}, not an array"
        if value.dtype != np.dtype(self.dtype):
            return f"is of {value.dtype}, not {self.dtype}"
        return None if value.shape == self.shape else f"has the shape {value.shape}, not {self.shape}"

    def to_mapping(self) -> dict[str, Any]:
        """For the report."""
        return {"type": "array", "dtype": self.dtype, "shape": list(self.shape)}


Field = NumberField | TextField | BytesField | ListField | ArrayField


def field_from_mapping(mapping: Mapping[str, Any]) -> Field:
    """The field that `to_mapping` wrote.

    Raises:
        ValueError: there is no such type of field.
        KeyError, TypeError: the mapping lacks something, or has something of the wrong type.
    """
    kind = mapping["type"]
    match kind:
        case "bool" | "int" | "float":
            low, high = mapping.get("low", -math.inf), mapping.get("high", math.inf)
            return NumberField(kind, low, high, mapping["finite"])
        case "text":
            return TextField(mapping["max_length"], mapping["pattern"])
        case "bytes":
            return BytesField(mapping["max_length"])
        case "array":
            return ArrayField(mapping["dtype"], tuple(mapping["shape"]))
        case "list":
            item = field_from_mapping(mapping["item"])
            if isinstance(item, ListField | ArrayField):
                raise ValueError("a list holds numbers, texts or bytes")
            return ListField(item, mapping["max_items"])
    raise ValueError(f"no such type of field: {kind!r}")
