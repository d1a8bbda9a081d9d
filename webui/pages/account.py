"""`/account`: the own password, the own sessions, the look."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.auth.guard import safe_path
from webui.auth.limits import by_user, failed, limiter
from webui.auth.login import enrolment
from webui.auth.passwords import SHORTEST, refusal
from webui.auth.trail import record
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("account", __name__, url_prefix="/account")
_tries = limiter.shared_limit("5 per 15 minutes", "account", key_func=by_user, deduct_when=failed)


@blueprint.get("")
def index() -> ResponseReturnValue:
    """Everything about oneself."""
    return _page()


@blueprint.post("/password")
@_tries
def password() -> ResponseReturnValue:
    """Change the password; other sessions end if that is asked for."""
    new = request.form.get("password", "")
    if not _proven("password"):
        return _page("The current password is wrong."), 422
    fault = refusal(new, g.user.name) or ("" if new == request.form.get("again", "") else "the two are not the same")
    if fault:
        return _page(f"The new password cannot be taken: {fault}."), 422
    services().users.set_password(g.user.id, services().passwords.hash(new))
    ended = services().sessions.end_others(g.user.id, g.session.number) if request.form.get("end_others") else 0
    record("password", object=f"{ended} other sessions ended")
    flash("Your password is changed.", "ok")
    return redirect(url_for("account.index"))


@blueprint.post("/second-factor")
@_tries
def second_factor() -> ResponseReturnValue:
    """Set up a second factor that the role does not ask for."""
    if g.user.totp:
        abort(409)
    if not _proven("second factor"):
        return _page("The current password is wrong."), 422
    return enrolment(g.user)


@blueprint.post("/theme")
def theme() -> ResponseReturnValue:
    """Light, dark, or as the system has it."""
    services().users.set_theme(g.user.id, request.form.get("theme", ""))
    return redirect(safe_path(request.form.get("next") or url_for("account.index")))


@blueprint.post("/sessions/<number>/end")
def end_session(number: str) -> ResponseReturnValue:
    """End one of the own sessions."""
    if not services().sessions.end(number, g.user.id):
        abort(404)
    record("session ended", object=number)
    return redirect(url_for("account.index"))


@blueprint.post("/sessions/end-others")
def end_others() -> ResponseReturnValue:
    """End all of the own sessions but this one."""
    ended = services().sessions.end_others(g.user.id, g.session.number)
    record("other sessions ended", object=str(ended))
    return redirect(url_for("account.index"))


def _proven(action: str) -> bool:
    """Whether whoever sits at this session knows the password; a try that fails counts."""
    known = services().users.credentials(g.user.name)
    if known is not None and services().passwords.matches(known.password_hash, request.form.get("current", "")):
        return True
    g.login_failed = True
    record(action, "failed")
    return False


def _page(fault: str = "") -> str:
    sessions = services().sessions.of(g.user.id)
    return render_template("account.html", sessions=sessions, here_now=g.session.number, fault=fault, shortest=SHORTEST)
