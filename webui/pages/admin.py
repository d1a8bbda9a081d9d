"""`/admin`: who may do what, and the log of who did. Nothing here can change or delete a row of that log."""

from __future__ import annotations

import json
from dataclasses import asdict

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from secure_fl.errors import ConfigError
from webui.auth.passwords import one_time_password
from webui.auth.trail import record
from webui.services import services
from webui.store.users import Role, User

__all__ = ["blueprint"]

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
_PAGE = 100


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """All accounts."""
    known = services()
    sessions = {user.id: len(known.sessions.of(user.id)) for user in known.users.all()}
    return render_template("admin/users.html", users=known.users.all(), sessions=sessions, roles=list(Role))


@blueprint.get("/users/<id>")
def account(id: str) -> ResponseReturnValue:
    """One account, and what can be done about it."""
    person = services().users.get(id)
    return render_template("admin/user.html", person=person, sessions=services().sessions.of(id), roles=list(Role))


@blueprint.post("/users")
def add() -> ResponseReturnValue:
    """A new account; its one-time password is shown once, here."""
    password = one_time_password()
    name, role = request.form.get("name", "").strip(), _role()
    person = services().users.add(name, role, services().passwords.hash(password))
    record("user created", object=f"{person.name} ({person.role})")
    return render_template("admin/password.html", person=person, password=password)


@blueprint.post("/users/<id>/role")
def role(id: str) -> ResponseReturnValue:
    """Change a role, with effect from the user's next request."""
    wanted = _role()
    services().users.set_role(id, wanted, _version())
    return _changed("role changed", services().users.get(id), f" to {wanted}")


@blueprint.post("/users/<id>/disable")
def disable(id: str) -> ResponseReturnValue:
    """Lock an account, and end its sessions."""
    services().users.disable(id, _version())
    return _changed("user disabled", services().users.get(id))


@blueprint.post("/users/<id>/enable")
def enable(id: str) -> ResponseReturnValue:
    """Unlock an account."""
    services().users.enable(id, _version())
    return _changed("user enabled", services().users.get(id))


@blueprint.post("/users/<id>/reset")
def reset(id: str) -> ResponseReturnValue:
    """A one-time password, and no second factor until a new one is set up."""
    password = one_time_password()
    services().users.reset(id, services().passwords.hash(password), _version())
    person = services().users.get(id)
    record("credentials reset", object=person.name)
    return render_template("admin/password.html", person=person, password=password)


@blueprint.post("/users/<id>/sessions/<number>/end")
def end_session(id: str, number: str) -> ResponseReturnValue:
    """End somebody's session."""
    if not services().sessions.end(number, id):
        abort(404)
    return _changed("session ended", services().users.get(id), f" {number}")


@blueprint.get("/log")
def log() -> ResponseReturnValue:
    """The action log, the newest first, and whether its chain holds."""
    actions = services().actions
    rows = actions.latest(before=request.args.get("before", type=int), limit=_PAGE)
    return render_template("admin/log.html", rows=rows, chain=actions.verify(), more=len(rows) == _PAGE)


@blueprint.get("/log.jsonl")
def log_export() -> ResponseReturnValue:
    """The whole log, a row a line, the oldest first: to be kept elsewhere, or checked by other means."""
    rows = reversed(services().actions.latest(limit=2**31))
    lines = "".join(json.dumps(asdict(row), ensure_ascii=True) + "\n" for row in rows)
    headers = {"Content-Disposition": "attachment; filename=actions.jsonl"}
    return Response(lines, mimetype="application/jsonl", headers=headers)


def _changed(action: str, person: User, more: str = "") -> ResponseReturnValue:
    record(action, object=f"{person.name}{more}")
    flash(f"{person.name}: {action}{more}.", "ok")
    return redirect(url_for("admin.account", id=person.id))


def _role() -> Role:
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        raise ConfigError("no such role", fix=f"choose one of: {', '.join(Role)}") from None


def _version() -> int:
    """What the author of a change has seen; a change on top of somebody else's is refused (409)."""
    version = request.form.get("version", type=int)
    if version is None:
        raise ConfigError("the form has no version", fix="reload the page")
    return version
