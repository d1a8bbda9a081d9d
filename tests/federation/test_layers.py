"""Layers that are called directly do what Starlette makes them do, and what Flower's own application answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from secure_fl.federation.layers import directly

Next = Callable[[Request], Awaitable[Response]]


async def echo(request: Request) -> Response:
    """Says what it was sent, and what the layers above left for it."""
    if request.url.path == "/broken":
        raise LookupError("the application failed")
    seen = ",".join(getattr(request.state, "passed", []))
    return PlainTextResponse(await request.body() + b"|" + seen.encode(), headers={"x-app": "1"})


def layer(name: str) -> type[BaseHTTPMiddleware]:
    """A layer as Flower writes them: it reads the body, leaves a word in the request's state, adds a header."""

    async def dispatch(self: BaseHTTPMiddleware, request: Request, call_next: Next) -> Response:
        if await request.body() == b"stop at " + name.encode():
            return PlainTextResponse(name, status_code=403)
        request.state.passed = [*getattr(request.state, "passed", []), name]
        response = await call_next(request)
        response.headers[f"x-{name.lower()}"] = str(response.status_code)
        return response

    return type(name, (BaseHTTPMiddleware,), {"dispatch": dispatch})


async def translate_errors(request: Request, call_next: Next) -> Response:
    """A layer given as a function."""
    try:
        return await call_next(request)
    except LookupError as error:
        return PlainTextResponse(str(error), status_code=500)


LAYERS = [
    Middleware(BaseHTTPMiddleware, dispatch=translate_errors),
    Middleware(layer("First")),
    Middleware(layer("NodeAuthMiddleware")),
    Middleware(layer("FleetEventLogMiddleware")),
]


def asked(layers: list[Middleware], path: str, body: list[bytes]) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer to a request whose body comes in these parts."""
    routes = [Route(each, echo, methods=["POST"]) for each in ("/v1/fleet/pull", "/v1/runtime/pull", "/broken")]
    app, said = Starlette(routes=routes, middleware=layers), []
    parts = [{"type": "http.request", "body": each, "more_body": True} for each in body]
    parts[-1]["more_body"] = False
    messages = iter(parts)

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is None:
            await asyncio.sleep(3600)  # a connection that stays open
        return message or {}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        **{"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "state": {}},
        **{"headers": [], "scheme": "https", "server": ("here", 1), "client": ("there", 2), "http_version": "1.1"},
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    head, *rest = said
    return head["status"], dict(head["headers"]), b"".join(each.get("body", b"") for each in rest)


@pytest.mark.parametrize("path", ["/v1/fleet/pull", "/v1/runtime/pull", "/broken", "/nowhere"])
@pytest.mark.parametrize("body", [[b""], [b"hello"], [b"in ", b"parts"], [b"stop at First"]])
def test_answers_are_those_of_the_layers_as_starlette_calls_them(path: str, body: list[bytes]) -> None:
    # Everywhere means everywhere for Starlette: a layer that is for some routes by name is compared on those.
    layers = [each for each in LAYERS if each.cls.__name__ != "NodeAuthMiddleware"]
    kept = [each for each in layers if each.cls.__name__ != "FleetEventLogMiddleware"]
    assert asked(directly(layers), path, body) == asked(kept, path, body)


def test_a_layer_that_is_for_some_routes_stands_before_those_only() -> None:
    fleet = asked(directly(LAYERS), "/v1/fleet/pull", [b"x"])
    runtime = asked(directly(LAYERS), "/v1/runtime/pull", [b"x"])
    assert fleet[2] == b"x|First,NodeAuthMiddleware"
    assert runtime[2] == b"x|First"
    assert asked(directly(LAYERS), "/v1/fleet/pull", [b"stop at NodeAuthMiddleware"])[0] == 403


def test_idle_layers_are_left_out() -> None:
    assert b"FleetEventLog" not in asked(directly(LAYERS), "/v1/fleet/pull", [b"x"])[2]
    assert b"FleetEventLog" in asked(LAYERS, "/v1/fleet/pull", [b"x"])[2]
