"""How a simulated attacker delivers its reply: more than once, or with company.

Only for sites whose own node config names an attack; `late` needs nothing from here, as it waits before it answers.
A further node joins with the site's kit (a *twin*), or with the site's certificate and a node key that it invented
(a *stranger*). Neither can get in: the log says how it was turned away, and the run's record says who was refused.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import cast

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Context, Message

from attacks.wire import Persona
from secure_fl.app.forgery import DELIVERY
from secure_fl.errors import FederationError
from secure_fl.federation.fleet import FleetConnection
from secure_fl.federation.site import Deliver, SiteSettings, once

__all__ = ["delivery_of"]

logger = logging.getLogger("secure_fl.site")


def delivery_of(settings: SiteSettings) -> Deliver:
    """The way in which this site's replies go out: once, unless its node config makes it an attacker."""
    if "attack" not in settings.node_config:
        return once

    def deliver(connection: FleetConnection, reply: Message, context: Context, compute_s: float) -> None:
        plan = context.state.get(DELIVERY)
        connection.push(reply, compute_s=compute_s)
        if not isinstance(plan, ConfigRecord):
            return
        del context.state[DELIVERY]
        for _ in range(cast(int, plan["copies"]) - 1):
            _push_again(connection, reply)
        for _ in range(cast(int, plan["joins"])):
            _join(settings, Persona(str(plan["persona"])))

    return deliver


def _push_again(connection: FleetConnection, reply: Message) -> None:
    try:
        connection.push(reply, compute_s=0.0)
        logger.warning("a second copy of the reply was taken")
    except httpx.HTTPStatusError as error:
        logger.info("a second copy of the reply was refused: HTTP %s", error.response.status_code)


def _join(settings: SiteSettings, persona: Persona) -> None:
    """Try to come in once more."""
    with tempfile.TemporaryDirectory(prefix="secure-fl-") as folder:
        kit = Path(shutil.copytree(settings.kit, Path(folder) / "kit"))
        if persona is Persona.STRANGER:
            _invent_node_key(kit / "node.key")
        try:
            with FleetConnection(settings.address, kit):
                logger.warning("a %s was let in", persona)
        except FederationError as error:
            logger.info("a %s was turned away: %s", persona, error)


def _invent_node_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
