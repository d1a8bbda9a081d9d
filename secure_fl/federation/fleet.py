"""A site's connection to the coordinator: Flower's fleet protocol, with our client certificate.

The stock SuperNode cannot present a certificate, polls every three seconds and starts a Python for
each message. This connection speaks the same protocol through Flower's own `FleetHttpClient` from one
persistent process. Everything that a site needs of Flower's internal modules is imported in this file
and nowhere else; `tests/federation/test_flower_contract.py` holds the names and signatures.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import cast

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, inflate_object_from_contents, pull_objects
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from secure_fl.errors import FederationError
from secure_fl.federation.parcels import AWAIT, Sender
from secure_fl.federation.traffic import TrafficMeter, exchanged

__all__ = ["FleetConnection", "tls_context"]

logger = logging.getLogger("secure_fl.site")

# The shortest interval that Flower accepts; a dead site is noticed after twice this time.
_HEARTBEAT_INTERVAL_S = 10.0
_HEARTBEAT_PERIOD_S = 4.0
_HEARTBEAT_METHOD = "/flwr.proto.Fleet/SendNodeHeartbeat"
_RETRY_S = 1.0


class _Counting:
    """Flower's interceptor interface: hands what each exchange weighs to the meter."""

    def __init__(self, meter: TrafficMeter) -> None:
        self._meter = meter

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Let one request pass."""
        response = call_next(context)
        count = self._meter.wait if context.rpc_method == _HEARTBEAT_METHOD else self._meter.spend
        count(exchanged(context.request, response))
        return response


class _SigningAgain:
    """Flower's interceptor interface: a request that a clock's being set has made look old is signed anew, once."""

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Let one request pass."""
        headers = context.request.headers.copy()
        response = call_next(context)
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return response
        context.request.headers = headers
        return call_next(context)


class FleetConnection:
    """Context manager: joins on entry, sends heartbeats from a thread, leaves on exit.

    `patience_s`: how long to try again when the coordinator still takes us for online.
    """

    def __init__(self, address: str, kit: Path, *, patience_s: float = 0.0) -> None:
        self.traffic = TrafficMeter()
        self._patience_s = patience_s
        node_key = _node_key(kit / "node.key")
        self._node_key = public_key_to_bytes(node_key.public_key())
        self._client = FleetHttpClient(
            f"https://{address}",
            verify=tls_context(kit),
            interceptors=[
                _SigningAgain(),
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(node_key, node_key.public_key()),
                _Counting(self.traffic),
            ],
        )
        self._parcels = Sender(self._client, "fleet")
        self._taken: list[ConfirmMessageReceivedRequest] = []
        self._address = address
        self._node = Node()
        self._stop = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)

    @property
    def node_id(self) -> int:
        """The number by which Flower knows this site."""
        return self._node.node_id

    def __enter__(self) -> FleetConnection:
        """Activate the node.

        Raises:
            FederationError: the coordinator turned us away, or cannot be trusted or reached; says why.
        """
        deadline = time.monotonic() + self._patience_s
        try:
            while not self._activate(last_try=time.monotonic() >= deadline):
                time.sleep(_RETRY_S)
        except FederationError:
            self._client.close()
            raise
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beats.join()
        # The coordinator may be gone already; it forgets us by itself.
        with contextlib.suppress(httpx.HTTPError):
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self.node_id))
        self._client.close()

    def _activate(self, *, last_try: bool) -> bool:
        """Announce this node. A node that was killed counts as online until its heartbeats are overdue;
        until then Flower answers its successor as it answers a key that it does not know."""
        request = ActivateNodeRequest(public_key=self._node_key, heartbeat_interval=_HEARTBEAT_INTERVAL_S)
        try:
            self._node = Node(node_id=self._client.ActivateNode(request).node_id)
        except httpx.HTTPError as error:
            refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 412
            if last_try or not refused:
                raise FederationError(
                    f"the coordinator at {self._address} did not let us in", why=_reason(error)
                ) from None
            logger.info("not let in yet: our key is not registered, or our former connection still counts")
            return False
        return True

    def pull(self) -> Message | None:
        """The next message for this site, with its objects, or None if none has come for a while (`parcels.WAIT_S`).

        Raises:
            httpx.HTTPError: the coordinator cannot be reached; the caller decides how long to go on.
        """
        (answer,) = self._parcels.send([(AWAIT, PullMessagesRequest(node=self._node))])
        announced = PullMessagesResponse.FromString(answer)
        if not announced.messages_list:
            self.traffic.nothing_came()
            return None
        metadata = message_from_proto(announced.messages_list[0]).metadata
        run_id, message_id = metadata.run_id, metadata.message_id
        ids = [tree.object_id for tree in iterate_object_tree(announced.message_object_trees[0])]
        contents = self._parcels.objects(ids, node=self._node, run_id=run_id)
        contents |= pull_objects(
            [each for each in ids if each not in contents],
            pull_object_fn=make_pull_object_fn_protobuf(self._client.PullObject, self._node, run_id),
            initial_backoff=0.05,
        )
        self._taken.append(
            ConfirmMessageReceivedRequest(node=self._node, run_id=run_id, message_object_id=message_id),
        )
        message = cast(Message, inflate_object_from_contents(message_id, contents))
        message.metadata.__dict__["_message_id"] = message_id
        return message

    def push(self, reply: Message, *, compute_s: float) -> None:
        """Send a reply with all its objects, and confirm the messages that were taken before it.

        Raises:
            httpx.HTTPError: as for `pull`.
        """
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            contents = {each: found.deflate() for each, found in get_all_nested_objects(reply).items()}
            announcement = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[compute_s],
            )
        confirmations, self._taken = [("confirm-message-received", each) for each in self._taken], []
        try:
            self._parcels.push(
                announcement,
                PushMessagesResponse,
                contents,
                node=self._node,
                run_id=reply.metadata.run_id,
                before=confirmations,
            )
        except ObjectPushError as error:  # the round goes on without our reply, and so do we
            logger.warning("our reply is lost: %s", error)

    def _beat(self) -> None:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=_HEARTBEAT_INTERVAL_S)
        while not self._stop.wait(_HEARTBEAT_PERIOD_S):
            try:
                self._client.SendNodeHeartbeat(request)
            except httpx.HTTPError as error:
                logger.warning("heartbeat not delivered: %s", _reason(error))


