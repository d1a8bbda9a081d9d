"""What is hashed, signed and sent can be read in one way only."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.secagg import encoding
from secure_fl.secagg.errors import Malformed

INDEXES = st.integers(0, 2**32 - 1)


@given(parts=st.lists(st.binary(max_size=9), max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_parts_come_back_as_they_were(parts: list[bytes]) -> None:
    data = encoding.pack(*parts)
    assert encoding.unpack(data, len(parts)) == parts
    for wrong in (data + b"\0", data[:-1] if data else b"\0"):
        with pytest.raises(Malformed):
            encoding.unpack(wrong, len(parts))


@given(one=st.lists(st.binary(max_size=3), max_size=4), other=st.lists(st.binary(max_size=3), max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_two_statements_have_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert (encoding.statement("label", *one) == encoding.statement("label", *other)) == (one == other)
    assert encoding.statement("label", *one) != encoding.statement("labe", b"l", *one)


@given(rows=st.dictionaries(INDEXES, st.binary(min_size=3, max_size=3), max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_table_comes_back_and_has_one_order(rows: dict[int, bytes]) -> None:
    data = encoding.table(rows)
    assert data == encoding.table(dict(reversed(rows.items())))
    assert encoding.from_table(data, 3) == rows
    assert encoding.from_index_list(encoding.index_list(sorted(rows))) == tuple(sorted(rows))


def test_a_digest_is_sha_256_of_the_statement() -> None:
    spelled = b"\0\0\0\x13secure-fl secagg v1\0\0\0\x05label\0\0\0\x02ab\0\0\0\0"
    assert encoding.digest("label", b"ab", b"") == hashlib.sha256(spelled).digest()


@pytest.mark.parametrize("pair", [(b"ab", b"%cd"), (b"", b"abc"), (b"ab", b"abcd"), (b"abc", b"de")])
def test_a_pair_s_digest_is_that_of_its_statement_whatever_its_widths(pair: tuple[bytes, bytes]) -> None:
    for first in ((), (b"first",)):
        assert encoding.pair_digest("label", *first, widths=(2, 3))(*pair) == encoding.digest("label", *first, *pair)


@pytest.mark.parametrize("indexes", [[1, 1], [2, 1]])
def test_indexes_twice_or_out_of_order_are_refused(indexes: list[int]) -> None:
    with pytest.raises(Malformed):
        encoding.from_index_list(encoding.index_list(indexes))
    with pytest.raises(Malformed):
        encoding.from_table(b"".join(encoding.index_bytes(index) + b"abc" for index in indexes), 3)


def test_tables_and_lists_that_are_cut_short_are_refused() -> None:
    for data in (bytes(3), bytes(6)):
        with pytest.raises(Malformed):
            encoding.from_table(data, 3)
    with pytest.raises(Malformed):
        encoding.from_index_list(bytes(5))


@pytest.mark.parametrize("index", [-1, 2**32, "1", None])
def test_what_is_no_roster_index_is_refused(index: object) -> None:
    with pytest.raises(Malformed):
        encoding.index_bytes(index)  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        encoding.index_list([0, index])  # type: ignore[list-item]
    with pytest.raises(Malformed):
        encoding.table({index: b""})  # type: ignore[dict-item]
