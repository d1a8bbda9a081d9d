"""What may cross the wire of a run of ours, for the audit: the counterpart of `secure_fl.app.messages`.

Settings are known before a run starts, so each is declared with its one value; ids, digests and signatures with their
form; metrics with their range. Under DP-SGD nothing measured on images is declared, so nothing of it may be sent;
under secure aggregation no update in the clear and nothing that a single site measured.
What is declared here is what Flower 1.41 and this version of ours write; another version is refused at joining.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from audit.decode.conversation import TO_COORDINATOR, TO_SITE
from audit.detect.rules import Array, Blob, Flag, Number, Numbers, Rule, Text, Texts
from audit.detect.schema import MessageRule, Schema
from secure_fl.config import RunConfig, Scalar

__all__ = ["Extent", "wire_schema"]

_ID = Number(0, 2**64 - 1, whole=True)
_DIGEST = Text(64, "[0-9a-f]{64}")
_BASE64 = "[A-Za-z0-9+/]*={0,2}"
_WORDS = r"[ -~\n]*"
_GROUP = Text(24, r"join|[0-9]+|control-[a-z0-9-]+")
_KIND = Text(24, "query|train|evaluate|query.secagg_[a-z]+|train.secagg_masked")
_LONGEST_TREE = 10  # levels of objects: a message has six

# How far a site's measurements may reach; losses of a broken training may be anything, so they are numbers, no more.
_ANY = Number(any_float=True)
_SHARE = Number(0, 1, any_float=True)
_MEASURED: Mapping[str, Rule] = {
    "metrics/train-loss": _ANY,
    "metrics/validation-loss": _ANY,
    "metrics/validation-accuracy": _SHARE,
    "metrics/received-validation-loss": _ANY,
    "metrics/received-validation-accuracy": _SHARE,
    "metrics/compute-s": Number(0, 1e7),
    "metrics/cpu-s": Number(0, 1e7),
    "metrics/memory-bytes": Number(0, 2**50, whole=True),
    "metrics/steps": Number(0, 1e9, whole=True),
}
_UNDER_DP: Mapping[str, Rule] = {
    "metrics/steps": Number(0, 1e9, whole=True),
    "metrics/dp-epsilon": Number(0, 1e9, any_float=True),
}


@dataclass(frozen=True)
class Extent:
    """What only the started run knows: its id, numbers in its model, and classes of its data."""

    run: str
    parameters: int
    classes: int


def wire_schema(config: RunConfig, extent: Extent) -> Schema:
    """All that the sites and the coordinator of this run may say to each other."""
    settings = {f"config/{key}": _exactly(value) for key, value in config.to_mapping().items()}
    return Schema(
        messages=(*_routes(), *_orders(config, extent, settings), *_replies(config, extent)),
        request_headers=_REQUEST_HEADERS,
        response_headers=_RESPONSE_HEADERS,
        objects=("Message", "RecordDict", "ConfigRecord", "MetricRecord", "ArrayRecord", "Array", "ArrayChunk"),
        refusals=(401, 403, 404, 409, 411, 412, 413, 500),
        errors=Text(600, _WORDS),
    )


def _exactly(value: Scalar) -> Rule:
    if isinstance(value, bool):
        return Flag()
    if isinstance(value, str):
        return Text(len(value), re.escape(value))
    return Number(value, value, whole=isinstance(value, int))


def _orders(config: RunConfig, extent: Extent, settings: Mapping[str, Rule]) -> list[MessageRule]:
    """What the coordinator says to a site."""
    run, model = _exactly(extent.run), Array("f4", (extent.parameters,))
    round_ = Number(0, config.rounds, whole=True)
    query = {"order/run": run, "order/nonce": Text(64, "[0-9a-f]*"), **settings}
    order = {"order/run": run, "order/round": round_, "order/spec": _DIGEST, "model/w": model, **settings}
    if config.secagg != "none":
        from secure_fl.audited.secagg import sum_messages

        return [MessageRule("query", query, TO_SITE), *sum_messages(config, extent.parameters, order, settings)]
    return [
        MessageRule("query", query, TO_SITE),
        MessageRule("train", order, TO_SITE),
        MessageRule("evaluate", order, TO_SITE),
    ]


def _replies(config: RunConfig, extent: Extent) -> list[MessageRule]:
    """What a site says to the coordinator."""
    site = Text(64, "[A-Za-z0-9._-]+")
    # Under secure aggregation a site keeps its count to itself: 0, unless the roster declares it.
    samples = Number(0 if config.secagg != "none" else 1, config.sample_cap, whole=True)
    signature = Blob(0, 64)
    classes = Numbers(extent.classes, -1, 1)
    measured = _UNDER_DP if config.dp_withholds else {**_MEASURED, "metrics/per-class-accuracy": classes}
    joined: dict[str, Rule] = {
        "claim/site": site,
        "claim/index": Number(0, config.sites, whole=True),
        "claim/samples": samples,
        "claim/data": Text(80, "[a-z0-9-]+:[0-9a-f]{64}"),
        "claim/signature": signature,
    }
    if config.secagg != "none":
        return [MessageRule("query", joined, TO_COORDINATOR)]
    trained: dict[str, Rule] = {
        "update/u": Array("f4", (extent.parameters,)),
        "claim/site": site,
        "claim/run": _exactly(extent.run),
        "claim/round": Number(0, config.rounds, whole=True),
        "claim/spec": _DIGEST,
        "claim/samples": samples,
        "claim/signature": signature,
        **measured,
    }
    evaluated = {} if config.dp_withholds else {path: _MEASURED[path] for path in _MEASURED if "validation-" in path}
    return [
        MessageRule("query", joined, TO_COORDINATOR),
        MessageRule("train", trained, TO_COORDINATOR),
        MessageRule("evaluate", evaluated, TO_COORDINATOR),
    ]


def _routes() -> list[MessageRule]:
    """The fields of Flower's requests and responses themselves."""
    node = {"request/node/node_id": _ID}
    beat = {"request/heartbeat_interval": Number(0, 3600)}
    routes: Mapping[str, Mapping[str, Rule]] = {
        "activate-node": {"request/public_key": Blob(1, 512), **beat, "response/node_id": _ID},
        "deactivate-node": {"request/node_id": _ID},
        "send-node-heartbeat": {**node, **beat, "response/success": Flag()},
        "pull-messages": {**node, **_announced("response")},
        "push-messages": {
            **node,
            **_announced("request"),
            "request/clientapp_runtime_list": Numbers(4, 0, 1e7),
            "response/objects_to_push": Texts(4096),
            "response/reconnect/reconnect": Number(0, 1e6, whole=True),
            "response/results/*/key": _DIGEST,
            "response/results/*/value": Number(0, 100, whole=True),
            "response/session_id": Text(36, "[0-9a-f-]*"),
        },
        "pull-object": {
            **node,
            "request/object_id": _DIGEST,
            "request/run_id": _ID,
            "response/object_available": Flag(),
            "response/object_found": Flag(),
        },
        "push-object": {
            **node,
            "request/object_id": _DIGEST,
            "request/run_id": _ID,
            "request/session_id": Text(36, "[0-9a-f-]*"),
            "response/stored": Flag(),
        },
        "parcel": {},  # what it carries is checked call by call
        "confirm-message-received": {**node, "request/message_object_id": _DIGEST, "request/run_id": _ID},
    }
    return [MessageRule(f"/v1/fleet/{name}", values) for name, values in routes.items()]


