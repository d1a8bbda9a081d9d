"""A document's JSON has one spelling, and nothing in it may be missing, unknown or of another kind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.report.shape import ShapeError, canonical, from_mapping, strict_json, to_mapping


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Leaf:
    text: str
    number: float
    count: int = 0
    sure: bool = False


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    colour: Colour
    maybe: float | None
    names: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.leaves) > 3:
            raise ValueError("too many leaves")


RAW: dict[str, Any] = {
    "leaves": [{"text": "a", "number": 8, "count": 1, "sure": True}],
    "colour": "red",
    "maybe": None,
    "names": {"b": "c"},
}


def test_a_value_survives_its_mapping() -> None:
    tree = Tree((Leaf("a", 8.0, 1, True),), Colour.RED, None, {"b": "c"})
    assert from_mapping(Tree, strict_json(canonical(tree))) == tree


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(), st.integers(-(2**53) + 1, 2**53 - 1))
def test_every_number_and_text_survives(number: float, text: str, count: int) -> None:
    leaf = Leaf(text, number, count)
    again = from_mapping(Leaf, strict_json(canonical(leaf)))
    assert again == leaf
    assert canonical(again) == canonical(leaf)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": None}, "document.colour is None"),
        ({"colour": "blue"}, "no Colour"),
        ({"maybe": "x"}, "document.maybe"),
        ({"maybe": True}, "document.maybe"),
        ({"leaves": {}}, "document.leaves is no list"),
        ({"leaves": [3]}, r"document.leaves\[0\] is no object"),
        ({"leaves": [{"text": "a", "number": 1, "count": 1.5, "sure": True}]}, r"leaves\[0\].count"),
        ({"leaves": [{"text": "a", "number": 1, "count": True, "sure": True}]}, r"leaves\[0\].count"),
        ({"leaves": [{"text": "a", "number": 1, "count": 1, "sure": 1}]}, r"leaves\[0\].sure"),
        ({"leaves": [{"text": "a", "number": 1, "count": 1}]}, r"leaves\[0\].sure is missing"),
        ({"leaves": RAW["leaves"] * 4}, "too many leaves"),
        ({"names": []}, "document.names is no object"),
        ({"names": {"b": 1}}, "document.names.b"),
        ({"more": 1}, "document.more is not known"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ShapeError, match=complaint):
        from_mapping(Tree, {**RAW, **change})


@pytest.mark.parametrize("name", RAW)
def test_nothing_may_be_missing(name: str) -> None:
    with pytest.raises(ShapeError, match=f"document.{name} is missing"):
        from_mapping(Tree, {key: value for key, value in RAW.items() if key != name})


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, {1, 2}, b"x"])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ShapeError):
        to_mapping({"x": value})


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":1}\n', b'{"a":1.0}', b'{"a":NaN}', b'"\\u0061"',
        b"\xff", b"", b"[1", b"[" * 100_000, b'{"a":9007199254740993}',
    ],
)  # fmt: skip
def test_a_second_spelling_is_refused(text: bytes) -> None:
    with pytest.raises(ShapeError):
        strict_json(text)


def test_a_text_that_is_no_unicode_cannot_stop_a_report() -> None:
    assert json.loads(canonical({"site": "a\udc80b\ud83d\ude00"})) == {"site": "a\ufffdb\U0001f600"}
