import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from defenses.guard import Reason, Refusal, UpdateRules
from secure_fl.app.identity import RosterEntry, update_statement, vector_sha256
from secure_fl.app.messages import (
    Order,
    Update,
    order_message,
    payload_bytes,
    read_metrics,
    read_order,
    read_update,
    update_reply,
)
from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError, FederationError
from tests.app.conftest import signer_of

D = 50
RULES = UpdateRules(size=D, max_norm=100.0)
ENTRY = RosterEntry("site-0", 0, signer_of(0).public_hex, "", "")


@pytest.fixture
def order() -> Order:
    return Order("r1", 3, "spec", RunConfig(seed=5, lr=0.1), np.arange(D, dtype=np.float32))


@pytest.fixture
def message(order: Order) -> Message:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
    sent = order_message(7, order, kind=MessageType.TRAIN, ttl_s=60)
    sent.metadata.__dict__["_message_id"] = "m1"
    return sent


@pytest.fixture
def reply(order: Order, message: Message) -> Message:
    update = np.ones(D, np.float32)
    statement = update_statement(
        run="r1",
        round=3,
        site="site-0",
        samples=20,
        model_sha256=order.model_sha256,
        update_sha256=vector_sha256(update),
    )
    metrics = {"train-loss": 1.5, "validation-accuracy": 0.5, "per-class-accuracy": [0.5, -1.0], "unknown": 3.0}
    return update_reply(
        message,
        order,
        site="site-0",
        samples=20,
        update=update,
        metrics=metrics,
        signature=signer_of(0).sign(statement),
    )


def judge(reply: Message, order: Order, entry: RosterEntry = ENTRY, cap: int = 1000) -> Update | Refusal:
    return read_update(reply, order, entry, rules=RULES, sample_cap=cap)


def claim(reply: Message, **changes: object) -> None:
    reply.content["claim"] = ConfigRecord({**reply.content["claim"], **changes})


def test_an_order_arrives_as_it_was_sent(order, message):
    arrived = read_order(message)
    assert (arrived.run, arrived.round, arrived.spec_digest, arrived.config) == ("r1", 3, "spec", order.config)
    np.testing.assert_array_equal(arrived.model, order.model)


def test_an_order_of_another_version_is_refused_by_the_site(message):
    message.content["config"] = ConfigRecord({**message.content["config"], "norm": "unheard-of"})
    with pytest.raises(ConfigError, match="unheard-of"):
        read_order(message)
    del message.content["model"]
    with pytest.raises(FederationError, match="cannot read"):
        read_order(message)


def test_an_honest_reply_is_accepted_with_the_numbers_that_we_know(order, reply):
    accepted = judge(reply, order)
    assert isinstance(accepted, Update) and accepted.samples == 20
    assert accepted.metrics == {"train_loss": 1.5, "validation_accuracy": 0.5, "per_class_accuracy": [0.5, None]}
    assert accepted.payload_bytes > 4 * D


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 2}, Reason.STALE_ROUND),
        ({"run": "r0"}, Reason.STALE_ROUND),
        ({"spec": "other"}, Reason.SPEC_MISMATCH),
        ({"site": "site-1"}, Reason.BAD_SIGNATURE),
        ({"samples": 0}, Reason.SAMPLE_COUNT),
        ({"samples": -5}, Reason.SAMPLE_COUNT),
        ({"samples": 1001}, Reason.SAMPLE_COUNT),
        ({"samples": True}, Reason.SAMPLE_COUNT),
        ({"samples": 20.0}, Reason.SAMPLE_COUNT),
        ({"samples": 21}, Reason.BAD_SIGNATURE),
        ({"signature": b""}, Reason.BAD_SIGNATURE),
        ({"signature": "text"}, Reason.BAD_SIGNATURE),
    ],
)
def test_a_claim_that_is_not_true_is_refused(order, reply, changes, reason):
    claim(reply, **changes)
    refusal = judge(reply, order)
    assert isinstance(refusal, Refusal) and refusal.reason is reason


def test_a_declared_count_is_the_limit_of_what_a_site_may_claim(order, reply):
    declared = RosterEntry("site-0", 0, ENTRY.identity_key, "", "", samples=19)
    refusal = judge(reply, order, declared)
    assert isinstance(refusal, Refusal) and "between 1 and 19" in refusal.detail


def test_a_signature_for_another_model_is_refused(order, reply):
    other = Order("r1", 3, "spec", order.config, order.model + 1)
    refusal = judge(reply, other)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({}, Reason.MISSING_ARRAY),
        ({"v": np.ones(D, np.float32)}, Reason.MISSING_ARRAY),
        ({"u": np.ones(D, np.float32), "extra": np.ones(1, np.float32)}, Reason.MISSING_ARRAY),
        ({"u": np.ones(D + 1, np.float32)}, Reason.WRONG_SHAPE),
        ({"u": np.ones(D, np.float64)}, Reason.WRONG_DTYPE),
        ({"u": np.full(D, np.nan, np.float32)}, Reason.NOT_FINITE),
        ({"u": np.full(D, 1e3, np.float32)}, Reason.NORM_CAP),
    ],
)
def test_arrays_that_cannot_be_an_update_are_refused(order, reply, arrays, reason):
    reply.content["update"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    refusal = judge(reply, order)
    assert isinstance(refusal, Refusal) and refusal.reason is reason


def pickled_object() -> bytes:
    import io

    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\x93NUMPY", pickled_object()])
def test_bytes_that_are_no_array_are_refused_and_never_unpickled(order, reply, data):
    reply.content["update"] = ArrayRecord({"u": Array("float32", (D,), "numpy.ndarray", data)})
    refusal = judge(reply, order)
    assert isinstance(refusal, Refusal) and refusal.reason in (Reason.MALFORMED, Reason.WRONG_DTYPE)


@pytest.mark.parametrize("name", ["update", "claim"])
def test_records_of_the_wrong_kind_are_refused_and_not_raised(order, reply, name):
    reply.content[name] = MetricRecord({"a": 1})
    assert isinstance(judge(reply, order), Refusal)
    del reply.content[name]
    assert isinstance(judge(reply, order), Refusal)


def test_metrics_that_are_not_finite_numbers_are_left_out(reply):
    reply.content["metrics"] = MetricRecord(
        {"train-loss": float("nan"), "compute-s": float("inf"), "steps": 3, "validation-loss": [1.0], "cpu-s": 0.5}
    )
    assert read_metrics(reply) == {"steps": 3, "cpu_s": 0.5}


def test_an_error_is_a_refusal_with_the_sites_own_words(order, message):
    failed = Message(Error(code=2, reason="DATA_INVALID: x.png is truncated"), reply_to=message)
    refusal = judge(failed, order)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.SITE_ERROR and "x.png" in refusal.detail
    assert read_metrics(failed) == {} and payload_bytes(failed) == 0


def test_without_an_identity_in_the_roster_there_is_no_signature_to_check(order, reply):
    claim(reply, signature=b"")
    assert isinstance(judge(reply, order, RosterEntry("site-0", 0, "", "", "")), Update)


def test_an_empty_record_dict_is_refused(order, message):
    assert isinstance(judge(Message(RecordDict(), reply_to=message), order), Refusal)
