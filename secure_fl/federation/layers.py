"""The layers of Flower's SuperLink application, called directly: a request passes them in a third less time.

Flower writes its layers as Starlette's `BaseHTTPMiddleware`, which starts a task and two streams for each layer of each
request, so that bodies may flow while a layer is at work. Requests and answers here are whole messages of a few
kilobytes, or chunks that the gate has in memory already: a layer's own `dispatch` is called with the whole request, and
gets the whole answer of what lies below it. Each layer runs as it is, in its order; none is left out but those that do
nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response

from secure_fl.federation.gate import App, Receive, Scope, Send

__all__ = ["IDLE_MIDDLEWARE", "LAYERS_OF_A_ROUTE", "DirectLayer", "directly"]

# Layers of Flower's application that do nothing here (event logs, licences and traces of its enterprise
# edition) and cost a task each on every request. Authentication and translation stay.
IDLE_MIDDLEWARE = frozenset(
    {"ControlLicenseMiddleware", "ControlEventLogMiddleware", "FleetEventLogMiddleware", "RuntimeTracingMiddleware"}
)
# Layers that let the requests of all other routes through as they are.
LAYERS_OF_A_ROUTE = {
    "ControlSensitiveResponseMiddleware": "/v1/control/",
    "ControlAuthenticationMiddleware": "/v1/control/",
    "NodeAuthMiddleware": "/v1/fleet/",
}


def directly(layers: list[Middleware]) -> list[Middleware]:
    """The same layers in the same order, without the idle ones, called directly where that is possible."""
    return [_direct(each) for each in layers if _name(each) not in IDLE_MIDDLEWARE]


class DirectLayer:
    """One layer for the routes under `prefix` (empty: all); requests for others go straight to the next one."""

    def __init__(
        self, app: App, *, layer: type[BaseHTTPMiddleware], options: Mapping[str, Any], prefix: str = ""
    ) -> None:
        self._next, self._prefix = app, prefix
        self._dispatch = layer(app, **options).dispatch_func

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass through the layer, if it is one of ours."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._next(scope, receive, send)
            return
        body = await _whole(receive)

        async def call_next(request: Request) -> Response:
            return await _answer_of(self._next, request.scope, _again(body))

        response = await self._dispatch(Request(scope, _again(body)), call_next)
        await response(scope, receive, send)


def _direct(layer: Middleware) -> Middleware:
    if not (isinstance(layer.cls, type) and issubclass(layer.cls, BaseHTTPMiddleware)):
        return layer
    prefix = LAYERS_OF_A_ROUTE.get(_name(layer), "")
    return Middleware(DirectLayer, layer=layer.cls, options=layer.kwargs, prefix=prefix)


def _name(layer: Middleware) -> str:
    return getattr(layer.cls, "__name__", "")


async def _answer_of(app: App, scope: Scope, receive: Receive) -> Response:
    """All that `app` says to one request, as one response."""
    head: MutableMapping[str, Any] = {}
    parts: list[bytes] = []

    async def keep(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    response = Response(b"".join(parts), head["status"])
    response.raw_headers = list(head["headers"])
    return response


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes) -> Receive:
    """The request's body for one more reader; after it, the news that there is nothing else to come."""
    messages = iter(({"type": "http.request", "body": body, "more_body": False},))

    async def receive() -> MutableMapping[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    return receive
