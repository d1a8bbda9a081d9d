"""An inline tap: the second way to see inside TLS, for sites whose session secrets cannot be had.

    async with Tap(settings, "127.0.0.1", 9092) as tap:
        ...
    tap.sessions, tap.blind_spots()

The tap is a server to the site and a client to the coordinator, with a certificate of the federation's own authority:
nobody is deceived who has not agreed to it, and the report shows the fingerprints of both legs. It changes no byte of
the stream, offers upstream the protocols (ALPN) that the client offered, and answers with the one that was chosen.
Both legs are written to one key log, so that a capture of either is decoded like any other; the plaintext of both
directions is written too. TLS 1.3 only. Connections that are closed in one direction are closed in both.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from audit.capture.client_hello import ClientHelloError, offered_protocols, peek_client_hello
from audit.capture.keylog import create_key_log
from audit.findings import BlindSpot, Place

__all__ = ["KEY_LOG", "Leg", "Tap", "TapSession", "TapSettings"]

KEY_LOG = "keys.log"
_HANDSHAKE_S = 10.0
_CHUNK_BYTES = 1 << 18

_Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class TapSettings:
    """Certificates are PEM files. `folder` receives the key log and the streams; it exists."""

    upstream_host: str
    upstream_port: int
    upstream_name: str  # the name that the upstream certificate must carry
    upstream_ca: Path
    certificate: Path  # shown to clients
    key: Path
    folder: Path
    client_ca: Path | None = None  # clients must show a certificate that it has issued
    client_certificate: Path | None = None  # shown upstream
    client_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("a client certificate needs its key, and the key its certificate")


@dataclass(frozen=True)
class Leg:
    """One of the two TLS sessions. `peer_certificate`: SHA-256 of the DER that the other side showed, if any."""

    version: str
    suite: str
    alpn: str
    peer_certificate: str


@dataclass(frozen=True)
class TapSession:
    """One connection through the tap; `error` says why it ended, if not in order."""

    id: str  # "t0001": in order of arrival; names its files
    client: str
    opened_s: float
    closed_s: float = 0.0
    client_leg: Leg | None = None
    upstream_leg: Leg | None = None
    to_coordinator_bytes: int = 0
    to_coordinator_sha256: str = ""
    to_site_bytes: int = 0
    to_site_sha256: str = ""
    error: str = ""


@dataclass
class _Stream:
    """One direction of a session on its way through."""

    path: Path
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on and record until the sender's end; then close the other side."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as record:
            try:
                while chunk := await reader.read(_CHUNK_BYTES):
                    # Recorded first: what the receiver has seen is in the record, whatever happens next.
                    record.write(chunk)
                    self.digest.update(chunk)
                    self.size += len(chunk)
                    writer.write(chunk)
                    await writer.drain()
            finally:
                writer.close()


class Tap:
    """Listens at `host` and `port` (0: any free one) while the `async with` block lasts.

    Raises `ssl.SSLError` or `OSError` for unusable certificates or address, `FileExistsError` for a folder that is
    in use by another tap.
    """

    def __init__(
        self, settings: TapSettings, host: str, port: int = 0, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sessions: dict[str, TapSession] = {}
        self._running: set[asyncio.Task[None]] = set()
        create_key_log(settings.folder / KEY_LOG)
        self._client_side(())  # wrong files show now and not at the first connection
        self._server_side("")
        self._listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    @property
    def sessions(self) -> tuple[TapSession, ...]:
        """Every connection so far, in order of arrival."""
        return tuple(self._sessions.values())

    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """Connections that did not end in order: something may have been on its way."""
        return tuple(
            BlindSpot("tap/broken-session", f"{each.client}: {each.error}", Place(session=each.id))
            for each in self._sessions.values()
            if each.error
        )

    async def __aenter__(self) -> Tap:
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._accepting, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, address = await loop.sock_accept(self._listener)
            session = TapSession(f"t{len(self._sessions) + 1:04}", f"{address[0]}:{address[1]}", self._clock())
            self._sessions[session.id] = session
            task = asyncio.create_task(self._serve(connection, session))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _serve(self, connection: socket.socket, session: TapSession) -> None:
        try:
            session = await self._relay(connection, session)
        except asyncio.CancelledError:
            session = replace(self._sessions[session.id], error="the tap was closed")
        except (OSError, TimeoutError, ClientHelloError, ssl.SSLError, ssl.CertificateError) as error:
            session = replace(self._sessions[session.id], error=str(error) or type(error).__name__)
        finally:
            connection.close()
        self._sessions[session.id] = replace(session, closed_s=self._clock())

    async def _relay(self, connection: socket.socket, session: TapSession) -> TapSession:
        """Upstream first, because the answer to the client depends on the coordinator's choice of protocol."""
        settings = self._settings
        async with asyncio.timeout(_HANDSHAKE_S):
            offer = offered_protocols(await peek_client_hello(connection))
        upstream = await asyncio.open_connection(
            settings.upstream_host,
            settings.upstream_port,
            ssl=self._client_side(offer),
            server_hostname=settings.upstream_name,
            ssl_handshake_timeout=_HANDSHAKE_S,
            limit=_CHUNK_BYTES,
        )
        async with _closing(upstream[1]):
            upstream_leg = _leg(upstream[1])
            client = await _accept_tls(connection, self._server_side(upstream_leg.alpn))
            async with _closing(client[1]):
                session = replace(session, client_leg=_leg(client[1]), upstream_leg=upstream_leg)
                return await self._pump(session, client, upstream)

    async def _pump(self, session: TapSession, client: _Peer, upstream: _Peer) -> TapSession:
        requests = _Stream(self._settings.folder / f"{session.id}.to-coordinator")
        answers = _Stream(self._settings.folder / f"{session.id}.to-site")
        try:
            ended = await asyncio.gather(
                requests.pump(client[0], upstream[1]), answers.pump(upstream[0], client[1]), return_exceptions=True
            )
        finally:
            session = self._sessions[session.id] = replace(
                session,
                to_coordinator_bytes=requests.size,
                to_coordinator_sha256=requests.digest.hexdigest(),
                to_site_bytes=answers.size,
                to_site_sha256=answers.digest.hexdigest(),
            )
        errors = [str(each) or type(each).__name__ for each in ended if each is not None]
        return replace(session, error="; ".join(errors))

    def _server_side(self, protocol: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._settings.certificate, self._settings.key)
        if self._settings.client_ca is not None:
            context.load_verify_locations(self._settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return self._finish(context, (protocol,) if protocol else ())

    def _client_side(self, protocols: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        context.load_verify_locations(self._settings.upstream_ca)
        if self._settings.client_certificate is not None:
            context.load_cert_chain(self._settings.client_certificate, self._settings.client_key)
        return self._finish(context, protocols)

    def _finish(self, context: ssl.SSLContext, protocols: tuple[str, ...]) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = str(self._settings.folder / KEY_LOG)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Send what is still waiting before the connection goes; cut it off if the tap itself is closed."""
    try:
        yield
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def _accept_tls(connection: socket.socket, context: ssl.SSLContext) -> _Peer:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=context, ssl_handshake_timeout=_HANDSHAKE_S
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _leg(writer: asyncio.StreamWriter) -> Leg:
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True)
    suite = tls.cipher()
    return Leg(
        version=tls.version() or "",
        suite=suite[0] if suite else "",
        alpn=tls.selected_alpn_protocol() or "",
        peer_certificate=hashlib.sha256(shown).hexdigest() if shown else "",
    )
