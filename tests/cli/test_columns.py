from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from secure_fl.cli.columns import Column, count, cut, fitted, size_text


def shown(what: Any, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(what)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@given(
    st.lists(st.lists(st.text("ab ", max_size=12), min_size=2, max_size=2), min_size=1, max_size=6), st.integers(20, 60)
)
def test_a_fitted_table_is_never_wider_than_its_room(columns: list[list[str]], width: int) -> None:
    table = fitted([Column("key", ["x", "y"]), *(Column("c", cells, rank=1) for cells in columns)], width)
    assert all(len(line) <= width for line in shown(table, width))


def test_columns_without_content_are_left_out() -> None:
    table = fitted([Column("a", ["1"]), Column("b", [""])], 80)
    assert shown(table, 80) == ["a", "1"]


def test_markup_in_cells_is_shown_as_it_is() -> None:
    assert shown(fitted([Column("a", ["[red]x[/red]"])], 80), 80)[1] == "[red]x[/red]"


def test_the_column_with_the_highest_rank_goes_first() -> None:
    columns = [Column("one", ["aaa"]), Column("two", ["bbb"], rank=2), Column("three", ["ccc"], rank=1)]
    assert shown(fitted(columns, 12), 12)[0] == "one  three"
    assert shown(fitted(columns, 4), 4)[0] == "one"


def test_numbers_are_flushed_right() -> None:
    assert shown(fitted([Column("n", ["1", "100"], is_number=True)], 20), 20) == ["  n", "  1", "100"]


def test_a_table_without_titles_has_no_header() -> None:
    assert shown(fitted([Column("", ["a"]), Column("", ["b"])], 20), 20) == ["a  b"]


def test_one_is_singular() -> None:
    assert (count(1, "file"), count(0, "file"), count(2, "file")) == ("1 file", "0 files", "2 files")


def test_a_long_text_is_cut_to_its_room() -> None:
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "ab…")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (99_500, "100 kB"), (8_947_000, "8.9 MB"),
     (999_499_999, "999 MB"), (999_500_000, "1.0 GB"), (5_000_000_000_000, "5000 GB")],
)  # fmt: skip
def test_sizes_read_as_people_say_them(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
