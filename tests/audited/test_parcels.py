"""A run's schema and parcels: what an honest site sends in them is declared, and each call is held to its own route."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from PIL import Image

from audit.examine import Evidence, examine_wire
from audit.findings import Finding
from secure_fl.audited.schema import wire_schema
from secure_fl.config import RunConfig
from tests.audit.decode.federation import (
    NODE,
    Call,
    Site,
    announcing,
    asking,
    confirming,
    fetching,
    message,
    objects_of,
    sending,
)
from tests.audit.decode.flights import CLIENT
from tests.audit.decode.wire import PORT, packets
from tests.audited.test_schema import EXTENT, TRAINED

ORDER = "0f" * 32
Say = Callable[[Site, list[Call]], None]


def in_one_parcel(site: Site, calls: list[Call]) -> None:
    site.parcel(calls)


def one_by_one(site: Site, calls: list[Call]) -> None:
    for each in calls:
        site.call(each)


def reply() -> Message:
    """What a site answers after training, as the schema has it."""
    made, records = message(), dict[str, dict[str, Any]]()
    for path, value in TRAINED.items():
        record, key = path.split("/")
        records.setdefault(record, {})[key] = value
    content = RecordDict(
        {
            "update": ArrayRecord({"u": Array(records["update"]["u"])}),
            "claim": ConfigRecord(records["claim"]),
            "metrics": MetricRecord(records["metrics"]),
        }
    )
    made.content = content
    return made


def upload(said: Message) -> list[Call]:
    return [confirming(ORDER), announcing(said), *(sending(*each, session="") for each in objects_of(said).items())]


def found(folder: Path, say: Say, calls: list[Call]) -> list[Finding]:
    """What an examination by the schema of a real run finds."""
    folder.mkdir()
    site = Site(folder)
    say(site, calls)
    sites = {site.pipe.certificates[CLIENT]: "site-0"}
    evidence = Evidence((), site.secrets, PORT, sites, wire_schema(RunConfig(), EXTENT), ())
    (folder / "spool").mkdir()
    seen = examine_wire(evidence, packets(site.frames()), spool=folder / "spool")
    assert seen.ledger.unaccounted_bytes == 0 and not seen.blind_spots
    return list(seen.findings)


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def test_what_a_site_sends_in_parcels_is_declared(tmp_path: Path) -> None:
    assert found(tmp_path / "reply", in_one_parcel, upload(reply())) == []
    assert found(tmp_path / "question", in_one_parcel, [asking(patiently=True)]) == []


def test_an_order_in_parcels_is_held_to_its_schema(tmp_path: Path) -> None:
    order = message()
    calls = [asking(order), *(fetching(*each) for each in objects_of(order).items())]
    together, plain = found(tmp_path / "parcel", in_one_parcel, calls), found(tmp_path / "plain", one_by_one, calls)
    assert gist(together) == gist(plain) != set()


def gist(findings: list[Finding]) -> set[tuple[str, ...]]:
    """Findings wherever they lie in the stream."""
    return {
        (each.rule, each.message, each.place.message, each.place.path, each.evidence_sha256)
        for each in findings
        if each.place.path
    }


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (
            Call("push-object", PushObjectRequest(node=Node(node_id=NODE), session_id="Anna").SerializeToString(), b""),
            "request/session_id",
        ),
        (
            Call(
                "confirm-message-received",
                ConfirmMessageReceivedRequest(message_object_id="patient").SerializeToString(),
                b"",
            ),
            "request/message_object_id",
        ),
    ],
)
def test_a_field_that_breaks_its_rule_is_reported_with_its_own_route_and_path(
    call: Call, path: str, tmp_path: Path
) -> None:
    (finding,) = found(tmp_path / "parcel", in_one_parcel, [asking(patiently=True), call])
    assert (finding.rule, finding.place.message, finding.place.path) == (
        *("schema/value", f"/v1/fleet/{call.name}", path),
    )
    assert (finding.place.site, finding.place.direction) == ("site-0", CLIENT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_in_a_field_of_a_call_is_found_in_a_parcel_as_by_itself(kind: str, tmp_path: Path) -> None:
    hidden = picture(kind).decode("latin-1")
    request = PushObjectRequest(node=Node(node_id=NODE), run_id=5, object_id=ORDER, session_id=hidden)
    call = Call("push-object", request.SerializeToString(), b"")
    together = found(tmp_path / "parcel", in_one_parcel, [asking(patiently=True), call])
    plain = found(tmp_path / "plain", one_by_one, [call])
    assert gist(together) == gist(plain)
    where = {(each.rule, each.place.message, each.place.path) for each in together if each.place.path}
    assert {(f"image/{kind.lower()}", "/v1/fleet/push-object", "request/session_id")} <= where
    assert ("schema/value", "/v1/fleet/push-object", "request/session_id") in where


def test_a_picture_as_the_object_of_a_call_is_found_in_a_parcel(tmp_path: Path) -> None:
    said = reply()
    said.content["claim"]["debug"] = picture("PNG")
    findings = found(tmp_path / "parcel", in_one_parcel, upload(said))
    assert {("schema/key", "claim/debug"), ("image/png", "claim/debug")} <= {
        (each.rule, each.place.path) for each in findings
    }


def test_the_route_of_parcels_is_declared_and_no_other_of_that_kind() -> None:
    kinds = {rule.kind for rule in wire_schema(RunConfig(), EXTENT).messages}
    assert "/v1/fleet/parcel" in kinds and "/v1/runtime/parcel" not in kinds
