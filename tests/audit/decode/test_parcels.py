"""A parcel is read as the calls that it carries, and holds nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from flwr.proto.recorddict_pb2 import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st

from audit.decode import fleet
from audit.decode.conversation import TO_COORDINATOR, TO_SITE, Exchange, WireMessage
from audit.decode.fleet import FleetReader
from audit.decode.ledger import Ledger
from audit.decode.objects import ObjectStore
from audit.decode.parcels import parts_of
from audit.findings import BlindSpot, Finding
from tests.audit.decode.decoded import Decoded
from tests.audit.decode.federation import (
    NODE,
    PARCEL,
    Call,
    Site,
    announcing,
    asking,
    confirming,
    fetching,
    message,
    objects_of,
    packed,
    sending,
)
from tests.audit.decode.flights import CLIENT

ORDER = "0f" * 32


def decoded(site: Site, *, certified: bool = True) -> Decoded:
    return Decoded(site.frames(), site.secrets, sites={site.pipe.certificates[CLIENT]: "clinic"} if certified else None)


def upload(reply: Message) -> list[Call]:
    """All that a site says when it has computed: it confirms the order, announces the reply, sends its objects."""
    return [confirming(ORDER), announcing(reply), *(sending(*each) for each in objects_of(reply).items())]


def gist(each: WireMessage) -> tuple[Any, ...]:
    """A message without its identity; arrays as bytes, so that they can be compared."""
    values = [leaf.value.tobytes() if leaf.kind == "array" else leaf.value for leaf in each.leaves]
    plain = replace(each, id="", leaves=tuple(replace(leaf, value=None) for leaf in each.leaves))
    return (plain if each.kind[0] != "/" else replace(plain, place=replace(plain.place, offset=0))), values


def told(seen: Decoded) -> tuple[list[Any], list[Any], list[Any]]:
    """What was read, whatever the requests were that carried it."""
    return (
        [(each.id, *gist(each)) for each in seen.messages],
        [gist(each) for each in seen.requests if each.kind != PARCEL],
        [(each.id, each.kind, bytes(each.body)) for each in seen.objects],
    )


@pytest.mark.parametrize(
    "calls",
    [
        lambda: upload(message()),
        lambda: [asking(patiently=True)],
        lambda: [asking(message(group="9"), patiently=True)],
        lambda: [asking(order := message(group="9")), *(fetching(*each) for each in objects_of(order).items())],
    ],
    ids=["a reply", "a question in vain", "a question", "an order"],
)
def test_what_crosses_in_one_parcel_reads_as_what_crosses_call_by_call(
    calls: Callable[[], list[Call]], tmp_path: Path
) -> None:
    said = calls()
    (tmp_path / "one").mkdir()
    together, one_by_one = Site(tmp_path), Site(tmp_path / "one")
    together.parcel(said)
    for each in said:
        one_by_one.call(each._replace(name=each.name.replace("await", "pull")))
    seen, plain = decoded(together), decoded(one_by_one)
    assert told(seen) == told(plain)
    assert (seen.found, seen.blind, seen.accounts.complete) == (plain.found, plain.blind, True)
    booked = seen.accounts.ledger.by_category()
    assert booked["flower/parcel"] > 0
    of_calls = {key: size for key, size in plain.accounts.ledger.by_category().items() if key[:4] in ("flow", "obje")}
    assert of_calls == {key: booked[key] for key in of_calls}


def test_an_objects_place_is_where_its_body_lies_in_the_parcel(tmp_path: Path) -> None:
    site, order = Site(tmp_path), message(group="4")
    site.parcel(upload(message()))
    site.parcel([asking(order, patiently=True)])
    site.parcel(fetching(*each) for each in objects_of(order).items())
    seen = decoded(site)
    assert {each.place.direction for each in seen.objects} == {TO_COORDINATOR, TO_SITE}
    for each in seen.objects:
        body = bytes(each.body)
        assert seen.said()[each.place.direction][each.place.offset :][: len(body)] == body


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pull-messages", "push-messages", "await-messages"]),
            st.binary(max_size=9) | st.integers(0, 40).map(lambda size: bytes([0x12, size + 4, 0x3A, size] * 9)[:size]),
        ),
        min_size=1,
    )
)
def test_every_part_lies_where_it_is_said_to_lie(calls: list[tuple[str, bytes]]) -> None:
    body = packed(calls)
    parts = parts_of(body)
    assert [(each.name, each.data) for each in parts] == calls
    for number, (part, (name, data)) in enumerate(zip(parts, calls, strict=True)):
        mark = b"\xff" * len(data)  # in place of the part: what is found there must be the mark
        marked = packed([*calls[:number], (name, mark), *calls[number + 1 :]])
        assert marked == body[: part.at] + mark + body[part.at + len(data) :]


def test_large_objects_cross_by_themselves_between_parcels(tmp_path: Path) -> None:
    site = Site(tmp_path)
    replies = [message(values=40_000), message(group="4", values=41_000)]
    for reply in replies:
        objects = objects_of(reply)
        large = {key for key, content in objects.items() if len(content) > 100_000}
        assert len(large) == 1
        small = [sending(key, content, session="") for key, content in objects.items() if key not in large]
        site.parcel([confirming(ORDER), announcing(reply), *small])
        for key in large:
            site.push_object(key, objects[key])
    seen = decoded(site)
    assert [each.id for each in seen.messages] == [each.object_id for each in replies]
    assert seen.accounts.complete and seen.found == set()


def test_a_site_without_certificate_is_known_by_the_node_that_its_parcel_names(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.parcel(upload(message()))
    seen = decoded(site, certified=False)
    assert {each.place.site for each in seen.messages} == {f"node {NODE}"}


def test_a_parcel_that_was_refused_is_read_and_booked_all_the_same(tmp_path: Path) -> None:
    site, reply = Site(tmp_path), message()
    said = packed((each.name, each.request) for each in upload(reply))
    why = b'{"error": "answers a message that it has answered"}'
    site.exchange(PARCEL, said, why, status="409 Conflict", kind="application/json")
    seen = decoded(site)
    assert [each.id for each in seen.messages] == [reply.object_id]
    assert seen.accounts.complete and seen.found == set()
    assert [leaf.value for each in seen.requests if each.kind == PARCEL for leaf in each.leaves] == [why]
    assert {each.metadata["status"] for each in seen.requests} == {"409"}
    assert seen.accounts.ledger.by_category()["http/plain-body"] == len(why)


# --- nothing stands in a parcel but calls and their answers -----------------------------------------------------------

QUESTION = asking()
ASKED, ANSWERED = packed([("pull-messages", QUESTION.request)]), packed([("pull-messages", b"")])
HIDDEN = b"\xf2\x06\x03abc"  # field 110, three bytes


def a_record(**value: Any) -> bytes:
    return ConfigRecord(items=[{"key": "pull-messages", "value": value}]).SerializeToString()


NO_PARCELS = {
    "an unknown call": (packed([("upload-picture", b"JFIF")]), "parcel/malformed"),
    "an unknown call beside a known one": (ASKED + packed([("upload-picture", b"JFIF")]), "parcel/malformed"),
    "a route that is none of the messages'": (packed([("get-fab", b"")]), "parcel/malformed"),
    "a parcel in a parcel": (packed([("parcel", ASKED)]), "parcel/malformed"),
    "a text": (a_record(string="a picture"), "parcel/malformed"),
    "a list of bytes": (a_record(bytes_list={"vals": [b"a picture"]}), "parcel/malformed"),
    "no value": (a_record(), "parcel/malformed"),
    "nothing": (b"", "parcel/malformed"),
    "rubbish": (b"JFIF", "parcel/malformed"),
    "a field beside the items": (ASKED + HIDDEN, "protobuf/unknown-field"),
    "a field in an item": (
        bytes([ASKED[0], ASKED[1] + len(HIDDEN)]) + ASKED[2:] + HIDDEN,
        "protobuf/unknown-field",
    ),
    "a longer number": (bytes([ASKED[0], ASKED[1] | 0x80, 0]) + ASKED[2:], "protobuf/non-canonical"),
    "a key twice": (
        bytes([ASKED[0], ASKED[1] + 5]) + b"\x0a\x03abc" + ASKED[2:],
        "protobuf/non-canonical",
    ),
}


@pytest.mark.parametrize("direction", ["asked", "answered"])
@pytest.mark.parametrize("name", NO_PARCELS)
def test_what_is_no_parcel_is_a_finding_and_stays_unaccounted(name: str, direction: str, tmp_path: Path) -> None:
    body, rule = NO_PARCELS[name]
    site = Site(tmp_path)
    site.exchange(PARCEL, *((body, ANSWERED) if direction == "asked" else (ASKED, body)))
    seen = decoded(site)
    assert rule in seen.found
    assert seen.accounts.ledger.unaccounted_bytes >= len(body)


def test_bytes_beside_the_calls_are_found_with_their_place(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.exchange(PARCEL, ASKED + HIDDEN, ANSWERED)
    (finding,) = [each for each in decoded(site).accounts.findings if each.rule == "protobuf/unknown-field"]
    assert (finding.place.site, finding.place.message) == ("clinic", PARCEL)
    assert decoded(site).said()[CLIENT][finding.place.offset :] == HIDDEN


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (["pull-messages", "push-object"], ["pull-messages"]),
        (["pull-messages", "push-object"], ["push-object", "pull-messages"]),
        (["pull-messages"], ["pull-messages", "push-object"]),
        (["pull-messages"], ["push-object"]),
        (["await-messages"], ["await-messages"]),
    ],
    ids=["missing", "swapped", "extra", "another", "another name"],
)
def test_answers_that_are_not_those_to_the_calls_are_a_finding(
    asked: list[str], answered: list[str], tmp_path: Path
) -> None:
    site = Site(tmp_path)
    site.exchange(PARCEL, packed((each, b"") for each in asked), packed((each, b"") for each in answered))
    assert "parcel/unpaired" in decoded(site).found


def test_what_a_call_says_beside_its_fields_is_found_with_its_place(tmp_path: Path) -> None:
    site, (key, content) = Site(tmp_path), next(iter(objects_of(message()).items()))
    site.parcel([confirming(ORDER), sending(key, content, behind=HIDDEN)])
    seen = decoded(site)
    (finding,) = [each for each in seen.accounts.findings if each.rule == "protobuf/unknown-field"]
    assert (finding.place.site, finding.place.message) == ("clinic", "/v1/fleet/push-object")
    assert seen.said()[CLIENT][finding.place.offset :][: len(HIDDEN)] == HIDDEN


def test_a_call_that_is_no_message_is_a_finding_and_the_others_are_read(tmp_path: Path) -> None:
    site, reply = Site(tmp_path), message()
    site.parcel([Call("pull-object", b"JFIF", b""), *upload(reply)])
    seen = decoded(site)
    assert seen.found == {"protobuf/malformed"}
    assert [each.id for each in seen.messages] == [reply.object_id]
    assert seen.accounts.ledger.unaccounted_bytes == len(b"JFIF")


def test_a_parcel_larger_than_any_honest_one_is_a_blind_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_MAX_PLAIN_BODY_BYTES", 100)
    site = Site(tmp_path)
    site.exchange(PARCEL, packed([("pull-messages", b"")] * 20), ANSWERED)
    assert "flower/too-large" in decoded(site).blind


# --- any bytes at all -------------------------------------------------------------------------------------------------

NAMES = ["await-messages", "pull-messages", "push-messages", "pull-object", "push-object", "confirm-message-received"]
REAL = upload(message(values=3))
bodies = st.one_of(
    st.binary(max_size=200),
    st.lists(st.tuples(st.sampled_from([*NAMES, "other"]), st.binary(max_size=50)), max_size=4).map(packed),
    st.lists(st.sampled_from(REAL), max_size=9).map(lambda calls: packed((each.name, each.request) for each in calls)),
    st.lists(st.sampled_from(REAL), max_size=9).map(lambda calls: packed((each.name, each.response) for each in calls)),
    st.tuples(
        st.just(packed((each.name, each.request) for each in REAL)), st.integers(0, 2000), st.binary(max_size=9)
    ).map(lambda spoilt: spoilt[0][: spoilt[1]] + spoilt[2] + spoilt[0][spoilt[1] + len(spoilt[2]) :]),
)


@given(bodies, bodies, st.sampled_from([0, 200, 409]))
def test_any_bytes_are_read_or_found_and_booked_once(request: bytes, response: bytes, status: int) -> None:
    ledger, notes = Ledger(), list[Finding | BlindSpot]()
    response = response if status else b""
    for direction, body in ((TO_COORDINATOR, request), (TO_SITE, response)):
        page = ledger.page("s", direction)
        page.captured, page.parts["blind/http-body"] = len(body), len(body)
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore(Path(folder))
        reader = FleetReader(store, notes.append, ledger.page)
        exchange = Exchange("s", 0, "POST", PARCEL, status, (), (), request, response)
        exchange = replace(exchange, site=reader.site_of(exchange))
        list(reader.read(exchange))
        reader.finish(blind=False)
        store.close()
    pages = ledger.pages.values()
    assert all(sum(page.parts.values()) == page.captured and min(page.parts.values()) >= 0 for page in pages)
    assert notes or not ledger.unaccounted_bytes
