"""The coordinator's network process: Flower's SuperLink behind our two listeners.

Started as `python -m secure_fl.federation.superlink`. It reads one JSON line of settings from standard
input (secrets never touch the disk or the command line), answers one line with the two ports, and
serves until standard input closes, so that it cannot outlive its launcher.

It leans on Flower's internal modules (`SuperLinkLifespanConfig`, `create_app`) and on asyncio's
private `_make_ssl_transport`; `tests/federation/test_flower_contract.py` holds both.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from secure_fl.app.identity import Roster
from secure_fl.federation.desk import Bell, open_desk
from secure_fl.federation.gate import InnerGate, Refusal, SiteGate
from secure_fl.federation.layers import directly
from secure_fl.federation.processes import claim_stdout
from secure_fl.runs import RunRecord

__all__ = ["SuperLinkSettings", "main"]

logger = logging.getLogger("secure_fl.superlink")

# Refusals that are worth an event each; a flood of them must not fill the run record.
_MAX_REFUSALS = 200


@dataclass(frozen=True)
class SuperLinkSettings:
    """What the launcher tells the process; `control_secret` and `superexec_secret` are secrets.

    key_log: in audit mode only, the file to which the secrets of the sites' TLS sessions are written; else empty.
    control_certificate: SHA-256 of the certificate under which the audit sends its known leaks; else empty.
    """

    host: str
    port: int
    ca: str
    certificate: str
    key: str
    roster: str
    run_dir: str
    allow_stock: bool
    control_secret: str
    superexec_secret: str
    key_log: str
    control_certificate: str


class _PeerProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol; it also tells the application who the TLS peer is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls else None
        digest = hashlib.sha256(der).hexdigest() if der else None
        self.app_state = {**self.app_state, "peer_certificate": digest}


class _ReportingLoop(asyncio.SelectorEventLoop):
    """An event loop that does not lose failed TLS handshakes: asyncio drops them in silence."""

    on_failed_handshake: Callable[[str, BaseException], None] = staticmethod(lambda peer, error: None)

    def _make_ssl_transport(
        self, rawsock: socket.socket, protocol: Any, sslcontext: Any, waiter: Any = None, **options: Any
    ) -> Any:
        extra = options.get("extra") or {}
        if waiter is not None and options.get("server_side"):
            waiter.add_done_callback(lambda done: self._report(str(extra.get("peername", ("?",))[0]), done))
        return super()._make_ssl_transport(rawsock, protocol, sslcontext, waiter, **options)  # type: ignore[misc]

    def _report(self, peer: str, done: asyncio.Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self.on_failed_handshake(peer, error)


class _RefusalLog:
    """Writes each distinct refusal once, to the log and to the run record."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._seen: set[tuple[str, str]] = set()

    def refusal(self, refusal: Refusal) -> None:
        """Hear of a request that the gate turned away."""
        self._note(refusal.who, refusal.reason)

    def handshake(self, peer: str, error: BaseException) -> None:
        """Hear of a connection that did not get through TLS."""
        self._note(peer, handshake_reason(error))

    def _note(self, who: str, reason: str) -> None:
        if (who, reason) in self._seen or len(self._seen) >= _MAX_REFUSALS:
            return
        self._seen.add((who, reason))
        logger.warning("turned away %s: %s", who, reason)
        self._record.append("site-refused", who=who, reason=reason)


def handshake_reason(error: BaseException) -> str:
    """Why a TLS handshake failed, in words a person can act on."""
    text = str(error)
    known = {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate",
        "certificate has expired": "client certificate has expired",
        "unable to get local issuer certificate": "client certificate is of another authority",
        "self-signed certificate": "client certificate is of another authority",
        "certificate signature failure": "client certificate is of another authority",
        "unsuitable certificate purpose": "client certificate is not for this purpose",
        "HTTP_REQUEST": "plain HTTP on the TLS port",
        "UNSUPPORTED_PROTOCOL": "TLS older than 1.3",
        "WRONG_VERSION_NUMBER": "not TLS",
        "ALERT_UNKNOWN_CA": "the peer does not trust our certificate",
        "ALERT_BAD_CERTIFICATE": "the peer does not accept our certificate",
    }
    reason = next((words for sign, words in known.items() if sign.lower() in text.lower()), None)
    return reason or f"TLS handshake failed ({type(error).__name__}: {text[:120]})"


