"""What the coordinator and a site say to each other, and how each side reads it.

    query   →  nonce, run                       ←  site, index, samples, data fingerprint, signature
    train   →  model (d,), round, run, config   ←  update (d,), metrics, signature
    evaluate → model (d,), round, run, config   ←  metrics

One flat float32 array a message instead of one a layer: ten to twenty times fewer requests on Flower's
content-addressed wire. The config travels with the message, so that every grid (and a stock SuperNode)
trains by exactly the settings in the coordinator's run record.

Everything that a site sends is untrusted: `read_*` return a `Refusal` and never raise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)

from defenses.guard import Reason, Refusal, UpdateRules, inspect_update
from secure_fl.app.identity import RosterEntry, update_statement, vector_sha256, verify
from secure_fl.app.untrusted import decoded
from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError, FederationError

__all__ = [
    "Introduction",
    "Order",
    "Update",
    "evaluation_reply",
    "introduction_reply",
    "order_content",
    "order_message",
    "over_budget",
    "payload_bytes",
    "query_message",
    "read_introduction",
    "read_metrics",
    "read_order",
    "read_update",
    "record_of",
    "update_reply",
    "written_reply",
]

_MODEL, _UPDATE, _ORDER, _CONFIG, _METRICS, _CLAIM = "model", "update", "order", "config", "metrics", "claim"
# Numbers that a site reports; anything else in its metrics is ignored.
_METRIC_NAMES = (
    "train-loss",
    "validation-loss",
    "validation-accuracy",
    "received-validation-loss",
    "received-validation-accuracy",
    "compute-s",
    "cpu-s",
    "memory-bytes",
    "steps",
    "dp-epsilon",
)
_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class Order:
    """What a site is told to do: the model it starts from and the settings of the run."""

    run: str
    round: int
    spec_digest: str
    config: RunConfig
    model: np.ndarray[Any, Any]

    @cached_property
    def model_record(self) -> ArrayRecord:
        """The model as Flower sends it; encoded and hashed once, and shared by the messages of a round."""
        return ArrayRecord({"w": Array(self.model)})

    @cached_property
    def model_sha256(self) -> str:
        """Digest of the model that goes out; hashed once however many sites answer."""
        return vector_sha256(self.model)


@dataclass(frozen=True)
class Introduction:
    """How a site presents itself. `samples`: its training images; `data`: their fingerprint."""

    site: str
    index: int
    samples: int
    data: str
    signature: bytes


@dataclass(frozen=True)
class Update:
    """A reply that passed the guard. `vector`: (d,) float32; `payload_bytes`: size of its records."""

    site: str
    samples: int
    vector: np.ndarray[Any, Any]
    metrics: Mapping[str, Any]
    payload_bytes: int


def query_message(node_id: int, *, run: str, nonce: str, config: RunConfig) -> Message:
    """Ask a node who it is; it answers with a signature over the nonce."""
    content = RecordDict({_ORDER: ConfigRecord({"run": run, "nonce": nonce}), _CONFIG: _config_record(config)})
    return Message(content, dst_node_id=node_id, message_type=MessageType.QUERY, group_id="join")


def order_message(node_id: int, order: Order, *, kind: str, ttl_s: float) -> Message:
    """A train or evaluate message for one node."""
    return Message(order_content(order), dst_node_id=node_id, message_type=kind, group_id=str(order.round), ttl=ttl_s)


def order_content(order: Order) -> RecordDict:
    """An order as records; the model's is shared by all messages of a round."""
    return RecordDict(
        {
            _MODEL: order.model_record,
            _ORDER: ConfigRecord({"run": order.run, "round": order.round, "spec": order.spec_digest}),
            _CONFIG: _config_record(order.config),
        }
    )