def _announced(side: str) -> dict[str, Rule]:
    """A message's metadata and the tree of its objects."""
    metadata, tree = f"{side}/messages_list/*/metadata", f"{side}/message_object_trees/*"
    moment = Number(0, 1e11)
    return {
        f"{metadata}/run_id": _ID,
        f"{metadata}/message_id": _DIGEST,
        f"{metadata}/reply_to_message_id": _DIGEST,
        f"{metadata}/src_node_id": _ID,
        f"{metadata}/dst_node_id": _ID,
        f"{metadata}/src_task_id": _ID,
        f"{metadata}/dst_task_id": _ID,
        f"{metadata}/group_id": _GROUP,
        f"{metadata}/message_type": _KIND,
        f"{metadata}/created_at": moment,
        f"{metadata}/delivered_at": Text(40),
        f"{metadata}/ttl": moment,
        f"{side}/messages_list/*/error/code": Number(0, 1000, whole=True),
        f"{side}/messages_list/*/error/reason": Text(600, _WORDS),
        **{f"{tree}{'/children/*' * level}/object_id": _DIGEST for level in range(_LONGEST_TREE)},
    }


_REQUEST_HEADERS: Mapping[str, Text] = {
    "accept": Text(20, "application/protobuf"),
    "accept-encoding": Text(30, "[a-z, ]*"),
    "connection": Text(10, "keep-alive"),
    "content-length": Text(8, "[0-9]+"),
    "content-type": Text(20, "application/protobuf"),
    "flwr-component-name": Text(9, "SuperNode"),
    "flwr-package-name": Text(4, "flwr"),
    "flwr-package-version": Text(12, "[0-9.]+"),
    "flwr-public-key": Text(400, _BASE64),
    "flwr-signature": Text(160, _BASE64),
    "flwr-timestamp": Text(32, "[0-9T:.+-]+"),
    "host": Text(300, r"[A-Za-z0-9.:\[\]-]+"),
    "user-agent": Text(24, r"python-httpx/[0-9.]+"),
}
_RESPONSE_HEADERS: Mapping[str, Text] = {
    "connection": Text(10, "close|keep-alive"),
    "content-length": Text(8, "[0-9]+"),
    "content-type": Text(40, "application/(protobuf|json)|text/plain; charset=utf-8"),
    "date": Text(29, "[A-Za-z0-9,: ]+"),
}
