"""Compositions are read as they are written, and what is wrong is named with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.compositions import parse, spell
from secure_fl.errors import ConfigError


def test_a_composition_is_read_from_left_to_right() -> None:
    assert parse("clipping(c=2)+nnm+krum") == (("clipping", {"c": 2.0}), ("nnm", {}), ("krum", {}))


@pytest.mark.parametrize("text", [" clipping ( c = 2.0 ) + nnm", "clipping(c=2)+nnm()", "clipping(c=+2e0)+nnm"])
def test_one_meaning_has_one_canonical_spelling(text: str) -> None:
    assert spell(parse(text)) == "clipping(c=2)+nnm"


@pytest.mark.parametrize(
    ("text", "column"),
    [("", 1), ("+krum", 1), ("krum+", 6), ("krum nnm", 6), ("Krum", 1), ("a(b)", 4), ("a(b=x)", 5), ("a(b=1", 6)],
)
def test_a_refusal_names_the_column(text: str, column: int) -> None:
    with pytest.raises(ConfigError, match=f"column {column} "):
        parse(text)


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse("a(b=1,b=2)")


def test_a_number_that_overflows_is_refused() -> None:
    with pytest.raises(ConfigError, match="too large"):
        parse("a(b=1e999)")


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(names, st.dictionaries(names, numbers, max_size=3)), min_size=1, max_size=4))
def test_what_is_spelled_is_read_back_unchanged(steps: list[tuple[str, dict[str, float]]]) -> None:
    assert parse(spell(steps)) == tuple(steps)
