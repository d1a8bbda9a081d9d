"""What a run declares passes without a word; each kind of departure from it is a finding that names the place."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.decode.conversation import Exchange, Leaf, WireMessage, WireObject
from audit.detect.fields import (
    ArrayField,
    BytesField,
    Field,
    ListField,
    NumberField,
    TextField,
    field_from_mapping,
)
from audit.detect.schema import MessageSpec, Route, Schema
from audit.findings import Place

HEADERS = {"host": TextField(40), "content-length": TextField(8, r"\d+")}
ROUTE = Route("POST", "/v1/fleet/pull-messages", 200, 400, HEADERS, {"date": TextField(40)})
SPEC = MessageSpec(
    "train",
    "to-coordinator",
    {
        "update/u": ArrayField("float32", (10,)),
        "metrics/train-loss": NumberField("float", 0, 100),
        "claim/site": TextField(20, "[a-z0-9-]+"),
        "claim/signature": BytesField(64),
        "config/sizes": ListField(NumberField("int", 0, 9), 3),
    },
    {"group_id": TextField(6, r"\d+|join")},
    TextField(10),
)
SCHEMA = Schema((ROUTE,), (SPEC,), {"ArrayChunk": 100, "ConfigRecord": 50})

EXCHANGE = Exchange(
    session="s0001",
    index=0,
    method="POST",
    route="/v1/fleet/pull-messages",
    status=200,
    request_headers=(("Host", "localhost:9000"), ("Content-Length", "12")),
    response_headers=(("date", "today"),),
    request=b"x" * 12,
    response=b"y" * 30,
    request_at=100,
    response_at=200,
)
LEAVES = (
    Leaf("update/u", "array", np.zeros(10, np.float32)),
    Leaf("metrics/train-loss", "metric", 0.5),
    Leaf("claim/site", "config", "clinic-1"),
    Leaf("claim/signature", "config", bytes(64)),
    Leaf("config/sizes", "config", [1, 2, 3]),
)
PLACE = Place(session="s0001", direction="to-coordinator", round="2")
MESSAGE = WireMessage("m1", "train", {"group_id": "2"}, LEAVES, place=PLACE)


def changed(path: str, value: Any) -> WireMessage:
    leaves = tuple(replace(each, value=value) if each.path == path else each for each in LEAVES)
    return replace(MESSAGE, leaves=leaves)


def test_what_is_declared_passes() -> None:
    assert SCHEMA.check_exchange(EXCHANGE) == []
    assert SCHEMA.check_message(MESSAGE) == []
    assert SCHEMA.check_message(replace(MESSAGE, error="x" * 10)) == []
    assert SCHEMA.check_object(WireObject("0a", "ArrayChunk", bytes(100))) == []


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"route": "/v1/fleet/secret"}, "schema/route", "POST /v1/fleet/secret is no declared route"),
        ({"method": "GET"}, "schema/route", "GET"),
        ({"status": 302}, "schema/status", "302"),
        ({"request_headers": (("X-Pixels", "data"),)}, "schema/header", "x-pixels is not declared"),
        ({"request_headers": (("host", "a"), ("HOST", "b"))}, "schema/header", "twice"),
        ({"request_headers": (("content-length", "12a"),)}, "schema/header", "pattern"),
        ({"response_headers": (("date", "d" * 41),)}, "schema/header", "41 characters, over 40"),
        ({"request": bytes(201)}, "schema/body", "201 bytes, over 200"),
        ({"response": bytes(401)}, "schema/body", "401 bytes, over 400"),
    ],
)
def test_an_exchange_that_departs_is_a_finding(changes: dict[str, Any], rule: str, words: str) -> None:
    (finding,) = SCHEMA.check_exchange(replace(EXCHANGE, **changes), Place(site="clinic-1"))
    assert finding.rule == rule
    assert words in finding.message
    assert (finding.place.session, finding.place.site) == ("s0001", "clinic-1")
    assert finding.place.offset == (200 if "response" in str(changes) or "status" in changes else 100)


@pytest.mark.parametrize(
    ("message", "rule", "words"),
    [
        (replace(MESSAGE, kind="gossip"), "schema/message", "gossip"),
        (replace(MESSAGE, place=replace(PLACE, direction="to-site")), "schema/message", "to-site"),
        (replace(MESSAGE, metadata={"group_id": "2", "note": "hi"}), "schema/metadata", "note is not declared"),
        (replace(MESSAGE, metadata={"group_id": "two"}), "schema/metadata", "pattern"),
        (replace(MESSAGE, error="x" * 11), "schema/error", "over 10"),
        (replace(MESSAGE, leaves=(*LEAVES, Leaf("extra/p", "array", np.zeros(4)))), "schema/field", "extra/p"),
        (changed("update/u", np.zeros(11, np.float32)), "schema/value", "shape (11,)"),
        (changed("update/u", np.zeros((2, 5), np.float32)), "schema/value", "shape (2, 5)"),
        (changed("update/u", np.zeros(10)), "schema/value", "float64, not float32"),
        (changed("update/u", 1.0), "schema/value", "not an array"),
        (changed("metrics/train-loss", math.nan), "schema/value", "not finite"),
        (changed("metrics/train-loss", 101.0), "schema/value", "outside [0, 100]"),
        (changed("metrics/train-loss", 1), "schema/value", "int, not float"),
        (changed("claim/site", "a" * 21), "schema/value", "21 characters"),
        (changed("claim/site", "A clinic"), "schema/value", "pattern"),
        (changed("claim/site", b"clinic"), "schema/value", "not a text"),
        (changed("claim/signature", bytes(65)), "schema/value", "65 bytes"),
        (changed("claim/signature", "text"), "schema/value", "not bytes"),
        (changed("config/sizes", [1, 2, 3, 4]), "schema/value", "4 items"),
        (changed("config/sizes", [1, True]), "schema/value", "item that is bool, not int"),
        (changed("config/sizes", 1), "schema/value", "not a list"),
    ],
)
def test_a_message_that_departs_is_a_finding(message: WireMessage, rule: str, words: str) -> None:
    (finding,) = SCHEMA.check_message(message)
    assert finding.rule == rule
    assert words in finding.message
    assert (finding.place.message, finding.place.round) == ("m1", "2")


def test_a_value_that_stands_twice_is_found_twice() -> None:
    findings = SCHEMA.check_message(replace(MESSAGE, leaves=(*LEAVES, LEAVES[1])))
    assert [each.rule for each in findings] == ["schema/field"] * 2


def test_an_object_that_departs_is_a_finding() -> None:
    assert SCHEMA.check_object(WireObject("0a", "Picture", b"x"))[0].message == "Picture is no declared object"
    assert "101 bytes, over 100" in SCHEMA.check_object(WireObject("0a", "ArrayChunk", bytes(101)))[0].message


def test_a_finding_repeats_no_value_and_little_of_a_name() -> None:
    secret = "iVBORw0KGgo" * 100
    findings = [
        *SCHEMA.check_message(changed("claim/site", secret)),
        *SCHEMA.check_message(replace(MESSAGE, leaves=(Leaf(secret, "config", secret),))),
        *SCHEMA.check_exchange(replace(EXCHANGE, route="/" + secret)),
        *SCHEMA.check_exchange(replace(EXCHANGE, request_headers=((secret, secret),))),
    ]
    assert len(findings) == 4
    assert all(len(each.message) < 120 and len(each.place.path) < 70 for each in findings)
    assert all(len(each.place.message) < 70 for each in findings)


def test_a_schema_survives_json() -> None:
    assert Schema.from_mapping(json.loads(json.dumps(SCHEMA.to_mapping(), allow_nan=False))) == SCHEMA


@pytest.mark.parametrize(
    "make",
    [
        lambda: NumberField("complex"),
        lambda: NumberField("int", 2, 1),
        lambda: TextField(-1),
        lambda: Route("GET", "/", 0, 0, {"Host": TextField(1)}, {}),
        lambda: Schema((ROUTE, ROUTE), (), {}),
        lambda: Schema((), (SPEC, SPEC), {}),
        lambda: field_from_mapping({"type": "pickle"}),
        lambda: field_from_mapping({"type": "list", "max_items": 1, "item": ArrayField("f4", (1,)).to_mapping()}),
    ],
)
def test_a_schema_that_makes_no_sense_cannot_be_built(make: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()


def test_bounds_hold_for_integers_and_infinities_pass_where_declared() -> None:
    assert NumberField("int", 0, 3).fault(4) == "is outside [0, 3]"
    assert NumberField("float", finite=False).fault(math.inf) is None
    assert NumberField("bool").fault(1) == "is int, not bool"


@settings(max_examples=40)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_no_value_breaks_a_field(value: Any) -> None:
    fields: list[Field] = [NumberField("float", 0, 1), TextField(3), BytesField(3), ArrayField("f4", (2,))]
    for each in [*fields, ListField(TextField(2), 2)]:
        assert each.fault(value) is None or isinstance(each.fault(value), str)
