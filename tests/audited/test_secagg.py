"""What the wire of a secure run may hold: each trip as our adapter writes it, and nothing that it does not need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from audit.controls.plan import control_plan, masking_controls
from audit.detect.masked import MaskedOverTime
from audit.detect.rules import Masked
from audit.detect.schema import Schema
from audit.findings import Place
from secure_fl.app.messages import Order
from secure_fl.app.secagg import wire
from secure_fl.app.secagg.groups import REVEAL
from secure_fl.app.secagg.layout import Layout
from secure_fl.audited.schema import Extent, wire_schema
from secure_fl.audited.secagg import clean_saying
from secure_fl.config import RunConfig
from secure_fl.secagg.client import Client
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.server import Server
from secure_fl.secagg.terms import Slot
from tests.audited.test_schema import identity, leaves_of, said  # noqa: F401 - `identity` is a fixture
from tests.secagg.witnessed import Federation

EXTENT = Extent("20261124-120000-abcd", parameters=2_000, classes=3)
CONFIG = RunConfig(secagg="full", sites=5)
SLOT = Slot(EXTENT.run, 1, 0, 0)
WORDS = Layout.of(CONFIG, size=EXTENT.parameters, members=5, max_weight=1, model_sha256="0" * 64).words


def complaints(kind: str, direction: str, content: RecordDict, config: RunConfig = CONFIG) -> list[str]:
    message = said(kind, direction, leaves_of(content))
    return [each.message for each in wire_schema(config, EXTENT).check_message(message)]


class Trips:
    """One sum of five sites, with what goes over the wire in each trip: (kind, direction, content)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, RecordDict]] = []
        federation = Federation(5)
        terms, clients = federation.terms(SLOT, WORDS), federation.clients
        server = Server(terms, federation.roster)
        for index, client in enumerate(clients):
            advert = client.advertise(SLOT)
            self._trip(wire.ADVERTISE, wire.content_of_slot(SLOT), advert=advert)
            server.take_advert(index, advert)
        adverts = dict(server.close_adverts())
        order = wire.ShareOrder(terms, adverts, CONFIG, (0,) * 5)
        for index, client in enumerate(clients):
            sealed = client.share(terms, adverts)
            self._trip(wire.SHARE, wire.content_of_share(order), sealed=sealed)
            server.take_sealed(index, sealed)
        model = np.zeros(EXTENT.parameters, np.float32)
        train = Order(EXTENT.run, 1, "a" * 64, CONFIG, model)
        for index, inbox in server.close_sealed().items():
            words = np.zeros(WORDS, np.uint32)
            clients[index].mask(SealedForMe.inbox(inbox), words)
            self.sent.append((wire.MASKED, "to-site", wire.content_of_masked(train, SLOT, inbox)))
            self.sent.append((wire.MASKED, "to-coordinator", masked(words)))
            server.take_masked(index, words)
        survivors = server.close_masked()
        self._agree_and_open(server, clients, survivors)

    def _agree_and_open(self, server: Server, clients: list[Client], survivors: tuple[int, ...]) -> None:
        for index in survivors:
            agreement = clients[index].agree(survivors)
            self._trip(wire.AGREE, wire.content_of_slot(SLOT, survivors), agreement=agreement)
            server.take_agreement(index, agreement)
        agreements = dict(server.close_agreements())
        following = Slot(EXTENT.run, 2, 0, 0)
        for index in survivors:
            opening = clients[index].open(agreements)
            advert = clients[index].advertise(following)
            order = wire.OpenOrder(SLOT, agreements, following)
            self._trip(wire.OPEN, wire.content_of_open(order), opening=opening, advert=advert)
            server.take_opening(index, opening)

    def _trip(self, kind: str, order: RecordDict, **answer: Advert | Sealed | Agreement | Opening) -> None:
        self.sent.append((kind, "to-site", order))
        asked = Message(RecordDict(), dst_node_id=1, message_type=kind)
        said = wire.answer(asked, **{name: each.to_bytes() for name, each in answer.items()})
        self.sent.append((kind, "to-coordinator", said.content))


def masked(words: np.ndarray) -> RecordDict:
    return RecordDict({"masked": ArrayRecord({"y": Array(words)})})


def test_every_message_of_a_sum_is_declared() -> None:
    sent = Trips().sent
    assert {(kind, direction) for kind, direction, _ in sent} == {
        (kind, direction)
        for kind in (wire.ADVERTISE, wire.SHARE, wire.MASKED, wire.AGREE, wire.OPEN)
        for direction in ("to-site", "to-coordinator")
    }
    for kind, direction, content in sent:
        assert complaints(kind, direction, content) == [], kind
    assert complaints(wire.FORGET, "to-site", RecordDict()) == []


