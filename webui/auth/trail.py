"""Write what the present request did into the action log."""

from __future__ import annotations

from flask import g, request

from webui.services import services

__all__ = ["record"]


def record(action: str, outcome: str = "ok", *, object: str = "", name: str = "") -> None:
    """One row; who, from where and in which request is filled in. `name` is for somebody not logged in."""
    user = g.get("user")
    services().actions.add(
        action,
        outcome,
        object=object,
        user_name=user.name if user else name,
        role=user.role.value if user else "",
        address=request.remote_addr or "",
        request_id=g.get("request_id", ""),
    )
