"""The hash chain: against the formula in its docstring, and against whoever edits it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.errors import IntegrityError
from secure_fl.runs.events import GENESIS, KINDS, MAX_TEXT, Event, canonical, check_link, parse_event, seal


def chain(*steps: tuple[str, dict[str, object]]) -> list[Event]:
    events: list[Event] = []
    for kind, fields in steps:
        events.append(seal(events[-1] if events else None, time_s=1_700_000_000.0, kind=kind, fields=fields))
    return events


def check(lines: list[bytes]) -> None:
    last = None
    for line in lines:
        event = parse_event(line)
        check_link(event, last)
        last = event


ROUNDS = tuple(("round-finished", {"round": k, "loss": 2.3 - k, "accuracy": 0.1 * k}) for k in range(5))


def test_hash_is_sha256_of_canonical_json_with_the_previous_hash() -> None:
    first, second = chain(("round-started", {"round": 1, "sites": ["ä"]}), ("reply-late", {"round": 1, "site": "ä"}))
    content = (
        '{"kind":"round-started","prev":"' + "0" * 64 + '","round":1,"seq":0,"sites":["ä"],'
        '"time":"2023-11-14T22:13:20.000Z"}'
    )
    assert first.prev == GENESIS == "0" * 64
    assert first.hash == hashlib.sha256(content.encode()).hexdigest()
    assert (second.seq, second.prev) == (1, first.hash)


def test_a_chain_reads_back_as_it_was_sealed() -> None:
    events = chain(*ROUNDS)
    assert [parse_event(event.line()[:-1]) for event in events] == events
    check([event.line()[:-1] for event in events])


def test_numbers_that_are_not_finite_become_null_and_are_named() -> None:
    fields = {"round": 1, "loss": math.nan, "accuracy": math.inf, "per_class": [0.5, -math.inf], "by": {"a": math.nan}}
    (event,) = chain(("round-finished", fields))
    assert (event["loss"], event["accuracy"], event["per_class"], event["by"]) == (None, None, [0.5, None], {"a": None})
    assert event["non_finite"] == {"loss": "nan", "accuracy": "inf", "per_class.1": "-inf", "by.a": "nan"}
    json.loads(event.line(), parse_constant=lambda word: pytest.fail(f"{word} is no standard JSON"))


def test_numpy_scalars_are_stored_as_numbers() -> None:
    fields = {"round": np.int64(3), "loss": np.float32(0.5), "accuracy": np.float64(0.25), "flag": True}
    (event,) = chain(("round-finished", fields))
    assert event.line().count(b'"loss":0.5') == 1
    assert (event["round"], event["accuracy"], event["flag"]) == (3, 0.25, True)


def test_text_that_is_endless_or_not_unicode_cannot_harm_the_record() -> None:
    (event,) = chain(("reply-late", {"round": 1, "site": "x" * 100_000, "detail": "\udcff"}))
    assert len(event["site"]) < MAX_TEXT + 50
    assert event["site"].endswith("(96000 more characters cut)")
    assert event["detail"] == "\\udcff"
    check([event.line()[:-1]])


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("Round Finished", {}, "not kebab-case"),
        ("round-finished", {"round": 1, "accuracy": 1.0}, "needs the field `loss`"),
        ("note", {"prev": "0"}, "`prev` is reserved"),
        ("note", {"hash": "0"}, "`hash` is reserved"),
        ("run-finished", {"status": "done"}, "not one of succeeded, failed, interrupted"),
    ],
)
def test_a_malformed_event_is_refused_when_it_is_made(kind: str, fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        seal(None, time_s=0.0, kind=kind, fields=fields)


def test_a_value_without_a_json_form_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"`sites.0` is a bytes"):
        seal(None, time_s=0.0, kind="round-started", fields={"round": 1, "sites": [b"raw"]})


def test_kinds_may_be_added_without_telling_the_chain() -> None:
    check([event.line()[:-1] for event in chain(("budget-spent", {"epsilon": 0.5}))])
    assert "budget-spent" not in KINDS


@given(st.data())
def test_no_byte_can_be_changed_unnoticed(data: st.DataObject) -> None:
    text = b"".join(event.line() for event in chain(*ROUNDS))[:-1]
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda each: each != text[at]))
    with pytest.raises(IntegrityError):
        check((text[:at] + bytes([new]) + text[at + 1 :]).split(b"\n"))


@given(st.permutations(range(5)).filter(lambda order: order != sorted(order)))
def test_events_cannot_change_places(order: list[int]) -> None:
    events = chain(*ROUNDS)
    with pytest.raises(IntegrityError):
        check([events[index].line()[:-1] for index in order])


@pytest.mark.parametrize("index", range(4))
def test_no_event_but_the_last_can_be_removed_unnoticed(index: int) -> None:
    lines = [event.line()[:-1] for event in chain(*ROUNDS)]
    with pytest.raises(IntegrityError):
        check(lines[:index] + lines[index + 1 :])


def test_what_the_docstring_admits_is_so_a_cut_at_the_end_leaves_a_valid_chain() -> None:
    check([event.line()[:-1] for event in chain(*ROUNDS)][:-2])


def test_an_event_with_a_hash_made_anew_no_longer_fits_the_next() -> None:
    events = chain(*ROUNDS)
    forged = replace(events[1], fields={**events[1].fields, "accuracy": 0.99})
    forged = replace(forged, hash=forged.expected_hash())
    check([events[0].line()[:-1], forged.line()[:-1]])
    with pytest.raises(IntegrityError, match="does not continue"):
        check([events[0].line()[:-1], forged.line()[:-1], events[2].line()[:-1]])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not one standard JSON object"),
        (b"[1]", "not in canonical form"),
        (b'{"a":NaN}', "not one standard JSON object"),
        (b'{"a":1,"a":2}', "not in canonical form"),
        (b'{"a": 1}', "not in canonical form"),
        (b'{"a":1}', "not an event"),
        (b"[" * 100_000, "not one standard JSON object"),
        (b"\xff", "not one standard JSON object"),
    ],
)
def test_a_line_that_is_no_event_is_refused(line: bytes, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        parse_event(line)


def test_a_known_kind_without_a_field_that_readers_need_is_refused() -> None:
    event = Event(0, "2026-11-23T00:00:00.000Z", "round-finished", {"round": 1}, GENESIS, "0" * 64)
    with pytest.raises(IntegrityError, match="lacks `loss`"):
        parse_event(event.line()[:-1])


def test_a_time_that_is_none_is_refused() -> None:
    event = Event(0, "yesterday", "note", {}, GENESIS, "0" * 64)
    with pytest.raises(IntegrityError, match="time cannot be read"):
        parse_event(event.line()[:-1])


def test_an_ending_that_no_reader_knows_is_refused() -> None:
    event = Event(0, "2026-11-23T00:00:00.000Z", "run-finished", {"status": "won"}, GENESIS, "0" * 64)
    with pytest.raises(IntegrityError, match="ends in `won`"):
        parse_event(event.line()[:-1])


def test_canonical_json_has_one_spelling() -> None:
    assert canonical({"b": [1, 0.5, None], "a": "ü"}) == '{"a":"ü","b":[1,0.5,null]}'.encode()
    with pytest.raises(ValueError, match="Out of range float"):
        canonical({"a": math.nan})
