"""Flower's messages are read to the last value, and nothing hides beside the values."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, Error, Message
from flwr.proto.fab_pb2 import Fab, GetFabRequest, GetFabResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.proto.recorddict_pb2 import ConfigRecord
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse, Run
from hypothesis import given
from hypothesis import strategies as st

from audit.decode import fleet, records
from audit.decode.arrays import array_of
from audit.decode.flower import ROUTES, NotCanonical, check_canonical, open_envelope, parse
from audit.decode.handshake import Malformed
from audit.decode.objects import ObjectStore, read_object
from audit.decode.records import MessageReader
from audit.findings import BlindSpot, Finding, Place
from tests.audit.decode.decoded import Decoded
from tests.audit.decode.federation import NODE, Site, message
from tests.audit.decode.flights import CLIENT, SERVER


def decoded(site: Site, *, named: bool = True) -> Decoded:
    return Decoded(site.frames(), site.secrets, sites={site.pipe.certificates[CLIENT]: "clinic"} if named else None)


def stored(kind: str, body: bytes, children: tuple[str, ...] = ()) -> tuple[str, bytes]:
    """An object as Flower writes it: its id and its bytes."""
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\0" + body
    return hashlib.sha256(content).hexdigest(), content


def test_every_value_of_a_message_is_a_leaf(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.join()
    reply = message()
    site.push(reply)
    seen = decoded(site)
    assert seen.accounts.complete
    assert seen.found == set()
    (read,) = seen.messages
    assert (read.id, read.kind, read.error) == (reply.object_id, "train", "")
    values = {leaf.path: (leaf.kind, leaf.value) for leaf in read.leaves if leaf.kind != "array"}
    assert values == {
        "metrics/train-loss": ("metric", 0.5),
        "metrics/steps": ("metric", 12),
        "metrics/classes": ("metric", [0.5, 0.25]),
        "claim/signature": ("config", b"\x01\x02"),
        "claim/site": ("config", "clinic"),
        "claim/flags": ("config", [True, False]),
    }
    np.testing.assert_array_equal(read.arrays()["update/u"], reply.content["update"]["u"].numpy())
    assert not read.arrays()["update/u"].flags.writeable
    place = next(leaf.place for leaf in read.leaves if leaf.path == "update/u")
    assert (place.site, place.round, place.direction, place.unit) == ("clinic", "3", "to-coordinator", "array")
    assert read.metadata["src_node_id"] == str(NODE)


def test_an_objects_place_is_where_its_body_lies_in_the_stream(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(message())
    site.pull(message(group="4"))
    seen = decoded(site)
    assert {each.place.direction for each in seen.objects} == {CLIENT, SERVER}
    for each in seen.objects:
        body = bytes(each.body)
        assert seen.said()[each.place.direction][each.place.offset :][: len(body)] == body


def test_what_was_pulled_is_read_like_what_was_pushed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.pull(message(group="9"))
    (read,) = decoded(site).messages
    assert (read.place.direction, read.place.round, len(read.leaves)) == ("to-site", "9", 7)


def test_an_array_is_put_together_from_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", "1000")
    monkeypatch.setattr("flwr.app.message.array.MAX_ARRAY_CHUNK_SIZE", 1000, raising=False)
    site = Site(tmp_path)
    reply = message()
    reply.content["update"]["u"] = Array(np.zeros((50, 60), np.float32))  # equal chunks, named often and sent once
    reply.content["update"]["h"] = Array(np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)))
    reply.content["update"]["i"] = Array(np.array(7, np.int64))
    site.push(reply)
    seen = decoded(site)
    arrays = seen.messages[0].arrays()
    assert seen.found | seen.blind == set()
    for name in "uhi":
        np.testing.assert_array_equal(arrays[f"update/{name}"], reply.content["update"][name].numpy())
        assert arrays[f"update/{name}"].dtype == reply.content["update"][name].numpy().dtype


def test_objects_that_crossed_before_count_for_later_messages(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first, second = message(), message(group="4", note=0.75)
    sent = site.push(first)
    second.metadata.__dict__["_message_id"] = second.object_id
    site.push_only(second, known=set(sent))
    seen = decoded(site)
    assert [each.place.round for each in seen.messages] == ["3", "4"]
    assert seen.accounts.complete


def test_an_error_message_carries_its_reason_as_a_leaf(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(Message(Error(code=2, reason="the patient's name is Anna"), reply_to=order()))
    (read,) = decoded(site).messages
    assert read.error == "2: the patient's name is Anna"
    assert [(leaf.path, leaf.value) for leaf in read.leaves] == [("error/reason", "the patient's name is Anna")]


def order() -> Message:
    found = message()
    found.metadata.__dict__["_message_id"] = found.object_id
    return found


def test_every_field_outside_of_messages_is_a_leaf_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    run = GetRunResponse(run=Run(run_id=5, fab_id="a/b", override_config={}))
    run.run.override_config["note"].string = "free text"
    site.exchange("/v1/fleet/get-run", GetRunRequest(run_id=5).SerializeToString(), run.SerializeToString())
    fab = GetFabResponse(fab=Fab(hash_str="h", content=b"zip", verifications={"k": "v", "a": "b"}))
    site.exchange("/v1/fleet/get-fab", GetFabRequest(hash_str="h").SerializeToString(), fab.SerializeToString())
    site.exchange("/v1/fleet/get-run", b"", b'{"error": "why"}', status="403 Forbidden", kind="application/json")
    site.exchange("/health", b"", b"ok")
    seen = decoded(site)
    leaves = {leaf.path: leaf.value for each in seen.requests for leaf in each.leaves}
    assert leaves["response/run/override_config/0/key"] == "note"
    assert leaves["response/run/override_config/0/value/string"] == "free text"
    assert leaves["response/fab/content"] == b"zip"
    assert {leaves["response/fab/verifications/0/key"], leaves["response/fab/verifications/1/key"]} == {"a", "k"}
    assert [leaf.value for each in seen.requests[2:] for leaf in each.leaves] == [b'{"error": "why"}', b"ok"]
    assert seen.accounts.complete
    assert seen.found == set()


def test_a_site_without_certificate_is_known_by_its_node(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.join()
    site.push(message())
    seen = decoded(site, named=False)
    assert {each.place.site for each in seen.messages} == {f"node {NODE}"}
    assert seen.sessions[0].site == f"node {NODE}"


@pytest.mark.parametrize(
    ("behind", "rule"),
    [
        (b"\xf2\x06\x03abc", "protobuf/unknown-field"),  # field 110, three bytes
        (b"\x10\x06", "protobuf/non-canonical"),  # run_id once more
        (b"\x22\x01x", "protobuf/non-canonical"),  # object_content once more
        (b"\x0f", "protobuf/malformed"),
    ],
)
def test_bytes_that_no_field_holds_are_a_finding_with_their_place(tmp_path: Path, behind: bytes, rule: str) -> None:
    site = Site(tmp_path)
    object_id, content = stored("ConfigRecord", b"")
    site.push_object(object_id, content, behind=behind)
    seen = decoded(site)
    (finding,) = [each for each in seen.accounts.findings if each.rule.startswith("protobuf/")]
    assert (finding.rule, finding.place.site, finding.place.message) == (rule, "clinic", "/v1/fleet/push-object")
    if rule == "protobuf/unknown-field":
        assert seen.said()[CLIENT][finding.place.offset :][: len(behind)] == behind


def test_an_object_that_belongs_to_nothing_is_a_finding(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(message())
    object_id, content = stored("ArrayChunk", b"a picture")
    site.push_object(object_id, content)
    seen = decoded(site)
    (finding,) = seen.accounts.findings
    assert (finding.rule, finding.length, finding.place.site) == ("object/orphan", 9, "clinic")


def test_an_upload_that_stops_midway_is_a_blind_spot(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(message(), without=2)
    seen = decoded(site)
    assert (seen.blind, seen.found, seen.messages) == ({"message/incomplete"}, set(), [])


def test_a_message_that_never_came_is_nothing_that_was_not_seen(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.push(message(), without=100)
    assert decoded(site).accounts.complete


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"ConfigRecord  0\0", "0" * 64),
        (b"ConfigRecord  1\0", None),
        (b"ConfigRecord  00\0", None),
        (b"ConfigRecord 0\0", None),
        (b"Context  0\0", None),
        (b"ConfigRecord " + b"A" * 64 + b" 0\0", None),
        (b"ConfigRecord " + b"a" * 64 + b"," + b"a" * 64 + b" 0\0", None),
        (b"no zero byte", None),
    ],
)
def test_an_object_has_one_spelling_and_its_own_name(content: bytes, named: str | None, tmp_path: Path) -> None:
    object_id = named or hashlib.sha256(content).hexdigest()
    with pytest.raises(Malformed):
        read_object(content, object_id)
    site = Site(tmp_path)
    site.push_object(object_id, content)
    assert "object/malformed" in decoded(site).found


def test_unknown_routes_and_bodies_of_the_wrong_kind_stay_unaccounted(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.exchange("/v1/fleet/upload", b"a picture", b"")
    site.exchange("/v1/fleet/get-run", b"\xff\xff", b"")
    seen = decoded(site)
    assert seen.found == {"flower/unknown-route", "protobuf/malformed"}
    assert seen.accounts.ledger.unaccounted_bytes == 11


def test_bodies_and_fields_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_MAX_PLAIN_BODY_BYTES", 100)
    monkeypatch.setattr(fleet, "_MAX_FIELDS", 2)
    site = Site(tmp_path)
    site.exchange("/v1/fleet/get-fab", GetFabRequest(hash_str="h" * 200).SerializeToString(), b"")
    site.exchange(
        "/v1/fleet/get-fab", GetFabRequest(hash_str="h", run_id=5, node={"node_id": 3}).SerializeToString(), b""
    )
    assert decoded(site).blind == {"flower/too-large", "flower/too-many-fields"}


# --- objects that are named rightly and hang together wrongly ---------------------------------------------------------

Store = dict[str, bytes]


def read(objects: Store, root: str, folder: Path) -> tuple[tuple[str, ...], set[str]]:
    """Paths of the leaves, and rules of what was said."""
    store = ObjectStore(folder)
    notes: list[Finding | BlindSpot] = []
    for object_id, content in objects.items():
        head = read_object(content, object_id)
        store.put(object_id, head, memoryview(content)[head.size :])
    _, _, leaves = MessageReader(store, notes.append).read(root, Place())
    store.close()
    return tuple(leaf.path for leaf in leaves), {each.rule for each in notes}


class Tree:
    """Builds a message of one array and one record of values, with one part spoilt."""

    def __init__(self) -> None:
        self.objects: Store = {}

    def add(self, kind: str, body: bytes, *children: str) -> str:
        object_id, content = stored(kind, body, children)
        self.objects[object_id] = content
        return object_id

    def message(self, dictionary: str) -> str:
        return self.add("Message", b"", dictionary)

    def holding(self, record: str) -> str:
        return self.message(self.add("RecordDict", json.dumps({"r": record}).encode(), record))

    def array(self, data: bytes, **declared: object) -> str:
        chunk = self.add("ArrayChunk", data)
        said = {"dtype": "float32", "shape": [3], "stype": "numpy.ndarray", "arraychunk_ids": [0], **declared}
        array = self.add("Array", json.dumps(said).encode(), chunk)
        return self.holding(self.add("ArrayRecord", json.dumps({"a": array}).encode(), array))


def npy(array: np.ndarray, **options: object) -> bytes:  # type: ignore[type-arg]
    stream = io.BytesIO()
    np.save(stream, array, **options)  # type: ignore[arg-type]
    return stream.getvalue()


THREE = npy(np.arange(3, dtype=np.float32))


def test_a_tree_that_is_right_has_its_leaf_and_no_complaint(tmp_path: Path) -> None:
    tree = Tree()
    root = tree.array(THREE)
    assert read(tree.objects, root, tmp_path) == (("r/a",), set())


WRONG: dict[str, Callable[[Tree], str]] = {
    "a tail": lambda t: t.array(THREE + b"a picture"),
    "too short": lambda t: t.array(THREE[:-1]),
    "another dtype": lambda t: t.array(THREE, dtype="int32"),
    "another shape": lambda t: t.array(THREE, shape=[3, 1]),
    "another stype": lambda t: t.array(THREE, stype="note"),
    "one more key": lambda t: t.array(THREE, note="hidden"),
    "a chunk that is not there": lambda t: t.array(THREE, arraychunk_ids=[0, 1]),
    "a chunk that is not used": lambda t: t.array(THREE, arraychunk_ids=[]),
    "a chunk by text": lambda t: t.array(THREE, arraychunk_ids=["0"]),
    "no list of chunks": lambda t: t.array(THREE, arraychunk_ids=0),
    "a pickle": lambda t: t.array(npy(np.array([{}, 1, 2], dtype=object), allow_pickle=True)),
    "texts": lambda t: t.array(npy(np.array(["abc"] * 3))),
    "padding with words": lambda t: t.array(THREE.replace(b"      ", b" hidden", 1)),
    "another npy version": lambda t: t.array(THREE[:6] + b"\x02" + THREE[7:]),
    "not npy": lambda t: t.array(b"a picture"),
    "a type that does not exist": lambda t: t.array(THREE.replace(b"<f4", b"<b8")),
    "spaces in JSON": lambda t: t.holding(t.add("ArrayRecord", b"{ }")),
    "a key twice": lambda t: t.holding(t.add("ArrayRecord", b'{"a": "b", "a": "b"}')),
    "a list": lambda t: t.holding(t.add("ArrayRecord", b"[]")),
    "not JSON": lambda t: t.holding(t.add("ArrayRecord", b"a picture")),
    "deep JSON": lambda t: t.holding(t.add("ArrayRecord", b"[" * 100_000)),
    "a child that nobody names": lambda t: t.holding(t.add("ArrayRecord", b"{}", t.add("ArrayChunk", b"hidden"))),
    "a record with a child": lambda t: t.holding(t.add("ConfigRecord", b"", t.add("ArrayChunk", b"hidden"))),
    "a chunk as record": lambda t: t.holding(t.add("ArrayChunk", b"hidden")),
    "a record as dictionary": lambda t: t.message(t.add("ConfigRecord", b"")),
    "an unknown field in a record": lambda t: t.holding(t.add("ConfigRecord", b"\xf2\x06\x03abc")),
    "a key without a value": lambda t: t.holding(
        t.add("ConfigRecord", ConfigRecord(items=[ConfigRecord.Item(key="hidden", value={})]).SerializeToString())
    ),
    "not a record": lambda t: t.holding(t.add("ConfigRecord", b"\xff")),
    "a message with words": lambda t: t.add("Message", b"\xf2\x06\x03abc"),
    "not a message": lambda t: t.add("Message", b"\xff"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_object_has_no_room_for_anything_else(wrong: str, tmp_path: Path) -> None:
    tree = Tree()
    root = WRONG[wrong](tree)
    leaves, rules = read(tree.objects, root, tmp_path)
    assert leaves == ()
    assert len(rules) == 1
    assert rules <= {"object/malformed", "protobuf/unknown-field", "protobuf/non-canonical"}


def test_a_chunk_that_is_named_a_million_times_does_not_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_ARRAY_BYTES", 10_000)
    tree = Tree()
    root = tree.array(THREE, arraychunk_ids=[0] * 1000)
    assert read(tree.objects, root, tmp_path) == ((), {"array/too-large"})


def test_a_header_that_announces_the_moon_allocates_nothing() -> None:
    data = npy(np.zeros(3, np.float32)).replace(b"(3,), }              ", b"(999999999999,), }   ")
    with pytest.raises(Malformed, match="another size"):
        array_of(bytearray(data))


def test_a_tree_or_metadata_other_than_announced_is_a_finding(tmp_path: Path) -> None:
    for spoil, rule in (("tree", "message/tree"), ("metadata", "message/metadata"), ("id", "message/tree")):
        (tmp_path / spoil).mkdir()
        site = Site(tmp_path / spoil)
        site.push(message(), spoil=spoil)
        assert rule in decoded(site).found


# --- protobuf ---------------------------------------------------------------------------------------------------------


def test_an_envelope_is_the_body_without_its_object() -> None:
    for kind, body in (
        (PushObjectRequest, PushObjectRequest(run_id=5, object_id="x", object_content=b"c" * 300, session_id="s")),
        (PullObjectResponse, PullObjectResponse(object_found=True, object_content=b"c")),
    ):
        data = body.SerializeToString()
        envelope = open_envelope(kind, data)
        envelope.check()
        assert envelope.content == body.object_content == data[envelope.content_at :][: len(body.object_content)]
        assert envelope.message.object_content == b""
        assert len(envelope.plain) + envelope.cut == len(data)


def test_a_body_that_is_cut_off_or_spelled_at_length_is_refused() -> None:
    data = PushObjectRequest(object_content=b"c").SerializeToString()
    for wrong in (data[:-1], b"\x22" + b"\xff" * 11, b"\x0f"):
        with pytest.raises(Malformed):
            open_envelope(PushObjectRequest, wrong)
    for wrong in (b"\x22\x81\x00c", b"\x22\x00", data + b"\x10\x05", data + b"\x2a\x01s" + data):
        with pytest.raises(NotCanonical):
            open_envelope(PushObjectRequest, wrong).check()


@given(st.sampled_from(sorted(ROUTES)), st.integers(0, 1), st.binary(max_size=200))
def test_no_bytes_whatever_crash_the_parsers(route: str, side: int, data: bytes) -> None:
    kind = ROUTES[route][side]
    try:
        open_envelope(kind, data).check()
    except Malformed:
        return
    again = parse(kind, data)
    check_canonical(again, data)


@given(st.data())
def test_an_envelope_accepts_exactly_what_the_whole_check_accepts(data: st.DataObject) -> None:
    body = bytearray(
        PullObjectResponse(object_found=True, object_available=True, object_content=b"abc").SerializeToString()
    )
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    whole = accepts(lambda: check_canonical(parse(PullObjectResponse, bytes(body)), bytes(body)))
    assert accepts(lambda: open_envelope(PullObjectResponse, bytes(body)).check()) == whole
    assert accepts(lambda: open_envelope(PullObjectRequest, b"").check())


def accepts(check: Callable[[], None]) -> bool:
    try:
        check()
    except Malformed:
        return False
    return True


@given(st.binary(max_size=300), st.binary(max_size=30))
def test_no_array_bytes_whatever_crash_it(head: bytes, tail: bytes) -> None:
    for data in (head, THREE[: len(head)] + tail, b"\x93NUMPY\x01\x00" + head):
        try:
            array_of(bytearray(data))
        except Malformed:
            continue
