"""Who may reach which route of the SuperLink: an ASGI wrapper around Flower's own application.

Threat model. Flower 1.41 serves its Fleet, Control and Runtime routes on one port; its Control routes
let anyone who reaches the port register nodes and start runs. We serve the same application twice:

* The outer listener, for sites. TLS 1.3 demands a client certificate of the federation's authority.
  The gate then passes only the fleet routes and `/health`, only for certificates that are in the roster
  (so that taking a site off the roster is enough), and only with the node key that belongs to the
  certificate: a site cannot speak in another's name even if it has stolen that site's node key.
* In audit mode one more certificate may speak, and is never heard: the audit's known leaks cross the wire under
  it, and every request of it is read and answered 403 before anything else looks at it.
* The inner listener, on loopback, for our own launcher and ServerApp. Control routes demand a secret
  that was handed over on a pipe; Flower checks its own task tokens on the Runtime routes.

Each call of a parcel (`parcels`) is judged as if it had come by itself.

What it does not do: stop an admitted site from sending bad content (the guard of the round does), or
protect against another process of the same user, which can read that user's keys.
"""

from __future__ import annotations

import asyncio
import datetime
import hmac
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization

from secure_fl.app.identity import Roster, RosterEntry
from secure_fl.federation.parcels import FLEET_ROUTE, unpack

