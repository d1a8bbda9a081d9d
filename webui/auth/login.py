"""The door: password, then whatever the account still has to show, then in. And out.

Each step that succeeds starts a new session, with a new number. A wrong name and a wrong password give the same page,
status and time.
"""

from __future__ import annotations

from flask import Blueprint, abort, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from webui.auth.guard import safe_path
from webui.auth.limits import by_account, failed, limiter
from webui.auth.passwords import SHORTEST, refusal
from webui.auth.totp import matching_step, new_secret, qr_svg
from webui.auth.trail import record
from webui.services import services
from webui.store.sessions import Stage
from webui.store.users import Credentials, User

__all__ = ["blueprint", "clear_cookie", "enrolment"]

blueprint = Blueprint("login", __name__, url_prefix="/login")
_tries = limiter.shared_limit("5 per 15 minutes", "login", key_func=by_account, deduct_when=failed)
_calls = limiter.limit("30 per minute", methods=["POST"])


@blueprint.get("")
def form() -> ResponseReturnValue:
    """Name and password."""
    if g.user is not None:
        return redirect(url_for("overview.index"))
    return render_template("login/form.html", next=safe_path(request.args.get("next")))


@blueprint.post("")
@_calls
@_tries
def enter() -> ResponseReturnValue:
    """The first step: name and password."""
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    known = _matching(name, password)
    if known is None:
        return _wrong("login", "login/form.html", "Name or password is wrong.", name=name)
    if services().passwords.outdated(known.password_hash):
        services().users.rehash(known.user.id, services().passwords.hash(password))
    session["next"] = safe_path(request.form.get("next"))
    return _step(known.user)


def _matching(name: str, password: str) -> Credentials | None:
    known = services().users.credentials(name)
    if known is None or known.user.disabled:
        services().passwords.waste(password)
        return None
    return known if services().passwords.matches(known.password_hash, password) else None


@blueprint.route("/password", methods=["GET", "POST"])
@_calls
def new_password() -> ResponseReturnValue:
    """Replace a one-time password."""
    user = _at(Stage.PASSWORD)
    if request.method == "GET":
        return render_template("login/password.html", fault="", name=user.name, shortest=SHORTEST)
    password = request.form.get("password", "")
    known = services().users.credentials(user.name)
    fault = refusal(password, user.name)
    if not fault and known and services().passwords.matches(known.password_hash, password):
        fault = "it is the one-time password itself; take another"
    if not fault and password != request.form.get("again", ""):
        fault = "the two are not the same"
    if fault:
        return render_template("login/password.html", fault=fault, name=user.name, shortest=SHORTEST), 422
    services().users.set_password(user.id, services().passwords.hash(password))
    record("password", name=user.name)
    return _step(services().users.get(user.id))


@blueprint.route("/totp", methods=["GET", "POST"])
@_calls
@_tries
def totp() -> ResponseReturnValue:
    """Show the second factor."""
    user = _at(Stage.TOTP)
    if request.method == "GET":
        return render_template("login/totp.html", fault="")
    known = services().users.credentials(user.name)
    if known is None or known.totp_secret is None:
        abort(404)
    step = matching_step(known.totp_secret, request.form.get("code", ""), services().clock())
    if step is None or not services().users.use_totp_step(user.id, step):
        return _wrong("second factor", "login/totp.html", "The code is wrong, or was used before.", name=user.name)
    return _enter(user)


@blueprint.route("/enrol", methods=["GET", "POST"])
@_calls
@_tries
def enrol() -> ResponseReturnValue:
    """Set the second factor up; the first right code puts it in force."""
    user = _at(Stage.ENROL)
    secret = g.session.enrolling
    if request.method == "GET" or not secret:
        return render_template("login/enrol.html", secret=secret, fault="")
    step = matching_step(secret, request.form.get("code", ""), services().clock())
    if step is None:
        return _wrong("second factor", "login/enrol.html", "The code is wrong.", name=user.name)
    services().users.set_totp(user.id, secret, step)
    record("second factor set up", name=user.name)
    return _enter(user)


@blueprint.get("/qr.svg")
def qr() -> ResponseReturnValue:
    """The secret that is being set up, as a picture for its owner only."""
    user = _at(Stage.ENROL)
    return Response(qr_svg(g.session.enrolling, user.name), mimetype="image/svg+xml")


@blueprint.post("/leave")
def leave() -> ResponseReturnValue:
    """Log out: the session is gone here, so the cookie opens nothing any more."""
    if g.session is not None:
        services().sessions.end(g.session.number, g.session.user_id)
        record("logout")
    session.clear()
    return clear_cookie(redirect(url_for("login.form")))


def clear_cookie(response: Response) -> Response:
    """Take the session's cookie away."""
    settings = services().settings
    response.delete_cookie(settings.cookie_name, secure=not settings.insecure_http, httponly=True, samesite="Lax")
    return response


def enrolment(user: User) -> Response:
    """Set up a second factor now; only what it needs is open until a first code was right."""
    return _start(user, Stage.ENROL, "login.enrol")


def _at(stage: Stage) -> User:
    """The user whose login is at `stage`; 404 for anybody else."""
    if g.session is None or g.session.stage is not stage:
        abort(404)
    return services().users.get(g.session.user_id)


def _step(user: User) -> Response:
    """On to what this user still has to show."""
    if user.must_change:
        return _start(user, Stage.PASSWORD, "login.new_password")
    if user.totp:
        return _start(user, Stage.TOTP, "login.totp")
    if user.needs_totp:
        return _start(user, Stage.ENROL, "login.enrol")
    return _enter(user)


def _enter(user: User) -> Response:
    target = safe_path(session.get("next"))
    session.clear()  # a new CSRF token too
    record("login", name=user.name)
    return _started(user, Stage.FULL, redirect(target))


def _start(user: User, stage: Stage, endpoint: str) -> Response:
    return _started(user, stage, redirect(url_for(endpoint)))


def _started(user: User, stage: Stage, response: Response) -> Response:
    known, settings = services(), services().settings
    if g.session is not None:
        known.sessions.end(g.session.number, g.session.user_id)
    secret = new_secret() if stage is Stage.ENROL else None
    id = known.sessions.start(
        user.id, stage, address=request.remote_addr or "", agent=request.user_agent.string, enrolling=secret
    )
    response.set_cookie(
        settings.cookie_name, id, secure=not settings.insecure_http, httponly=True, samesite="Lax", path="/"
    )
    return response


def _wrong(action: str, template: str, fault: str, *, name: str) -> ResponseReturnValue:
    g.login_failed = True
    record(action, "failed", name=name)
    secret = g.session.enrolling if g.session else None
    return render_template(template, fault=fault, secret=secret, next=safe_path(request.form.get("next"))), 401
