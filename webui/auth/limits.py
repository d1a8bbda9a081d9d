"""How often somebody may try. Counted in memory: there is one process, and a restart forgives.

Never a permanent lock: an attacker could lock everybody out. `429` says when to come back (`Retry-After`).
"""

from __future__ import annotations

from flask import Response, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

__all__ = ["by_account", "by_user", "failed", "limiter"]

limiter = Limiter(get_remote_address, headers_enabled=True, storage_uri="memory://")


def by_account() -> str:
    """The account that is tried, from the address that tries it."""
    session = g.get("session")
    name = session.user_id if session else request.form.get("name", "").strip().lower()[:64]
    return f"{get_remote_address()} {name}"


def by_user() -> str:
    """The user who is logged in, else the address."""
    return g.user.id if g.get("user") else get_remote_address()


def failed(response: Response) -> bool:
    """Whether a try counts: only those do that failed."""
    return bool(g.get("login_failed"))