def tls_context(kit: Path) -> ssl.SSLContext:
    """TLS 1.3 only; trusts the federation's authority and nothing else; shows our certificate."""
    _check_certificate(kit)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(kit / "ca.crt")
        context.load_cert_chain(kit / "tls.crt", kit / "tls.key")
    except (OSError, ssl.SSLError) as error:
        raise FederationError(f"cannot use the certificates in {kit}", why=_tls_words(str(error))) from None
    return context


def _check_certificate(kit: Path) -> None:
    """Find out here what the coordinator would refuse: asyncio's TLS drops the alert that says why."""
    try:
        certificate = x509.load_pem_x509_certificate((kit / "tls.crt").read_bytes())
        ca = x509.load_pem_x509_certificate((kit / "ca.crt").read_bytes())
    except (OSError, ValueError) as error:
        raise FederationError(f"cannot use the certificates in {kit}", why=str(error)) from None
    ends = certificate.not_valid_after_utc
    if ends <= datetime.datetime.now(datetime.UTC):
        raise FederationError(
            f"the certificate {kit / 'tls.crt'} has expired",
            why=f"on {ends:%Y-%m-%d}",
            fix="ask for a new start-up kit",
        )
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        raise FederationError(
            f"the certificate {kit / 'tls.crt'} is not of the federation's authority",
            fix="ask for a start-up kit from this federation's coordinator",
        ) from None


def _node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        raise FederationError(f"cannot read the node key {path}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FederationError(f"{path} is not a P-384 node key")
    return key


def _reason(error: httpx.HTTPError) -> str:
    """What went wrong, as one line for a person."""
    if isinstance(error, httpx.HTTPStatusError):
        flower = FlowerError.from_json(error.response.text)
        said = flower.public_details or flower.message if flower else _gate_words(error.response)
        if error.response.status_code == httpx.codes.PRECONDITION_FAILED:
            return "this site's node key is not registered there"
        return f"{said} (HTTP {error.response.status_code})"
    return _tls_words(str(error))


def _gate_words(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


def _tls_words(text: str) -> str:
    known = {
        "CERTIFICATE_VERIFY_FAILED": "its certificate is not of our federation's authority, or not for this name",
        "ALERT_CERTIFICATE_REQUIRED": "it demands a client certificate",
        "ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
        "ALERT_UNKNOWN_CA": "our client certificate is of another authority",
        "ALERT_BAD_CERTIFICATE": "it does not accept our client certificate",
        "KEY_VALUES_MISMATCH": "certificate and private key do not belong together",
        "Connection refused": "nothing listens there",
        "Server disconnected": "it closed the connection; its run record says why, under site-refused",
    }
    flat = text.replace(" ", "_").lower()
    found = next((words for sign, words in known.items() if sign.replace(" ", "_").lower() in flat), None)
    return found or text
