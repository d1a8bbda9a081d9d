"""A site: one persistent process that waits for messages, runs the ClientApp, and answers.

The site runs its own installed ClientApp. It never installs or executes code that the coordinator
sends, which a stock SuperNode does.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.errors import FederationError, SecureFLError
from secure_fl.federation.certificates import ends_soon, read_certificate
from secure_fl.federation.fleet import FleetConnection

__all__ = ["Deliver", "MessageApp", "SiteSettings", "answer", "once", "run_site"]

logger = logging.getLogger("secure_fl.site")

# A ClientApp, or anything that is called like one.
MessageApp = Callable[[Message, Context], Message]
# How a reply goes out: connection, reply, context, seconds that it took to compute.
Deliver = Callable[[FleetConnection, Message, Context, float], None]

# The coordinator holds a question back until there is something to say; when it cannot, we do not ask all the time.
_ASK_EVERY_S = 0.25
# Twice the heartbeat interval after which Flower gives a dead predecessor up, and a little more.
_JOIN_PATIENCE_S = 30.0


@dataclass(frozen=True)
class SiteSettings:
    """Where the coordinator is and what this site is. `node_config` reaches the ClientApp."""

    address: str
    kit: str
    name: str
    node_config: dict[str, str | int | float | bool]
    give_up_after_s: float = 120.0


def once(connection: FleetConnection, reply: Message, context: Context, compute_s: float) -> None:
    """Send the reply, once: what every site does that is not a simulated attacker."""
    connection.push(reply, compute_s=compute_s)


def run_site(
    settings: SiteSettings,
    app: MessageApp,
    *,
    deliver: Deliver = once,
    stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Serve messages until `stop()`.

    Raises:
        FederationError: we are not let in, or the coordinator stays unreachable for too long.
    """
    contexts: dict[int, Context] = {}
    with FleetConnection(settings.address, Path(settings.kit), patience_s=_JOIN_PATIENCE_S) as connection:
        _warn_of_end(settings)
        logger.info("%s joined the coordinator at %s over TLS 1.3", settings.name, settings.address)
        last_contact = time.monotonic()
        while not stop():
            asked = time.monotonic()
            try:
                busy = _serve_one(connection, app, contexts, settings, deliver)
                last_contact = time.monotonic()
            except httpx.HTTPStatusError as error:
                # The run ended or our message expired; neither is a reason to leave.
                logger.warning("the coordinator answered %s", error.response.status_code)
                busy, last_contact = False, time.monotonic()
            except httpx.TransportError as error:
                if time.monotonic() - last_contact > settings.give_up_after_s:
                    raise FederationError("lost the coordinator", why=str(error)) from None
                busy = False
            if not busy:
                sleep(max(0.0, asked + _ASK_EVERY_S - time.monotonic()))


def _warn_of_end(settings: SiteSettings) -> None:
    """Only the site can see how long its certificate lasts: the coordinator's roster holds a fingerprint."""
    certificate = read_certificate(Path(settings.kit) / "tls.crt")
    if ends_soon(certificate, datetime.datetime.now(datetime.UTC)):
        ends = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        logger.warning("the certificate of %s ends on %s: ask the coordinator for a new kit", settings.name, ends)


def _serve_one(
    connection: FleetConnection,
    app: MessageApp,
    contexts: dict[int, Context],
    settings: SiteSettings,
    deliver: Deliver,
) -> bool:
    """Handle one message if there is one."""
    message = connection.pull()
    if message is None:
        return False
    run_id = message.metadata.run_id
    context = contexts.setdefault(run_id, _fresh_context(run_id, connection.node_id, settings))
    started = time.perf_counter()
    reply = answer(app, message, context)
    compute_s = time.perf_counter() - started
    deliver(connection, reply, context, compute_s)
    spent, waiting = connection.traffic.take()
    logger.info(
        "%s %s: computed %.2f s, received %d bytes, sent %d bytes; while waiting: received %d bytes, sent %d bytes",
        message.metadata.message_type,
        message.metadata.group_id,
        compute_s,
        spent.received_bytes,
        spent.sent_bytes,
        waiting.received_bytes,
        waiting.sent_bytes,
    )
    return True


def answer(app: MessageApp, message: Message, context: Context) -> Message:
    """The ClientApp's reply, or an error reply that names what went wrong (never its traceback)."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = context.run_id, context.node_id, 0
    try:
        return app(message, context)
    except SecureFLError as error:
        logger.error("%s", error)
        reason = f"{error.code}: {error}"
    except Exception as error:  # the coordinator must hear of any failure, and the site must live on
        logger.exception("the ClientApp failed")
        reason = f"{type(error).__name__}: {error}"
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)


def _fresh_context(run_id: int, node_id: int, settings: SiteSettings) -> Context:
    return Context(
        run_id=run_id, node_id=node_id, node_config=dict(settings.node_config), state=RecordDict(), run_config={}
    )
