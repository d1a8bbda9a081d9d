"""What our wire may hold: our own messages pass, and nothing measured on images is declared under DP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from audit.decode.conversation import Leaf, WireMessage
from audit.findings import Place
from secure_fl.app.messages import Order, order_message, query_message
from secure_fl.audited.schema import Extent, wire_schema
from secure_fl.config import RunConfig

EXTENT = Extent("20261124-120000-abcd", parameters=5, classes=3)
CONFIG = RunConfig()
TRAINED: dict[str, Any] = {
    "update/u": np.zeros(5, np.float32),
    "claim/site": "site-0",
    "claim/run": EXTENT.run,
    "claim/round": 1,
    "claim/spec": "a" * 64,
    "claim/samples": 100,
    "claim/signature": b"s" * 64,
    "metrics/steps": 12,
}


def leaves_of(content: RecordDict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, record in content.items():
        if isinstance(record, ConfigRecord | MetricRecord):
            found |= {f"{name}/{key}": value for key, value in record.items()}
        else:
            found |= {f"{name}/{key}": array.numpy() for key, array in record.items()}
    return found


def said(kind: str, direction: str, values: dict[str, Any]) -> WireMessage:
    place = Place(direction=direction)
    return WireMessage("m", kind, {}, tuple(Leaf(path, "", value, place) for path, value in values.items()), "", place)


def complaints(config: RunConfig, kind: str, direction: str, values: dict[str, Any]) -> list[str]:
    return [each.message for each in wire_schema(config, EXTENT).check_message(said(kind, direction, values))]


@pytest.fixture(autouse=True)
def identity() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0


def test_the_orders_that_we_write_are_declared() -> None:
    order = Order(EXTENT.run, 1, "a" * 64, CONFIG, np.zeros(5, np.float32))
    for kind in ("train", "evaluate"):
        values = leaves_of(order_message(1, order, kind=kind, ttl_s=10).content)
        assert complaints(CONFIG, kind, "to-site", values) == []
    query = leaves_of(query_message(1, run=EXTENT.run, nonce="0f" * 16, config=CONFIG).content)
    assert complaints(CONFIG, "query", "to-site", query) == []


def test_a_setting_with_another_value_than_the_runs_is_found() -> None:
    query = leaves_of(query_message(1, run=EXTENT.run, nonce="0f" * 16, config=CONFIG.changed({"lr": 0.5})).content)
    (complaint,) = complaints(CONFIG, "query", "to-site", query)
    assert "config/lr" in complaint


def test_a_reply_with_all_its_metrics_is_declared() -> None:
    measured = {"metrics/train-loss": 1.0, "metrics/per-class-accuracy": [0.5, -1.0, 1.0]}
    assert complaints(CONFIG, "train", "to-coordinator", {**TRAINED, **measured}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("update/thumbnail", np.zeros(4, np.uint8)),
        ("update/u", np.zeros(6, np.float32)),
        ("claim/debug", "text"),
        ("metrics/activations", [1.0]),
        ("metrics/per-class-accuracy", [0.1] * 4),
        ("claim/samples", 10**9),
    ],
)
def test_a_reply_with_something_more_is_found(path: str, value: Any) -> None:
    assert len(complaints(CONFIG, "train", "to-coordinator", {**TRAINED, path: value})) == 1


def test_under_dp_nothing_measured_on_images_is_declared() -> None:
    private = RunConfig(dp_epsilon=8.0)
    assert complaints(private, "train", "to-coordinator", {**TRAINED, "metrics/dp-epsilon": 1.0}) == []
    for path in ("metrics/train-loss", "metrics/validation-accuracy", "metrics/compute-s"):
        assert len(complaints(private, "train", "to-coordinator", {**TRAINED, path: 0.5})) == 1
    assert len(complaints(private, "evaluate", "to-coordinator", {"metrics/validation-loss": 0.5})) == 1