def test_a_site_says_nothing_beside_the_protocols_own_words() -> None:
    for kind, direction, content in Trips().sent:
        if direction == "to-coordinator":
            content["metrics"] = wire.ConfigRecord({"train-loss": 0.5})
            assert complaints(kind, direction, content) == ["'metrics/train-loss' is not declared"]


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize("direction", ["to-site", "to-coordinator"])
def test_an_update_or_a_measurement_in_the_clear_is_not_declared(kind: str, direction: str) -> None:
    content = RecordDict({"update": ArrayRecord({"u": Array(np.zeros(EXTENT.parameters, np.float32))})})
    (complaint,) = complaints(kind, direction, content)
    assert kind in complaint


def test_a_vector_of_floats_in_place_of_a_masked_one_is_found() -> None:
    assert complaints(wire.MASKED, "to-coordinator", masked(np.zeros(WORDS, np.uint32))) == []
    for wrong in (np.zeros(WORDS, np.float32), np.zeros(WORDS + 1, np.uint32), np.zeros(WORDS, np.uint16)):
        assert len(complaints(wire.MASKED, "to-coordinator", masked(wrong))) == 1


def test_a_message_that_is_too_long_for_its_federation_is_found() -> None:
    said = RecordDict({"secagg": wire.ConfigRecord({"advert": bytes(141)})})
    assert len(complaints(wire.ADVERTISE, "to-coordinator", said)) == 1


@pytest.mark.parametrize("bits", ["16", "32"])
def test_masked_vectors_are_declared_as_such_and_survive_the_evidence_file(bits: str) -> None:
    config = CONFIG.changed({"secagg-bits": bits})
    schema = wire_schema(config, EXTENT)
    again = Schema.from_mapping(schema.to_mapping())
    assert again == schema and again.masks
    rules = [each.values["masked/y"] for each in again.messages if "masked/y" in each.values]
    assert rules == [Masked(f"u{int(bits) // 8}", (WORDS,))]
    assert not wire_schema(RunConfig(), EXTENT).masks


@pytest.mark.parametrize("bits", ["16", "32"])
def test_the_controls_of_a_secure_run_are_what_they_are_called(bits: str) -> None:
    config = CONFIG.changed({"secagg-bits": bits})
    clean = clean_saying(config, EXTENT.parameters, np.random.default_rng(0))
    plan = {each.name: each for each in (*control_plan(clean), *masking_controls(clean))}
    assert complaints(clean.kind, "to-coordinator", masked(clean.arrays["y"]), config) == []
    assert MaskedOverTime().add(clean.arrays["y"], Place()) == []
    assert {saying.kind for each in plan.values() for saying in each.sayings} == {wire.MASKED}
    for name in ("unmasked", "reused-mask"):
        seen, found = MaskedOverTime(), []
        for saying in plan[name].sayings:
            found += seen.add(saying.arrays["y"], Place())
        assert [each.rule for each in found] == list(plan[name].rules)


@pytest.mark.parametrize("unit", ["sample", "client"])
def test_under_dp_the_counters_are_fewer_and_declared_so(unit: str) -> None:
    private: dict[str, Any] = {"dp_epsilon": 8.0, "dp_unit": unit}
    config = RunConfig(secagg="full", sites=5, **private)
    clean = clean_saying(config, EXTENT.parameters, np.random.default_rng(0))
    assert len(clean.arrays["y"]) < WORDS
    assert complaints(clean.kind, "to-coordinator", masked(clean.arrays["y"]), config) == []


def test_the_draw_of_groups_is_declared_in_grouped_runs_only() -> None:
    grouped = RunConfig(secagg="grouped", sites=6, secagg_group_size=2, defense="median", byzantine=1)
    shown = RecordDict({"secagg": wire.ConfigRecord({"run": EXTENT.run, "commitments": [bytes(100)] * 6})})
    assert complaints(REVEAL, "to-site", shown, grouped) == []
    too_long = RecordDict({"secagg": wire.ConfigRecord({"run": EXTENT.run, "commitments": [bytes(4_000)]})})
    assert len(complaints(REVEAL, "to-site", too_long, grouped)) == 1
    assert len(complaints(REVEAL, "to-site", shown)) == 1
