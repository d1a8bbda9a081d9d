"""Flower's messages at a site: which site a context belongs to, and one handler for each trip of a secure sum.

One process may hold many sites (a simulation); each has an identity key, and is told from the others by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context, Message

from secure_fl.app.identity import Roster, SiteSigner
from secure_fl.app.secagg.released import Released
from secure_fl.app.secagg.site import SecureSite, Train
from secure_fl.app.secagg.wire import (
    answer,
    masked_answer,
    read_masked_order,
    read_open_order,
    read_share_order,
    read_slot,
    read_survivors,
)
from secure_fl.app.signed_roster import read_signed_roster
from secure_fl.config import RunConfig
from secure_fl.errors import FederationError

__all__ = [
    "advertise",
    "agree",
    "announced_samples",
    "commit",
    "forget",
    "mask",
    "open_shares",
    "refuse_unprotected",
    "rejoin",
    "reveal",
    "share",
    "site_of",
]

# The fewest members of a sum that any site takes part in; `secagg-fewest` raises it.
_FEWEST = 2

_SITES: dict[str, SecureSite] = {}


def site_of(context: Context) -> SecureSite:
    """The site that this context belongs to, with what it holds in memory.

    Raises:
        FederationError: it has no identity key or no signed roster, or they do not fit each other.
    """
    node = context.node_config
    key, roster_file = node.get("identity-key"), node.get("roster")
    if not key or not roster_file:
        raise FederationError(
            "this site cannot take part in secure aggregation",
            why=f"its node config names no {'identity-key' if not key else 'roster'}: peers are nobody's word but "
            "the signed roster's",
            fix="start it with a start-up kit that holds identity.key, roster.json and roster.sig",
        )
    signer = SiteSigner.from_file(Path(str(key)))
    if (known := _SITES.get(signer.public_hex)) is not None:
        return known
    index, log = int(node["partition-id"]), node.get("secagg-log")
    roster = _own_roster(Path(str(roster_file)), index, signer)
    fewest = max(_FEWEST, int(node.get("secagg-fewest", _FEWEST)))
    released = Released(Path(str(log)) if log else None)
    site = SecureSite(index, signer, roster, fewest=fewest, released=released)
    return _SITES.setdefault(signer.public_hex, site)


def rejoin(context: Context) -> None:
    """The site joins a run: whatever it held for another is dropped, and its roster is read again."""
    site, node = site_of(context), context.node_config
    signer = SiteSigner.from_file(Path(str(node["identity-key"])))
    site.rejoin(_own_roster(Path(str(node["roster"])), site.index, signer))


def _own_roster(path: Path, index: int, signer: SiteSigner) -> Roster:
    roster = read_signed_roster(path)
    own = next((each for each in roster.entries if each.index == index), None)
    if own is None or own.revoked or own.identity_key != signer.public_hex:
        raise FederationError(f"the roster {path} does not list this site's identity key at index {index}")
    return roster


def refuse_unprotected(node_config: Mapping[str, Any], config: RunConfig) -> None:
    """Refuse a run in which the coordinator would see our update, if this site takes part in sums only.

    Raises:
        FederationError: it does, and the run is without secure aggregation.
    """
    if "secagg-fewest" in node_config and config.secagg == "none":
        raise FederationError(
            "this site takes part under secure aggregation only",
            why="the run asks for its update in the clear",
            fix="run with --secagg full, or start the site without --secagg-fewest",
        )


def announced_samples(context: Context) -> int:
    """The count of images that we tell when we join: what the roster declares anyway, or 0 for none."""
    return site_of(context).declared_samples


def commit(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_commit`."""
    return answer(message, commitment=site_of(context).commit(message).to_bytes())


def reveal(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_reveal`."""
    return answer(message, reveal=site_of(context).reveal(message).to_bytes())


def advertise(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_advertise`."""
    return answer(message, advert=site_of(context).advertise(read_slot(message)).to_bytes())


def share(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_share`."""
    return answer(message, sealed=site_of(context).share(read_share_order(message)).to_bytes())


def mask(message: Message, context: Context, train: Train) -> Message:
    """Handler of `train.secagg_masked`; `train` makes an update of the received model."""
    words, epsilon = site_of(context).mask(read_masked_order(message), train)
    return masked_answer(message, words, epsilon=epsilon)


def agree(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_agree`."""
    agreement = site_of(context).agree(read_slot(message), read_survivors(message))
    return answer(message, agreement=agreement.to_bytes())


def open_shares(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_open`: our shares, and with them keys for the slot that follows."""
    site, order = site_of(context), read_open_order(message)
    opening = site.open(order)
    advert = site.advertise(order.following).to_bytes() if order.following is not None else b""
    return answer(message, opening=opening.to_bytes(), advert=advert)


def forget(message: Message, context: Context) -> Message:
    """Handler of `query.secagg_forget`: the coordinator has given up."""
    site_of(context).forget()
    return answer(message)