def read_order(message: Message) -> Order:
    """The site's reading of a train or evaluate message.

    Raises:
        FederationError: the message is not one of ours.
        ConfigError: it asks for settings that this version refuses.
    """
    order, config = record_of(message, _ORDER, ConfigRecord), record_of(message, _CONFIG, ConfigRecord)
    try:
        vector = record_of(message, _MODEL, ArrayRecord)["w"].numpy()
        run, round_, spec = str(order["run"]), int(order["round"]), str(order["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise FederationError("the coordinator sent a message that we cannot read", why=repr(error)) from None
    return Order(run=run, round=round_, spec_digest=spec, config=RunConfig.from_mapping(dict(config)), model=vector)


def introduction_reply(message: Message, introduction: Introduction) -> Message:
    """The answer to a query."""
    claim = ConfigRecord(
        {
            "site": introduction.site,
            "index": introduction.index,
            "samples": introduction.samples,
            "data": introduction.data,
            "signature": introduction.signature,
        }
    )
    return Message(RecordDict({_CLAIM: claim}), reply_to=message)


def read_introduction(message: Message) -> Introduction | Refusal:
    """The coordinator's reading of a site's answer to a query; types are checked, claims are not."""
    if message.has_error():
        return Refusal(Reason.SITE_ERROR, message.error.reason or "no reason given")
    claim = record_of(message, _CLAIM, ConfigRecord)
    try:
        site, data, signature = claim["site"], claim["data"], claim["signature"]
        index, samples = claim["index"], claim["samples"]
    except KeyError as missing:
        return Refusal(Reason.MALFORMED, f"introduction without {missing}")
    texts = isinstance(site, str) and isinstance(data, str) and isinstance(signature, bytes)
    if not texts or type(index) is not int or type(samples) is not int or not 0 < len(site) <= 64:
        return Refusal(Reason.MALFORMED, "introduction with values of the wrong type")
    return Introduction(site=site, index=index, samples=samples, data=data[:128], signature=signature)


def update_reply(
    message: Message,
    order: Order,
    *,
    site: str,
    samples: int,
    update: np.ndarray[Any, Any],
    metrics: Mapping[str, float | list[float]],
    signature: bytes,
) -> Message:
    """The answer to a train message."""
    claim: dict[str, ConfigRecordValues] = {
        "site": site,
        "run": order.run,
        "round": order.round,
        "spec": order.spec_digest,
        "samples": samples,
        "signature": signature,
    }
    return written_reply(message, arrays={"u": update}, claim=claim, metrics=metrics)


def written_reply(
    message: Message,
    *,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    claim: Mapping[str, ConfigRecordValues],
    metrics: Mapping[str, float | list[float]],
) -> Message:
    """An answer to a train message that says whatever it is told to; what is wrong with it is for `read_update`."""
    content = RecordDict(
        {
            _UPDATE: ArrayRecord({name: Array(array) for name, array in arrays.items()}),
            _METRICS: MetricRecord(dict(metrics)),
            _CLAIM: ConfigRecord(dict(claim)),
        }
    )
    return Message(content, reply_to=message)


def evaluation_reply(message: Message, *, metrics: Mapping[str, float | list[float]]) -> Message:
    """The answer to an evaluate message."""
    return Message(RecordDict({_METRICS: MetricRecord(dict(metrics))}), reply_to=message)


def read_update(
    message: Message, order: Order, entry: RosterEntry, *, rules: UpdateRules, sample_cap: int
) -> Update | Refusal:
    """Judge one reply to `order` from the site `entry`: the checks of DESIGN's guard, cheapest first.

    A roster entry without an identity key (local grid) has no signature to check.
    """
    if message.has_error():
        return Refusal(Reason.SITE_ERROR, message.error.reason or "no reason given")
    claim = record_of(message, _CLAIM, ConfigRecord)
    if claim.get("run") != order.run or claim.get("round") != order.round:
        return Refusal(Reason.STALE_ROUND, f"answers round {claim.get('round')!r} of run {claim.get('run')!r}")
    if claim.get("spec") != order.spec_digest:
        return Refusal(Reason.SPEC_MISMATCH, "trained another architecture")
    if claim.get("site") != entry.name:
        return Refusal(Reason.BAD_SIGNATURE, f"speaks as {claim.get('site')!r}")
    samples = claim.get("samples")
    limit = entry.samples if entry.samples is not None else sample_cap
    if type(samples) is not int or not 1 <= samples <= limit:
        return Refusal(Reason.SAMPLE_COUNT, f"claims {samples!r} images; between 1 and {limit} are acceptable")
    vector = _update_vector(message, rules.size)
    if isinstance(vector, Refusal):
        return vector
    refusal = inspect_update(vector, rules)
    if refusal is not None:
        return refusal
    if entry.identity_key:
        statement = update_statement(
            run=order.run,
            round=order.round,
            site=entry.name,
            samples=samples,
            model_sha256=order.model_sha256,
            update_sha256=vector_sha256(vector),
        )
        signature = claim.get("signature")
        if not isinstance(signature, bytes) or not verify(entry.identity_key, statement, signature):
            return Refusal(Reason.BAD_SIGNATURE, "the signature does not fit the update")
    return Update(
        site=entry.name,
        samples=samples,
        vector=vector,
        metrics=read_metrics(message),
        payload_bytes=payload_bytes(message),
    )


def read_metrics(message: Message) -> dict[str, Any]:
    """A site's finite numbers by snake_case name, and its per-class accuracy (None where it has no images)."""
    if message.has_error():
        return {}
    record = record_of(message, _METRICS, MetricRecord)
    numbers: dict[str, Any] = {}
    for name in _METRIC_NAMES:
        value = record.get(name)
        if type(value) in (int, float) and math.isfinite(value):
            numbers[name.replace("-", "_")] = value
    classes = record.get("per-class-accuracy")
    if isinstance(classes, list) and len(classes) <= _MAX_CLASSES:
        numbers["per_class_accuracy"] = [c if isinstance(c, float) and 0.0 <= c <= 1.0 else None for c in classes]
    return numbers


def over_budget(refusal: Refusal) -> bool:
    """Whether a site says that its privacy budget does not allow what it was asked."""
    return refusal.reason is Reason.SITE_ERROR and refusal.detail.startswith(f"{BudgetError.code}: ")


def payload_bytes(message: Message) -> int:
    """Bytes of the message's records (arrays, metrics, config), without HTTP and TLS framing."""
    if message.has_error():
        return 0
    # Flower's ConfigRecord.count_bytes raises on empty text, so sizes are of the wire form.
    return sum(
        record.count_bytes() if isinstance(record, ArrayRecord) else len(record.deflate())
        for record in message.content.values()
    )


def _config_record(config: RunConfig) -> ConfigRecord:
    return ConfigRecord(dict(config.to_mapping()))


def record_of(message: Message, name: str, kind: type) -> Any:
    """The named record if it is there and of the right kind, else an empty one."""
    found = message.content.get(name)
    return found if isinstance(found, kind) else kind()


def _update_vector(message: Message, size: int) -> np.ndarray[Any, Any] | Refusal:
    arrays = record_of(message, _UPDATE, ArrayRecord)
    if set(arrays) != {"u"}:
        names = ", ".join(sorted(arrays)[:3]) or "nothing"
        return Refusal(Reason.MISSING_ARRAY, f"expected the array `u`, found {names}")
    return decoded(arrays["u"].data, size)
