"""Where parcels are opened: two routes of ours on Flower's SuperLink application.

Each call of a parcel goes to the handler to which Flower's own route would give it, with the same message, state and
task. What the route does besides is done once for a parcel: the signature of the node (Flower's `authenticate_node`)
or the token of the task (its `TaskDependency`), and every call of a parcel has to name the node that signed it.

A call that waits is asked again whenever the other side has sent something. A message counts as delivered once a
handler has handed it out, so nothing is asked for a peer that has gone: the gate puts the end of the connection into
the scope (`gate.GONE`).

Threat model: that of the routes themselves (`gate`). The gate has judged each call of a parcel before it comes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from flwr.proto import fleet_pb2, message_pb2, runtime_pb2
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.dependencies.runtime import TaskDependency
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers
from google.protobuf.message import DecodeError, Message
from starlette.concurrency import run_in_threadpool

from secure_fl.federation.gate import GONE
from secure_fl.federation.parcels import (
    AWAIT,
    FLEET_ROUTE,
    LARGE,
    MOST_BYTES,
    RUNTIME_ROUTE,
    WAIT_S,
    Call,
    pack,
    unpack,
)

__all__ = ["Bell", "open_desk"]

# Replies come in swarms; whoever waits for one gets what comes right behind it, too.
_SWARM_S = 0.01
_NEWS = frozenset({"push-messages", "push-object"})

State = Annotated[LinkState, Depends(get_linkstate)]
Handler = Callable[[Any, LinkState], Message]


class Bell:
    """Tells those who wait in the event loop that something has come; `close` ends all waiting for good."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.closed = False

    def ring(self) -> None:
        """Wake all who wait now."""
        self._next.set()
        self._next = asyncio.Event()

    def close(self) -> None:
        """Nobody is to wait any more."""
        self.closed = True
        self.ring()

    @property
    def next(self) -> asyncio.Event:
        """The ring to come."""
        return self._next


@dataclass(frozen=True)
class _Opened:
    """A parcel's calls, parsed. `waits`: whether the last of them may take its time."""

    names: tuple[str, ...]
    messages: tuple[Any, ...]
    waits: bool

    @classmethod
    def of(cls, body: bytes, kinds: Mapping[str, type[Message]]) -> _Opened:
        try:
            calls = unpack(body)
            names = tuple("pull-messages" if call.name == AWAIT else call.name for call in calls)
            messages = tuple(kinds[name].FromString(call.message) for name, call in zip(names, calls, strict=True))
        except (ValueError, KeyError, DecodeError):
            raise HTTPException(400, "a parcel that cannot be read") from None
        return cls(names, messages, calls[-1].name == AWAIT)


def open_desk(app: FastAPI, *, to_sites: Bell, to_coordinator: Bell) -> None:
    """Add the two routes. Each bell tells its side that the other has sent something."""

    @app.post(FLEET_ROUTE)
    async def fleet_parcel(request: Request, state: State) -> Response:
        opened = _Opened.of(await request.body(), _FLEET_KINDS)
        await run_in_threadpool(_authenticate, request, opened.messages)
        turn = _Turn(opened, _FLEET, state, request.scope[GONE], hears=to_sites, rings=to_coordinator)
        return await turn.answer()

    @app.post(RUNTIME_ROUTE)
    async def runtime_parcel(request: Request, state: State, task: TaskDependency) -> Response:
        opened = _Opened.of(await request.body(), _RUNTIME_KINDS)
        handlers = {name: _with_task(handler, task) for name, handler in _RUNTIME.items()}
        turn = _Turn(opened, handlers, state, request.scope[GONE], hears=to_coordinator, rings=to_sites)
        return await turn.answer()


def _authenticate(request: Request, messages: Sequence[Any]) -> None:
    """All calls are those of the node that signed the request; raises Flower's HTTPException 401."""
    if len({message.node.node_id for message in messages}) > 1:
        raise HTTPException(401, "a parcel of more than one node")
    request.state.protobuf_request = messages[0]
    authenticate_node(request)


@dataclass
class _Turn:
    """One parcel being answered."""

    opened: _Opened
    handlers: Mapping[str, Handler]
    state: LinkState
    gone: asyncio.Future[Any]
    hears: Bell
    rings: Bell
    _room: int = field(default=MOST_BYTES, init=False)

    async def answer(self) -> Response:
        """Carry the calls out; while there is nothing to say to one that waits, ask again at each ring."""
        ring, ends = self.hears.next, asyncio.get_running_loop().time() + WAIT_S
        answers = await run_in_threadpool(self._carry_out, 0)
        if _NEWS.intersection(self.opened.names):
            self.rings.ring()
        while self.opened.waits and not answers[-1].message:
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or self.hears.closed:
                break
            await self._rung(ring, left)
            if self.gone.done():
                raise HTTPException(400, "the peer has gone")
            ring = self.hears.next
            answers[-1:] = await run_in_threadpool(self._carry_out, len(answers) - 1)
        return Response(pack(answers).SerializeToString(), media_type=PROTOBUF_MEDIA_TYPE)

    async def _rung(self, ring: asyncio.Event, left: float) -> None:
        waiting = asyncio.ensure_future(ring.wait())
        await asyncio.wait({waiting, self.gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.sleep(_SWARM_S)

    def _carry_out(self, first: int) -> list[Call]:
        """The answers to the calls from that one on."""
        answers = []
        for name, message in zip(self.opened.names[first:], self.opened.messages[first:], strict=True):
            response = self.handlers[name](message, self.state)
            if isinstance(response, message_pb2.PullObjectResponse):
                response = self._fitting(response)
            answers.append(Call(name, response.SerializeToString()))
        return answers

    def _fitting(self, found: message_pb2.PullObjectResponse) -> message_pb2.PullObjectResponse:
        """What is too large for this parcel is not available in it: Flower's word for "ask again"."""
        size = len(found.object_content)
        if size > min(LARGE, self._room):
            return message_pb2.PullObjectResponse(object_found=True, object_available=False)
        self._room -= size
        return found


def _with_task(handler: Callable[..., Message], task: Any) -> Handler:
    return lambda request, state: handler(request, state, task)


def _with_store(handler: Callable[..., Message]) -> Handler:
    return lambda request, state: handler(request, state, state.object_store)


_FLEET_KINDS: Mapping[str, type[Message]] = {
    "pull-messages": fleet_pb2.PullMessagesRequest,
    "push-messages": fleet_pb2.PushMessagesRequest,
    "pull-object": message_pb2.PullObjectRequest,
    "push-object": message_pb2.PushObjectRequest,
    "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
}
_FLEET: Mapping[str, Handler] = {
    "pull-messages": _with_store(fleet_handlers.pull_messages),
    "push-messages": fleet_handlers.push_messages,
    "pull-object": fleet_handlers.pull_object,
    "push-object": fleet_handlers.push_object,
    "confirm-message-received": _with_store(fleet_handlers.confirm_message_received),
}
_RUNTIME_KINDS: Mapping[str, type[Message]] = {
    "pull-messages": runtime_pb2.PullAppMessagesRequest,
    "push-messages": runtime_pb2.PushAppMessagesRequest,
    "pull-object": message_pb2.PullObjectRequest,
    "push-object": message_pb2.PushObjectRequest,
    "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
}
_RUNTIME: Mapping[str, Callable[..., Message]] = {
    "pull-messages": runtime_handlers.pull_messages,
    "push-messages": runtime_handlers.push_messages,
    "pull-object": runtime_handlers.pull_object,
    "push-object": runtime_handlers.push_object,
    "confirm-message-received": runtime_handlers.confirm_message_received,
}
