"""Terms that contradict themselves cannot be built, equal terms have equal bytes, and a site has floors of its own."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from secure_fl.secagg import encoding, errors
from secure_fl.secagg.errors import InvalidTerms, Malformed, SecAggError
from secure_fl.secagg.terms import Policy, Slot, Terms

SLOT = Slot("run", 3, 1, 2)
TERMS = Terms(SLOT, (0, 2, 5, 9, 11), 4, 4, 100, 32, 1.5, 70, "0a" * 32, "0b" * 32)
ROSTER = {index: bytes([index]) * 32 for index in range(12)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("members", (0,)),
        ("members", ()),
        ("members", (2, 0, 5, 9, 11)),
        ("threshold", 0),
        ("threshold", 6),
        ("neighbours", 0),
        ("neighbours", 3),  # a sparse graph has even neighbourhoods
        ("neighbours", 5),
        ("ring_bits", 8),
        ("ring_bits", 64),
        ("clip", 0.0),
        ("clip", float("nan")),
        ("clip", float("inf")),
        ("max_weight", 0),
        ("model_sha256", "0a" * 31),
        ("model_sha256", "0A" * 32),
        ("settings_sha256", ""),
    ],
)
def test_terms_that_contradict_themselves_cannot_be_built(field: str, value: Any) -> None:
    with pytest.raises(InvalidTerms, match=field):
        replace(TERMS, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("members", (-1, 2, 5, 9, 11)), ("members", (0, 2, 5, 9, 2**32)), ("words", -1)]
)
def test_a_number_that_has_no_place_in_the_bytes_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidTerms, match="numbers"):
        replace(TERMS, **{field: value})


def test_a_member_listed_twice_has_a_name_of_its_own() -> None:
    with pytest.raises(errors.DuplicateIndex):
        replace(TERMS, members=(0, 2, 2, 9, 11))


@pytest.mark.parametrize("field", ["round", "attempt", "group"])
def test_a_slot_counts_from_zero(field: str) -> None:
    for wrong in (-1, 2**32):
        with pytest.raises(InvalidTerms):
            replace(SLOT, **{field: wrong})


CHANGED: dict[str, Any] = {
    "slot": replace(SLOT, group=3),
    "members": (0, 2, 5, 9, 10),
    "threshold": 5,
    "neighbours": 2,
    "words": 101,
    "ring_bits": 16,
    "clip": 1.25,
    "max_weight": 71,
    "model_sha256": "0c" * 32,
    "settings_sha256": "0c" * 32,
}


def test_every_term_is_in_the_context_and_in_the_bytes() -> None:
    contexts = {TERMS.context()}
    for each in fields(Terms):
        terms = replace(TERMS, threshold=3) if each.name == "neighbours" else TERMS
        changed = replace(terms, **{each.name: CHANGED[each.name]})
        contexts.add(changed.context())
        assert Terms.from_bytes(changed.to_bytes()) == changed
    for field, other in (("run", "another"), ("round", 4), ("attempt", 2)):
        contexts.add(replace(TERMS, slot=replace(SLOT, **{field: other})).context())
    assert len(contexts) == 1 + len(fields(Terms)) + 3
    assert {len(context) for context in contexts} == {32}


def test_bytes_of_terms_are_read_in_one_way_only() -> None:
    data = TERMS.to_bytes()
    assert Terms.from_bytes(data) == TERMS
    for cut in range(len(data)):
        with pytest.raises(SecAggError):
            Terms.from_bytes(data[:cut])
    for at in range(len(data)):
        altered = data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]
        try:
            read = Terms.from_bytes(altered)
        except (Malformed, InvalidTerms):
            continue
        assert read.to_bytes() == altered != data
    assert Slot.from_bytes(SLOT.to_bytes()) == SLOT
    with pytest.raises(InvalidTerms):
        Slot.from_bytes(encoding.pack(b"\xff", *[bytes(8)] * 3))


@pytest.mark.parametrize(
    ("members", "neighbours", "threshold", "quorum"), [(2, 1, 2, 2), (5, 4, 4, 4), (5, 4, 5, 5), (40, 14, 10, 27)]
)
def test_the_quorum_counts_over_all_members(members: int, neighbours: int, threshold: int, quorum: int) -> None:
    terms = replace(TERMS, members=tuple(range(members)), neighbours=neighbours, threshold=threshold)
    assert terms.quorum == quorum


POLICY = Policy(fewest=5, rings=frozenset({32}), largest_clip=1.5, largest_weight=70, colluders=2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"members": (1, 3, 5, 9, 11)}, errors.NotAMember),
        ({"members": (0, 2, 5, 9, 99)}, errors.NotOnRoster),
        ({"members": (0, 2, 5, 9), "neighbours": 3}, errors.TooFewMembers),
        ({"ring_bits": 16}, errors.RingRefused),
        ({"clip": 1.6}, errors.ClipRefused),
        ({"max_weight": 71}, errors.ClipRefused),
        ({"neighbours": 2, "threshold": 3}, errors.GraphRefused),
        ({"threshold": 3}, errors.ThresholdTooLow),
        ({"members": tuple(range(6)), "neighbours": 5, "threshold": 4}, errors.ThresholdTooLow),
    ],
)
def test_terms_below_a_site_s_own_floors_are_refused(changes: dict[str, Any], expected: type[SecAggError]) -> None:
    POLICY.check(TERMS, 0, ROSTER)
    with pytest.raises(SecAggError) as refused:
        POLICY.check(replace(TERMS, **changes), 0, ROSTER)
    assert type(refused.value) is expected


def test_more_colluders_than_the_quorum_withstands_are_refused() -> None:
    Policy(fewest=2, colluders=2).check(TERMS, 0, ROSTER)  # 2 · 4 > 5 + 2
    with pytest.raises(errors.ThresholdTooLow):
        Policy(fewest=2, colluders=3).check(TERMS, 0, ROSTER)
    Policy(fewest=2, colluders=3).check(replace(TERMS, threshold=5), 0, ROSTER)


def test_two_members_of_one_identity_are_refused() -> None:
    with pytest.raises(errors.NotOnRoster):
        POLICY.check(TERMS, 0, {**ROSTER, 5: ROSTER[9]})


def test_a_group_of_two_is_a_matter_of_policy() -> None:
    pair = replace(TERMS, members=(0, 2), neighbours=1, threshold=2)
    Policy(fewest=2).check(pair, 0, ROSTER)
    with pytest.raises(errors.TooFewMembers):
        Policy(fewest=3).check(pair, 0, ROSTER)


def test_a_sparse_graph_is_accepted_from_the_table_only() -> None:
    roster = {index: index.to_bytes(32) for index in range(40)}
    sparse = replace(TERMS, members=tuple(range(40)), neighbours=14, threshold=10)
    Policy(fewest=5).check(sparse, 0, roster)
    Policy(fewest=5).check(replace(sparse, neighbours=39, threshold=27), 0, roster)
    for worse, expected in (
        ({"threshold": 9}, errors.ThresholdTooLow),
        ({"neighbours": 12}, errors.GraphRefused),
        ({"neighbours": 39, "threshold": 26}, errors.ThresholdTooLow),
    ):
        with pytest.raises(SecAggError) as refused:
            Policy(fewest=5).check(replace(sparse, **worse), 0, roster)
        assert type(refused.value) is expected


@pytest.mark.parametrize("wrong", [{"fewest": 1}, {"fewest": 5, "colluders": -1}])
def test_a_policy_that_hides_nothing_cannot_be_built(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="two members"):
        Policy(**wrong)
