"""Evidence: what a head confirms adds up, zero bytes add nothing, and every kind of file has enough."""

from __future__ import annotations

import pytest

from audit.detect.formats import ENOUGH_BITS, FORMATS, LOOKAHEAD, Head, Short, judge
from audit.detect.formats.evidence import Format
from audit.detect.prefilter import Pattern
from tests.audit.detect.samples import FILES, RULES

KIND = {each.rule: each for each in FORMATS}


@pytest.mark.parametrize("name", FILES)
def test_every_sample_has_more_evidence_than_is_enough(name: str) -> None:
    head = Head(FILES[name], 0)
    assert KIND[RULES[name]].validate(head)
    assert head.bits >= ENOUGH_BITS


@pytest.mark.parametrize("name", FILES)
def test_no_kind_takes_a_file_of_another_kind(name: str) -> None:
    takers = {each.rule for each in FORMATS for start in [0] if judge(each, FILES[name], start, final=True)}
    # Validators read what their own patterns promise; a file that another pattern would never offer them is refused.
    assert takers == {RULES[name]}


def test_evidence_is_eight_bits_a_byte_and_none_for_zeros() -> None:
    head = Head(b"AB\0\0C", 0)
    assert head.confirm(0, b"AB\0\0")
    assert head.bits == 16.0
    assert head.confirm_one_of(4, b"CDEF")
    assert head.bits == 22.0
    assert not head.confirm(4, b"D")
    assert head.bits == 22.0
    assert head.length == 5


def test_reading_behind_the_end_is_short() -> None:
    with pytest.raises(Short):
        Head(b"abc", 1).read(0, 3)


def test_a_head_is_asked_for_again_until_it_has_all_it_may_see() -> None:
    def greedy(head: Head) -> str | None:
        head.read(0, LOOKAHEAD + 1)
        return "never"

    kind = Format("image/greedy", "greedy", (Pattern(rb"x", 1),), greedy)
    with pytest.raises(Short):
        judge(kind, b"x" * 100, 0, final=False)
    assert judge(kind, b"x" * (LOOKAHEAD + 1), 0, final=False) is None
    assert judge(kind, b"x" * 100, 0, final=True) is None


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("bmp", 26, 7),  # planes
        ("gif", 6, None),  # no width
        ("tiff", 8, 255),  # far too many entries
        ("j2k", 41, 9),  # components that the length contradicts
        ("heic", 3, 0x19),  # a box of an odd size
        ("nifti", 70, 99),  # no such data type
        ("dicom", 132, 9),  # not the group of the head
        ("zip", 8, 77),  # no such method
        ("npy", 6, 9),  # no such version
        ("webp", 15, 0x39),  # no such coding
    ],
)
def test_a_structure_that_contradicts_itself_is_no_file(name: str, at: int, value: int | None) -> None:
    broken = bytearray(FILES[name])
    if value is None:
        broken[at : at + 2] = b"\0\0"
    else:
        broken[at] = value
    assert judge(KIND[RULES[name]], bytes(broken), 0, final=True) is None
