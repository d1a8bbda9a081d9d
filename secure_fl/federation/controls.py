"""Sends the audit's controls through the coordinator's port, as a site would send its replies.

They go out under a certificate of their own, which the gate never admits: each request is read to its end and answered
403, so nothing of it reaches Flower or the model. What counts is that it crossed the wire like everything else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient

from audit.controls.plan import Control, Saying
from secure_fl.federation.fleet import tls_context

__all__ = ["send_controls"]

_NODE = 1  # no node of any run: Flower's are random and large


def send_controls(address: str, kit: Path, controls: tuple[Control, ...]) -> None:
    """Send every message of every control, in order, over one connection.

    kit: folder with `ca.crt`, `tls.crt` and `tls.key`.

    Raises:
        httpx.TransportError: the coordinator cannot be reached.
        FederationError: the certificates in `kit` cannot be used.
    """
    with _client(address, kit) as client:
        for control in controls:
            for saying in control.sayings:
                _send(client, _message(saying, control.group))


@contextmanager
def _client(address: str, kit: Path) -> Iterator[FleetHttpClient]:
    client = FleetHttpClient(
        f"https://{address}",
        verify=tls_context(kit),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperNode")],
    )
    try:
        yield client
    finally:
        client.close()


def _message(saying: Saying, group: str) -> Message:
    """The records of a reply; see `secure_fl.app.messages` and `secure_fl.app.secagg.wire`."""
    notes: dict[str, Any] = dict(saying.notes)
    content = RecordDict(
        {
            saying.record: ArrayRecord({name: Array(array) for name, array in saying.arrays.items()}),
            "metrics": MetricRecord(dict(saying.metrics)),
            "claim": ConfigRecord(notes),
        }
    )
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=_NODE,
        dst_node_id=1,
        reply_to_message_id="0" * 64,
        group_id=group,
        created_at=time.time(),
        ttl=60.0,
        message_type=saying.kind,
    )
    made: Message = Message(content, metadata=metadata)  # type: ignore[call-overload]  # as Flower's own code makes them
    return made


def _send(client: FleetHttpClient, message: Message) -> None:
    """What a site's connection does with a reply, whatever the coordinator says to it."""
    with no_object_id_recompute():
        message.metadata.__dict__["_message_id"] = message.object_id
        objects, tree = get_all_nested_objects(message), get_object_tree(message)
        request = PushMessagesRequest(
            node=Node(node_id=_NODE),
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[tree],
            clientapp_runtime_list=[0.0],
        )
        with suppress(httpx.HTTPStatusError):
            client.PushMessages(request)
        for object_id, each in objects.items():
            with suppress(httpx.HTTPStatusError):
                client.PushObject(
                    PushObjectRequest(node=Node(node_id=_NODE), object_id=object_id, object_content=each.deflate())
                )
