"""Derived seeds: stable for ever, and different wherever what they are for is different."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.training.seeds import derive_seed

PARTS = st.lists(st.one_of(st.integers(), st.text()), max_size=4).map(tuple)


def test_known_answers_never_change() -> None:
    assert derive_seed() == 0x4F53CDA18C2BAA0C >> 1
    assert derive_seed(0) != derive_seed()
    assert derive_seed(7, "train", 3, 2) == derive_seed(7, "train", 3, 2)


@settings(max_examples=50)
@given(PARTS, PARTS)
def test_other_parts_give_another_seed(a: tuple[int | str, ...], b: tuple[int | str, ...]) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b and [type(x) for x in a] == [type(x) for x in b])


@given(PARTS)
def test_a_seed_is_63_bits_which_torch_and_numpy_accept(parts: tuple[int | str, ...]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_numbers_and_texts_and_boundaries_are_told_apart() -> None:
    assert (
        len({derive_seed(1), derive_seed("1"), derive_seed("ab", "c"), derive_seed("a", "bc"), derive_seed("abc")}) == 5
    )


def test_no_site_repeats_another_sites_round() -> None:
    seeds = {derive_seed(0, "train", round, site) for round in range(1, 51) for site in range(50)}
    assert len(seeds) == 50 * 50


def test_seeds_are_free_of_torch() -> None:
    code = "import sys, secure_fl.training.seeds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
