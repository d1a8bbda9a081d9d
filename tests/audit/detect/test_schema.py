"""The allow-list: everything that is not declared is a finding, and what is declared passes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from audit.decode.conversation import Exchange, Leaf, WireMessage, WireObject
from audit.detect.rules import Array, Blob, Flag, Number, Numbers, Rule, Text, Texts
from audit.detect.schema import MessageRule, Schema, general_path
from audit.findings import Place

VALUES: dict[str, Rule] = {
    "update/u": Array("f4", (3,)),
    "metrics/loss": Number(any_float=True),
    "metrics/steps": Number(0, 10, whole=True),
    "metrics/classes": Numbers(2, -1, 1),
    "claim/site": Text(8, "[a-z0-9-]+"),
    "claim/signature": Blob(4, 4),
    "claim/done": Flag(),
}
SCHEMA = Schema(
    messages=(
        MessageRule("train", VALUES, "to-coordinator"),
        MessageRule("/v1/fleet/push", {"request/list/*/id": Text(4), "response/wanted": Texts(2, Text(2))}),
    ),
    request_headers={"host": Text(9)},
    response_headers={"date": Text(9)},
    objects=("Array",),
    refusals=(403,),
    errors=Text(20),
)
GOOD: dict[str, Any] = {
    "update/u": np.zeros(3, np.float32),
    "metrics/loss": math.nan,
    "metrics/steps": 10,
    "metrics/classes": [-1.0, 1.0],
    "claim/site": "site-0",
    "claim/signature": b"abcd",
    "claim/done": True,
}
EXCHANGE = Exchange("s0001", 0, "POST", "/v1/fleet/push", 200, (("Host", "a:1"),), (("date", "now"),), b"", b"")


def message(values: dict[str, Any], *, kind: str = "train", status: str = "200", error: str = "") -> WireMessage:
    place = Place(site="site-0", direction="to-coordinator", round="2")
    leaves = tuple(Leaf(path, "config", value, replace(place, path=path)) for path, value in values.items())
    return WireMessage("m", kind, {"status": status}, leaves, error, place)


def rules(findings: list[Any]) -> list[str]:
    return [each.rule for each in findings]


def test_what_is_declared_passes() -> None:
    assert SCHEMA.check_message(message(GOOD)) == []
    assert SCHEMA.check_exchange(EXCHANGE) == []
    assert SCHEMA.check_object(WireObject("1", "Array", b"")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("update/u", np.zeros(4, np.float32)),
        ("update/u", np.zeros(3, np.float64)),
        ("update/u", np.zeros(3, ">f4")),
        ("update/u", np.zeros((3, 1), np.float32)),
        ("update/u", [0.0, 0.0, 0.0]),
        ("metrics/loss", "0.5"),
        ("metrics/loss", True),
        ("metrics/steps", 11),
        ("metrics/steps", -1),
        ("metrics/steps", 1.0),
        ("metrics/classes", [0.0, 0.0, 0.0]),
        ("metrics/classes", [0.0, 2.0]),
        ("metrics/classes", [math.nan]),
        ("metrics/classes", 0.5),
        ("claim/site", "site-0123"),
        ("claim/site", "Site"),
        ("claim/site", b"\xff"),
        ("claim/site", ""),
        ("claim/signature", b"abc"),
        ("claim/signature", "abcd"),
        ("claim/done", 1),
    ],
)
def test_a_value_of_another_type_size_or_range_is_found_at_its_place(path: str, value: Any) -> None:
    (finding,) = SCHEMA.check_message(message({**GOOD, path: value}))
    assert finding.rule == "schema/value" and path in finding.message
    assert (finding.place.site, finding.place.round, finding.place.path) == ("site-0", "2", path)


def test_a_key_that_nobody_declared_is_found_with_a_digest_and_not_with_its_value() -> None:
    (finding,) = SCHEMA.check_message(message({**GOOD, "metrics/note": "a secret text"}))
    assert (finding.rule, finding.length) == ("schema/key", 13)
    assert len(finding.evidence_sha256) == 64 and "secret" not in finding.message


def test_a_message_of_another_kind_or_direction_is_found() -> None:
    assert rules(SCHEMA.check_message(message(GOOD, kind="gossip"))) == ["schema/message"]
    turned = replace(message(GOOD), place=Place(direction="to-site"))
    assert rules(SCHEMA.check_message(turned)) == ["schema/message"]


def test_an_index_in_a_path_of_a_request_is_any_index() -> None:
    assert general_path("request/list/12/id") == "request/list/*/id"
    assert general_path("config/12") == "config/12"
    fields = {"request/list/0/id": "abcd", "request/list/1/id": "e", "response/wanted": ["ab", "c"]}
    assert SCHEMA.check_message(message(fields, kind="/v1/fleet/push")) == []
    longer = {"request/list/0/id": "abcde", "response/wanted": ["abc"]}
    assert rules(SCHEMA.check_message(message(longer, kind="/v1/fleet/push"))) == ["schema/value"] * 2
    many = {"response/wanted": ["a", "b", "c"]}
    assert rules(SCHEMA.check_message(message(many, kind="/v1/fleet/push"))) == ["schema/value"]


def test_a_refusal_may_say_a_short_text_and_nothing_longer() -> None:
    refused = message({"response": b"not let in"}, kind="/v1/fleet/push", status="403")
    assert SCHEMA.check_message(refused) == []
    for body in (b"x" * 21, b"\xff\xd8\xff"):
        longer = message({"response": body}, kind="/v1/fleet/push", status="403")
        assert rules(SCHEMA.check_message(longer)) == ["schema/value"]
    unrefused = message({"response": b"not let in"}, kind="/v1/fleet/push")
    assert rules(SCHEMA.check_message(unrefused)) == ["schema/key"]


def test_the_text_of_an_error_has_a_limit_too() -> None:
    assert SCHEMA.check_message(message({}, error="failed")) == []
    assert rules(SCHEMA.check_message(message({}, error="failed " * 5))) == ["schema/value"]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"method": "PUT"}, "schema/route"),
        ({"route": "/v1/control/start-run"}, "schema/route"),
        ({"status": 302}, "schema/status"),
        ({"request_headers": (("x-picture", "abc"),)}, "schema/header"),
        ({"request_headers": (("host", "a"), ("host", "b"))}, "schema/header"),
        ({"request_headers": (("host", "a" * 10),)}, "schema/header"),
        ({"response_headers": (("server", "x"),)}, "schema/header"),
    ],
)
def test_an_exchange_beside_the_declared_ones_is_found(changed: dict[str, Any], rule: str) -> None:
    assert rules(SCHEMA.check_exchange(replace(EXCHANGE, **changed))) == [rule]


def test_an_answer_that_was_not_seen_is_no_finding() -> None:
    assert SCHEMA.check_exchange(replace(EXCHANGE, status=0, response_headers=())) == []


def test_an_object_of_another_kind_is_found() -> None:
    assert rules(SCHEMA.check_object(WireObject("1", "Pickle", b""))) == ["schema/object"]


def test_a_schema_survives_json() -> None:
    assert Schema.from_mapping(json.loads(json.dumps(SCHEMA.to_mapping(), allow_nan=False))) == SCHEMA


@pytest.mark.parametrize("plain", [{}, {"messages": [{}]}, {**SCHEMA.to_mapping(), "errors": {"size": 3}}])
def test_what_is_no_schema_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Schema.from_mapping(plain)
