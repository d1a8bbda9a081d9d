"""Flower's SuperLink application behind our gates, in this process: no sockets and no TLS, all else as it is."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID, SubStatus
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, TASK_TOKEN_HEADER, TaskType
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.config_loader import get_federation_manager, get_objectstore_linkstate_factories
from flwr.superlink.main import create_app
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from secure_fl.federation.desk import Bell, open_desk
from secure_fl.federation.fleet import FleetConnection, _node_key
from secure_fl.federation.gate import InnerGate, Refusal, SiteGate, node_key_pem
from secure_fl.federation.grid import ParcelGrid
from secure_fl.federation.layers import directly
from secure_fl.federation.parcels import Call, pack
from secure_fl.federation.pki import FederationKeys


class Visit:
    """One request that is being answered. `leave`: the peer's connection ends."""

    def __init__(self, reception: Reception, app: Any, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self._loop, self._left = reception.loop, asyncio.Event()
        pairs = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        self._scope = {
            **{"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""},
            **{"headers": [*pairs, (b"content-length", str(len(body)).encode())], "http_version": "1.1"},
            **{"scheme": "https", "server": ("here", 1), "client": ("192.0.2.7", 2), "root_path": ""},
            "state": {"peer_certificate": reception.certificate_of(headers)},
        }
        self._app, self._ready = app, [{"type": "http.request", "body": body, "more_body": False}]
        self._said: list[Any] = []
        self._answer: Future[httpx.Response] = asyncio.run_coroutine_threadsafe(self._asked(), self._loop)

    def answer(self) -> httpx.Response:
        """What comes back."""
        return self._answer.result(10)

    def leave(self) -> None:
        """Hang up."""
        self._loop.call_soon_threadsafe(self._left.set)

    async def _asked(self) -> httpx.Response:
        async def receive() -> Any:
            if not self._ready:
                await self._left.wait()
            return self._ready.pop() if self._ready else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self._said.append(message)

        await self._app(self._scope, receive, send)
        body = b"".join(each.get("body", b"") for each in self._said[1:])
        return httpx.Response(self._said[0]["status"], headers=self._said[0]["headers"], content=body)


class Reception(httpx.BaseTransport):
    """The SuperLink. Sites 0 and 1 of the roster are registered and online, others are not; one run is running."""

    def __init__(self, keys: FederationKeys) -> None:
        self.keys, self.loop = keys, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.app = create_app()
        self.app.user_middleware = directly(self.app.user_middleware)
        self.to_sites, self.to_coordinator = Bell(), Bell()
        open_desk(self.app, to_sites=self.to_sites, to_coordinator=self.to_coordinator)
        self.refusals: list[Refusal] = []
        self.requests: list[tuple[str, bytes]] = []
        self.begin()

    def begin(self) -> None:
        """As if nothing had happened yet: Flower's state is new, and so is what the gates remember."""
        _, factory = get_objectstore_linkstate_factories(FLWR_IN_MEMORY_DB_NAME, get_federation_manager())
        self.app.state.linkstate_factory = self.app.state.runtime_state_factory = factory
        self.state = factory.state()
        self.refusals.clear()
        self.requests.clear()
        self.to_sites.closed = self.to_coordinator.closed = False
        self.outside = SiteGate(
            self.app,
            self.keys.roster,
            allow_stock=False,
            on_refusal=self.refusals.append,
            on_news=self.to_coordinator.ring,
        )
        self.inside = InnerGate(self.app, control_secret="secret", on_news=self.to_sites.ring)
        self.nodes = [self._registered(index) for index in (0, 1)]
        self.run, self.token = self._running()

    def close(self) -> None:
        """End the loop and whatever still waits in it."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """A request of one of Flower's clients."""
        self.requests.append((request.url.path, request.content))
        gate = self.outside if request.url.path.startswith("/v1/fleet/") else self.inside
        return self.visit(request.url.path, request.content, dict(request.headers), gate).answer()

    def visit(self, path: str, body: bytes, headers: Mapping[str, str], app: Any = None) -> Visit:
        """A request, begun. `app`: by whom it is answered, if not by the gate for sites."""
        clean = {key: value for key, value in headers.items() if key.lower() != "content-length"}
        protobuf = {"content-type": "application/protobuf", "accept": "application/protobuf"}
        return Visit(self, app or self.outside, path, {**protobuf, **clean}, body)

    def parcel(self, index: int, *calls: Call) -> Visit:
        """A parcel of a site, signed by it."""
        return self.visit("/v1/fleet/parcel", pack(calls).SerializeToString(), self.signed(index))

    def signed(self, index: int, *, key_of: int | None = None) -> dict[str, str]:
        """Headers by which a site shows who it is. `key_of`: whose key signs, if not its own."""
        key = self.key(index)
        signer = self.key(index if key_of is None else key_of)
        request = httpx.Request("POST", "https://here/")
        context = ProtobufRequestContext("", Node(), request)
        NodeAuthHttpInterceptor(signer, key.public_key()).intercept(context, lambda _: httpx.Response(200))
        return {name: value for name, value in request.headers.items() if name.startswith("flwr-")}

    def key(self, index: int) -> Any:
        """A site's node key."""
        return _node_key(self.keys.kit(self.keys.roster.entries[index].name) / "node.key")

    def certificate_of(self, headers: Mapping[str, str]) -> str | None:
        """The certificate of the site whose node key a request names."""
        named = headers.get("flwr-public-key", "")
        fitting = (each for each in self.keys.roster.entries if b64encode(node_key_pem(each)).decode() == named)
        return next((each.certificate_sha256 for each in fitting), None)

    def connection(self, index: int) -> FleetConnection:
        """A site's own client, which knows its node."""
        made = FleetConnection("here:1", Path(self.keys.kit(self.keys.roster.entries[index].name)))
        self._through_here(made._client)
        made._node = Node(node_id=self.nodes[index])
        return made

    def grid(self) -> ParcelGrid:
        """The ServerApp's grid."""
        made = ParcelGrid("here:1", insecure=True, token=self.token, upload_timeout_s=5.0)
        made.set_run(self.state.get_run_info(run_ids=[self.run])[0])
        self._through_here(made._runtime_client)
        return made

    def end_run(self) -> None:
        """The run is over."""
        (run,) = self.state.get_run_info(run_ids=[self.run])
        assert self.state.finish_task(run.primary_task_id, SubStatus.COMPLETED, "")

    def task_headers(self) -> dict[str, str]:
        """By which the ServerApp shows which task it is."""
        return {TASK_TOKEN_HEADER: self.token}

    def order(self, index: int, *, values: int = 8, note: int = 0) -> Message:
        """A message for a site."""
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = self.run, SUPERLINK_NODE_ID, 0
        array = np.full(values, note, np.float32)
        content = RecordDict({"model": ArrayRecord({"w": Array(array)})})
        return Message(content, dst_node_id=self.nodes[index], message_type="train", ttl=600)

    def reply(self, order: Message, *, values: int = 8) -> Message:
        """A site's answer."""
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = self.run, order.metadata.dst_node_id, 0
        update = np.random.default_rng(values).normal(size=values).astype(np.float32)
        return Message(RecordDict({"update": ArrayRecord({"u": Array(update)})}), reply_to=order)

    def _through_here(self, client: Any) -> None:
        client._client.close()
        client._client = httpx.Client(transport=self)

    def _registered(self, index: int) -> int:
        key = node_key_pem(self.keys.roster.entries[index])
        node: int = self.state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0)
        assert self.state.activate_node(node, 1000)
        return node

    def _running(self) -> tuple[int, str]:
        run = self.state.create_run(
            "a/b", "1", "hash", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        task = self.state.get_run_info(run_ids=[run])[0].primary_task_id
        token = self.state.claim_task(task)
        assert self.state.activate_task(task)
        return run, token
