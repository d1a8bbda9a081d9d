"""Messages of a secure sum in Flower's records: what goes in comes out, and rubbish is refused by name."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.app.messages import Order
from secure_fl.app.secagg import wire
from secure_fl.config import RunConfig
from secure_fl.secagg.errors import Malformed, WrongVector
from secure_fl.secagg.messages import Advert, Agreement
from secure_fl.secagg.terms import Slot, Terms

SLOT = Slot("r1", 3, 1, 0)
CONFIG = RunConfig(secagg="full", lr=0.25)
TERMS = Terms(SLOT, (0, 1, 2, 3, 4), 4, 4, 100, 32, 5.0, 60, "a" * 64, "b" * 64)
ADVERTS = {index: Advert(bytes([index] * 32), bytes(32), bytes(64)) for index in range(5)}


@pytest.fixture(autouse=True)
def _somebody() -> None:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0


def sent(content: RecordDict, kind: str = wire.SHARE) -> Message:
    return Message(content, dst_node_id=7, message_type=kind)


def with_fields(**fields) -> Message:
    return sent(RecordDict({"secagg": ConfigRecord(fields)}))


def test_an_order_to_share_is_read_as_it_was_written_and_is_one_record():
    order = wire.ShareOrder(TERMS, ADVERTS, CONFIG, (10, 0, 20, 30, 40), b"proof")
    content = wire.content_of_share(order)
    assert list(content) == ["secagg"] and wire.read_share_order(sent(content)) == order


def test_an_order_to_mask_carries_the_order_to_train():
    order = Order("r1", 3, "spec", CONFIG, np.ones(4, np.float32))
    read = wire.read_masked_order(sent(wire.content_of_masked(order, SLOT, {}), wire.MASKED))
    assert (read.slot, read.order.round, read.order.config) == (SLOT, 3, CONFIG)
    np.testing.assert_array_equal(read.order.model, order.model)


def test_survivors_and_agreements_are_read_as_they_were_written():
    assert wire.read_survivors(sent(wire.content_of_slot(SLOT, (0, 2, 3)))) == [0, 2, 3]
    order = wire.OpenOrder(SLOT, {1: Agreement(bytes(32), bytes(64))}, Slot("r1", 4, 1, 0))
    assert wire.read_open_order(sent(wire.content_of_open(order))) == order
    last = wire.OpenOrder(SLOT, {1: Agreement(bytes(32), bytes(64))})
    assert wire.read_open_order(sent(wire.content_of_open(last))).following is None


@pytest.mark.parametrize("key", ["adverts.01", "adverts.-1", "adverts.x", "adverts.", "adverts.1.2"])
def test_a_row_whose_index_is_written_otherwise_is_refused(key):
    fields = {"terms": TERMS.to_bytes(), "declared": [1], key: ADVERTS[1].to_bytes()}
    with pytest.raises(Malformed, match="row"):
        wire.read_share_order(with_fields(**fields))


@pytest.mark.parametrize("survivors", ["all", [-1], [0.5], [True], 3])
def test_survivors_that_are_no_list_of_whole_numbers_are_refused(survivors):
    with pytest.raises(Malformed):
        wire.read_survivors(with_fields(slot=SLOT.to_bytes(), survivors=survivors))


def test_a_missing_or_mistyped_field_is_refused():
    for fields in ({}, {"advert": "text"}):
        with pytest.raises(Malformed, match="without `advert`"):
            wire.read_bytes(with_fields(**fields), "advert")


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ({}, Malformed),
        ({"y": np.zeros(5, np.uint32), "z": np.zeros(5, np.uint32)}, Malformed),
        ({"y": np.zeros(4, np.uint32)}, WrongVector),
        ({"y": np.zeros(5, np.uint16)}, WrongVector),
        ({"y": np.zeros((5, 1), np.uint32)}, WrongVector),
        ({"y": np.zeros(10_000, np.uint32)}, Malformed),
    ],
)
def test_a_masked_vector_has_the_agreed_length_and_type(arrays, error):
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    with pytest.raises(error):
        wire.read_words(sent(RecordDict({"masked": record})), words=5, dtype=np.dtype(np.uint32))


@pytest.mark.parametrize(("said", "read"), [(1.5, 1.5), (float("nan"), None), ("much", None), (3, None)])
def test_the_epsilon_that_a_site_reports_is_a_finite_number_or_nothing(said, read):
    assert wire.read_epsilon(with_fields(epsilon=said)) == read
