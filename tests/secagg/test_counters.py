"""secure_fl/secagg/counters.py: sums of digits are sums of numbers, at every width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.secagg.counters import DIGITS, Counters
from secure_fl.secagg.errors import BudgetTooSmall, OutOfRange
from secure_fl.secagg.ring import Ring

NAMES = ("images", "right", "clipped")
LARGEST = 2**64 - 1


@given(
    bits=st.sampled_from([16, 32]),
    sites=st.lists(st.fixed_dictionaries({name: st.integers(0, LARGEST) for name in NAMES}), min_size=1, max_size=8),
)
def test_the_sum_of_words_is_the_sum_of_numbers(bits: int, sites: list[dict[str, int]]) -> None:
    counters = Counters(NAMES, len(sites), Ring(bits))
    total = np.add.reduce([counters.encode(values) for values in sites], dtype=counters.ring.dtype)
    assert counters.decode(total) == {name: sum(values[name] for values in sites) for name in NAMES}


@pytest.mark.parametrize(("bits", "members"), [(16, 257), (32, 100_000)])
def test_the_largest_numbers_of_the_most_members_do_not_wrap(bits: int, members: int) -> None:
    counters = Counters(("images",), members, Ring(bits))
    one = counters.encode({"images": LARGEST})
    assert counters.decode(one * counters.ring.dtype.type(members)) == {"images": members * LARGEST}


def test_more_members_than_digits_can_take_are_refused() -> None:
    with pytest.raises(BudgetTooSmall, match="258 members"):
        Counters(NAMES, 258, Ring(16))


@pytest.mark.parametrize("value", [-1, LARGEST + 1])
def test_a_number_without_a_place_is_refused(value: int) -> None:
    with pytest.raises(OutOfRange, match="counter images"):
        Counters(("images",), 5, Ring(32)).encode({"images": value})


@pytest.mark.parametrize("values", [{}, {"images": 1}, {"images": 1, "right": 2, "clipped": 3, "more": 4}])
def test_other_names_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="counters are images, right, clipped"):
        Counters(NAMES, 5, Ring(32)).encode(values)


@pytest.mark.parametrize("words", [np.zeros(3 * DIGITS - 1, np.uint32), np.zeros(3 * DIGITS, np.uint16)])
def test_other_words_are_refused(words: np.ndarray) -> None:
    with pytest.raises(ValueError, match="24 words of uint32"):
        Counters(NAMES, 5, Ring(32)).decode(words)


def test_no_counters_take_no_words() -> None:
    none = Counters((), 5, Ring(16))
    assert none.words == 0 and none.decode(none.encode({})) == {}


def test_names_differ_and_there_is_a_member() -> None:
    for names, members in ((("images", "images"), 5), (NAMES, 0)):
        with pytest.raises(ValueError, match="different names"):
            Counters(names, members, Ring(32))