__all__ = [
    "CONTROL_HEADER",
    "GONE",
    "MAX_REPLY_BYTES",
    "MAX_REQUEST_BYTES",
    "InnerGate",
    "Refusal",
    "SiteGate",
    "node_key_pem",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTROL_HEADER = "x-secure-fl-control"
# Flower splits arrays into chunks of 5 MiB; nothing honest comes near twice that.
MAX_REQUEST_BYTES = 12 << 20
# All objects of one reply together; the largest model that we build has 9 million numbers, 36 MB.
MAX_REPLY_BYTES = 64 << 20
GONE = "secure_fl.gone"
"""Key of a request's scope: a future that is done when the peer's connection has ended."""
_NODE_KEY_HEADER, _SIGNED_AT_HEADER = b"flwr-public-key", b"flwr-timestamp"
_NOT_AUTHENTIC = 401
_FLOWER_SAYS = {
    _NOT_AUTHENTIC: "its signature does not fit its node key",
    412: "its node key is not registered, or its former connection still counts",
}
# What Flower allows between the moment at which a request was signed, on the site's clock, and now on ours.
_OLDEST_S, _NEWEST_S = 305.0, -5.0
_FLEET = "/v1/fleet/"
_TAKE, _ANSWER, _SEND = f"{_FLEET}confirm-message-received", f"{_FLEET}push-messages", f"{_FLEET}push-object"
_SELF_SERVICE = ("/v1/fleet/register-node", "/v1/fleet/unregister-node")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One request that was turned away: by whom it was made as far as we know, and why."""

    who: str
    reason: str
    status: int


@dataclass
class _Allowance:
    """What a node may still send: answers to messages that it took, and bytes of objects."""

    answers: int = 0
    reply_bytes: int = 0

    def use(self, path: str, length: int) -> tuple[str, int] | None:
        """Count one request; a reason and a status when it is too much. Flower drops a second answer in silence."""
        if path == _TAKE:
            self.answers, self.reply_bytes = self.answers + 1, 0
        elif path == _ANSWER:
            if not self.answers:
                return "answers a message that it has answered", 409
            self.answers -= 1
        elif path == _SEND:
            self.reply_bytes += length
            if self.reply_bytes > MAX_REPLY_BYTES:
                return f"a reply of more than {MAX_REPLY_BYTES} bytes", 413
        return None


class SiteGate:
    """The outer listener's rules; `on_refusal` hears of each request that is turned away, `on_news` of each reply."""

    def __init__(
        self,
        app: App,
        roster: Roster,
        *,
        allow_stock: bool,
        on_refusal: Callable[[Refusal], None],
        on_news: Callable[[], None] = lambda: None,
        control_certificate: str = "",
    ) -> None:
        self._app, self._on_news = app, on_news
        self._control_certificate = control_certificate
        self._by_certificate = {entry.certificate_sha256: entry for entry in roster.entries}
        self._by_node_key = {_pem(entry.node_key): entry for entry in roster.entries}
        self._allow_stock = allow_stock
        self._on_refusal = on_refusal
        self._allowances: dict[bytes, _Allowance] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to Flower, or answer it with the reason why not."""
        if scope["type"] != "http":
            return
        path, headers = scope["path"], dict(scope["headers"])
        if self._control_certificate and _certificate(scope) == self._control_certificate:
            await _whole_body(receive)
            await _answer(send, 403, "a control of the audit")
            return
        refusal, whole = self._judge(scope), None
        if refusal is None and path != "/health":
            whole = await _whole_body(receive)
            refusal = self._judge_allowance(path, headers, whole.get("body", b""))
        if refusal is not None:
            self._on_refusal(refusal)
            await _answer(send, refusal.status, refusal.reason)
        elif whole is None:
            await self._app(scope, receive, send)
        else:
            await _pass_on(self._app, scope, whole, receive, self._watched(scope, send))
            if path in (_ANSWER, _SEND):
                self._on_news()

    def _judge(self, scope: Scope) -> Refusal | None:
        path, headers = scope["path"], dict(scope["headers"])
        peer = _peer(scope)
        if path == "/health":
            return None
        if not path.startswith("/v1/fleet/"):
            return Refusal(peer, f"route {path} is closed to remote peers", 403)
        if path in _SELF_SERVICE:
            return Refusal(peer, "sites are registered by the coordinator only", 403)
        return _judge_length(headers, peer) or self._judge_identity(scope, headers, peer)

    def _judge_identity(self, scope: Scope, headers: dict[bytes, bytes], peer: str) -> Refusal | None:
        certificate = _certificate(scope)
        keyed = self._by_node_key.get(_node_key(headers))
        if certificate is None:
            if not self._allow_stock:
                return Refusal(peer, "no client certificate", 403)
            return None if keyed else Refusal(peer, "node key is not in the roster", 403)
        certified = self._by_certificate.get(certificate)
        if certified is None:
            return Refusal(f"certificate {certificate[:16]} at {peer}", "certificate is not in the roster", 403)
        if keyed is None:
            return Refusal(certified.name, "node key is not in the roster", 403)
        if keyed is not certified:
            return Refusal(certified.name, f"uses the node key of {keyed.name}", 403)
        return None

    def _judge_allowance(self, path: str, headers: dict[bytes, bytes], body: bytes) -> Refusal | None:
        """A message that a site has taken lets it answer once, with so many bytes."""
        key = _node_key(headers)
        name, allowance = self._by_node_key[key].name, self._allowances.setdefault(key, _Allowance())
        calls = [(path, int(headers[b"content-length"]))]
        if path == FLEET_ROUTE:
            try:
                calls = [(_FLEET + call.name, len(call.message)) for call in unpack(body)]
            except ValueError as error:
                return Refusal(name, f"a parcel that cannot be read: {error}", 400)
        said = next(filter(None, (allowance.use(*call) for call in calls)), None)
        return Refusal(name, *said) if said else None

    def _watched(self, scope: Scope, send: Send) -> Send:
        """`send` that also reports when Flower itself refuses the node."""

        async def watching(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] in _FLOWER_SAYS:
                headers, status = dict(scope["headers"]), message["status"]
                entry = self._by_node_key.get(_node_key(headers))
                who = entry.name if entry else _peer(scope)
                reason = (status == _NOT_AUTHENTIC and _clock_reason(headers)) or _FLOWER_SAYS[status]
                self._on_refusal(Refusal(who, reason, status))
            await send(message)

        return watching


class InnerGate:
    """The inner listener's rules: Runtime routes, and Control routes with the launcher's secret."""

    def __init__(self, app: App, *, control_secret: str, on_news: Callable[[], None] = lambda: None) -> None:
        self._app, self._on_news = app, on_news
        self._secret = control_secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to Flower, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        given = dict(scope["headers"]).get(CONTROL_HEADER.encode(), b"")
        trusted = hmac.compare_digest(given, self._secret)
        if path == "/health":
            await self._app(scope, receive, send)
        elif not (path.startswith("/v1/runtime/") or (path.startswith("/v1/control/") and trusted)):
            await _answer(send, 403, "closed")
        elif refusal := _judge_length(dict(scope["headers"]), "loopback"):
            await _answer(send, refusal.status, refusal.reason)
        else:
            await _pass_on(self._app, scope, await _whole_body(receive), receive, send)
            if path in ("/v1/runtime/push-messages", "/v1/runtime/push-object"):
                self._on_news()


def node_key_pem(entry: RosterEntry) -> bytes:
    """The entry's node key in the form in which Flower names it (SubjectPublicKeyInfo PEM)."""
    return _pem(entry.node_key)


def _pem(openssh_line: str) -> bytes:
    key = serialization.load_ssh_public_key(openssh_line.encode())
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _node_key(headers: dict[bytes, bytes]) -> bytes:
    try:
        return b64decode(headers.get(_NODE_KEY_HEADER, b""), validate=True)
    except ValueError:
        return b""


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown peer"


def _certificate(scope: Scope) -> str | None:
    """SHA-256 of the certificate that the TLS peer showed."""
    digest: str | None = scope.get("state", {}).get("peer_certificate")
    return digest


def _clock_reason(headers: dict[bytes, bytes]) -> str:
    """What the moment of signing says, if that is why Flower refused the signature."""
    try:
        signed_at = datetime.datetime.fromisoformat(headers[_SIGNED_AT_HEADER].decode("ascii"))
        age_s = (datetime.datetime.now(datetime.UTC) - signed_at).total_seconds()
    except (KeyError, ValueError, TypeError):
        return ""
    if _NEWEST_S < age_s < _OLDEST_S:
        return ""
    return f"signed {abs(age_s):.0f} s {'ago' if age_s > 0 else 'ahead'}: its clock and ours differ, or one was set"


def _judge_length(headers: dict[bytes, bytes], peer: str) -> Refusal | None:
    """Only requests of a known and honest length get any further; what comes after is held in memory."""
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return Refusal(peer, "a request without a content length", 411)
    if int(length) > MAX_REQUEST_BYTES:
        return Refusal(peer, f"a request of {int(length)} bytes; the limit is {MAX_REQUEST_BYTES}", 413)
    return None


async def _whole_body(receive: Receive) -> MutableMapping[str, Any]:
    """The request's body as one message, or the news that the peer has gone.

    Flower's application has layers of middleware, and each of them passes on every piece: a chunk of
    5 MiB comes in eighty pieces. `_judge_length` comes first; uvicorn reads no more than the declared length.
    """
    pieces, message = [], await receive()
    while message["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return {"type": "http.request", "body": b"".join(pieces), "more_body": False}
        message = await receive()
    return message


async def _pass_on(app: App, scope: Scope, whole: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Let `app` answer a request that has been read; whoever waits there can see whether the peer still does."""
    gone = scope[GONE] = asyncio.ensure_future(_end_of(receive))
    ready = [whole]

    async def replaying() -> MutableMapping[str, Any]:
        return ready.pop() if ready else await asyncio.shield(gone)

    try:
        await app(scope, replaying, send)
    finally:
        gone.cancel()


async def _end_of(receive: Receive) -> MutableMapping[str, Any]:
    """The news that the peer has gone; uvicorn may say more than once that the body is complete."""
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
