"""Who may reach what: one table, and everything that is not in it is refused.

`authorise` runs before every request. It reads the session and the user from the database, so a role that was changed,
a user who was disabled and a session that was revoked count with the very next request; nothing is read from what the
browser sent but the session's number. `check_table` refuses to start an application with an endpoint that has no row.
"""

from __future__ import annotations

from flask import Flask, abort, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Unauthorized

from secure_fl.errors import ConfigError, NotFoundError
from webui.auth.trail import record
from webui.services import services
from webui.store.sessions import Stage
from webui.store.users import Role, User

__all__ = ["ANONYMOUS", "PERMISSIONS", "allows", "authorise", "check_table", "is_api", "may_end", "safe_path"]

ANONYMOUS = "anonymous"
_ANYONE = frozenset({ANONYMOUS, *Role})
_USERS = frozenset(Role)
_READERS = frozenset({Role.OPERATOR, Role.AUDITOR, Role.ADMIN})  # of evidence
_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

# Endpoint → who may reach it. A view may refuse more (an operator cancels only what is theirs), never less.
PERMISSIONS: dict[str, frozenset[str]] = {
    "static": _ANYONE,
    # the door
    "login.form": _ANYONE,
    "login.enter": _ANYONE,
    "login.totp": _ANYONE,
    "login.enrol": _ANYONE,
    "login.qr": _ANYONE,
    "login.new_password": _ANYONE,
    "login.leave": _ANYONE,
    "security.csp_report": _ANYONE,
    # pages
    "overview.index": _USERS,
    "classify.page": _USERS,
    "classify.models": _USERS,
    # one proposes, another approves, and no admin does either
    "classify.propose": frozenset({Role.OPERATOR}),
    "classify.approve": frozenset({Role.AUDITOR}),
    "classify.refuse": frozenset({Role.AUDITOR}),
    # programs
    "predict.answer": _USERS,
    "predict.explain": _USERS,
    "predict.flag": _USERS,
    "predict.current": _USERS,
    "overview.part": _USERS,
    "runs.index": _USERS,
    "runs.detail": _USERS,
    "runs.part": _USERS,
    "runs.tab": _USERS,
    "runs.file": _USERS,
    "runs.resume": _OPERATORS,
    "runs.stop": _OPERATORS,
    "new_run.form": _OPERATORS,
    "new_run.check": _OPERATORS,
    "new_run.start": _OPERATORS,
    "jobs.index": _USERS,
    "jobs.detail": _USERS,  # of an audit: readers
    "jobs.cancel": _READERS,  # their own
    "compare.index": _USERS,
    "attacks.index": _USERS,
    "attacks.lab": _USERS,
    "attacks.compare": _OPERATORS,
    "attacks.replay": _OPERATORS,
    "privacy.index": _USERS,
    "audits.index": _READERS,
    "audits.detail": _READERS,
    "audits.file": _READERS,
    "audits.verify": _AUDITORS,
    "system.index": _USERS,
    "system.part": _USERS,
    "live.events": _USERS,
    "live.run_events": _USERS,
    # one's own
    "account.index": _USERS,
    "account.password": _USERS,
    "account.theme": _USERS,
    "account.second_factor": _USERS,
    "account.end_session": _USERS,
    "account.end_others": _USERS,
    # users, and the log of what they did
    "admin.users": _ADMINS,
    "admin.account": _ADMINS,
    "admin.add": _ADMINS,
    "admin.role": _ADMINS,
    "admin.disable": _ADMINS,
    "admin.enable": _ADMINS,
    "admin.reset": _ADMINS,
    "admin.end_session": _ADMINS,
    "admin.log": _AUDITORS,
    "admin.log_export": _AUDITORS,
    # programs
    "api.document": _USERS,
    "api.runs": _USERS,
    "api.run": _USERS,
    "api.run_metrics": _USERS,
    "api.start_run": _OPERATORS,
    "api.cancel_run": _OPERATORS,
    "api.resume_run": _OPERATORS,
    "api.jobs": _USERS,
    "api.job": _USERS,
    "api.cancel_job": _READERS,  # their own
    "api.attacks": _USERS,
    "api.replay": _OPERATORS,
    "api.compare": _OPERATORS,
    "api.audits": _READERS,
    "api.audit_file": _READERS,
    "api.audit": _AUDITORS,
    "api.system": _USERS,
    # watchdogs
    "health.alive": _ANYONE,
    "health.ready": _ANYONE,
    "health.metrics": _ANYONE,  # by address or token
}
# Refused with 404: that there is such a thing is itself not for everybody.
_HIDDEN = frozenset({"audits.index", "audits.detail", "audits.file", "api.audits", "api.audit_file"})

_STEP = {Stage.PASSWORD: "login.new_password", Stage.ENROL: "login.enrol", Stage.TOTP: "login.totp"}


def check_table(app: Flask) -> None:
    """Raise ConfigError unless the table and the routes name the same endpoints' permissions."""
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    if missing := sorted(endpoints - PERMISSIONS.keys()):
        raise ConfigError(f"endpoints without a permission: {', '.join(missing)}", fix="add a row to PERMISSIONS")


def allows(user: User | None, endpoint: str) -> bool:
    """Whether `user` (None: nobody) may reach `endpoint`; templates ask it as `can`."""
    identity = user.role if user is not None else ANONYMOUS
    return identity in PERMISSIONS.get(endpoint, frozenset())


def authorise() -> ResponseReturnValue | None:
    """Fill `g.session` and `g.user`, and let the request pass, or say what to do instead."""
    g.user, g.session = None, None
    endpoint = request.endpoint
    if endpoint == "static":
        return None
    if id := request.cookies.get(services().settings.cookie_name):
        _identify(id)
    if endpoint is None or allows(g.user, endpoint):  # None: 404 and 405 follow
        return None
    if g.user is not None:
        record("denied", "refused", object=f"{request.method} {request.path}")
        abort(404 if endpoint in _HIDDEN else 403)
    if is_api():
        raise Unauthorized("Log in first.")
    if g.session is not None:
        return redirect(url_for(_STEP[g.session.stage]))
    target = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("login.form", next=target))


def _identify(id: str) -> None:
    session = services().sessions.find(id)
    if session is None:
        return
    try:
        user = services().users.get(session.user_id)
    except NotFoundError:
        return
    if user.disabled:
        return
    g.session = session
    if session.stage is Stage.FULL:
        g.user = user


def may_end(user: User, owner_id: str, kind: str = "run") -> bool:
    """Whether `user` may cancel what `owner_id` ordered: but for admins, their own and of a kind that is theirs."""
    return user.role is Role.ADMIN or (
        user.id == owner_id and user.role in (_AUDITORS if kind == "audit" else _OPERATORS)
    )


def is_api() -> bool:
    """Whether a program asks, to whom a redirect to a form says nothing."""
    return request.path.startswith("/api/")


def safe_path(target: str | None) -> str:
    """`target` if it is a path of ours, else `/`: browsers read `//host` and `/\\host` as another site."""
    target = target or "/"
    odd = not target.startswith("/") or target[1:2] in ("/", "\\") or not target.isprintable() or "\\" in target
    return "/" if odd else target