def _tls(settings: SuperLinkSettings, *, outer: bool) -> Callable[[Any, Any], ssl.SSLContext]:
    """A factory in uvicorn's form. Only the outer listener asks for client certificates."""

    def make(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if outer:
            context.verify_mode = ssl.CERT_OPTIONAL if settings.allow_stock else ssl.CERT_REQUIRED
            context.load_verify_locations(settings.ca)
            if settings.key_log:
                context.keylog_filename = settings.key_log
        return context

    return make


def _server(app: Any, settings: SuperLinkSettings, *, outer: bool) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_PeerProtocol,
            ws="none",
            lifespan="off" if outer else "on",
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            ssl_context_factory=_tls(settings, outer=outer),
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )


def _flower_app(settings: SuperLinkSettings, inner_port: int) -> Any:
    """Flower's SuperLink application: in-memory state, node authentication on, no executor of its own."""
    from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE
    from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig, load_control_authn_plugin
    from flwr.superlink.main import create_app

    pem = tuple(Path(each).read_bytes() for each in (settings.ca, settings.certificate, settings.key))
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host="127.0.0.1",
        port=inner_port,
        insecure=False,
        certificates=(pem[0], pem[1], pem[2]),
        superexec_auth_secret=settings.superexec_secret.encode(),
        authn_plugin=load_control_authn_plugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=settings.ca,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        database=FLWR_IN_MEMORY_DB_NAME,
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    app = create_app(config, SuperLinkLifespan)
    app.user_middleware = directly(app.user_middleware)
    return app


async def _serve(settings: SuperLinkSettings, refusals: _RefusalLog, report: Callable[[dict[str, Any]], None]) -> None:
    inner_socket = _listen("127.0.0.1", 0)
    outer_socket = _listen(settings.host, settings.port)
    inner_port = inner_socket.getsockname()[1]
    app, to_sites, to_coordinator = _flower_app(settings, inner_port), Bell(), Bell()
    open_desk(app, to_sites=to_sites, to_coordinator=to_coordinator)
    roster, loop = Roster.read(Path(settings.roster)), asyncio.get_running_loop()
    inside = InnerGate(app, control_secret=settings.control_secret, on_news=to_sites.ring)
    inner = _server(inside, settings, outer=False)
    gate = SiteGate(
        app,
        roster,
        allow_stock=settings.allow_stock,
        on_refusal=refusals.refusal,
        on_news=to_coordinator.ring,
        control_certificate=settings.control_certificate,
    )
    outer = _server(gate, settings, outer=True)

    def stop_with_the_launcher() -> None:
        sys.stdin.read()
        inner.should_exit = outer.should_exit = True
        for bell in (to_sites, to_coordinator):  # nobody waits for a server that ends
            loop.call_soon_threadsafe(bell.close)

    threading.Thread(target=stop_with_the_launcher, daemon=True).start()

    async def tell_ports() -> None:
        while not (inner.started and outer.started):
            await asyncio.sleep(0.02)
        report({"inner_port": inner_port, "outer_port": outer_socket.getsockname()[1]})

    await asyncio.gather(inner.serve([inner_socket]), outer.serve([outer_socket]), tell_ports())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(256)
    listener.setblocking(False)
    return listener


def main() -> int:
    """Entry point of the process; see the module's docstring."""
    report = claim_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("flwr").setLevel(logging.INFO)  # below it, Flower writes a line or two for each call
    settings = SuperLinkSettings(**json.loads(sys.stdin.readline()))
    refusals = _RefusalLog(RunRecord.open(Path(settings.run_dir)))
    _ReportingLoop.on_failed_handshake = staticmethod(refusals.handshake)
    try:
        with asyncio.Runner(loop_factory=_ReportingLoop) as runner:
            runner.run(_serve(settings, refusals, report))
    except OSError as error:
        report({"error": f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
