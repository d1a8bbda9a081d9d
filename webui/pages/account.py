"""`/account`: the own password, the own sessions, the look."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.auth.guard import safe_path
from webui.auth.limits import by_user, failed, limiter
from webui.auth.passwords import SHORTEST, refusal
from webui.auth.trail import record
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """Everything about oneself."""
    return _page()


@blueprint.post("/password")
@limiter.limit("5 per 15 minutes", key_func=by_user, deduct_when=failed)
def password() -> ResponseReturnValue:
    """Change the password; other sessions end if that is asked for."""
    known, new = services().users.credentials(g.user.name), request.form.get("password", "")
    if known is None or not services().passwords.matches(known.password_hash, request.form.get("current", "")):
        g.login_failed = True
        record("password", "failed")
        return _page("The current password is wrong."), 422
    fault = refusal(new, g.user.name) or ("" if new == request.form.get("again", "") else "the two are not the same")
    if fault:
        return _page(f"The new password cannot be taken: {fault}."), 422
    services().users.set_password(g.user.id, services().passwords.hash(new))
    ended = services().sessions.end_others(g.user.id, g.session.number) if request.form.get("end_others") else 0
    record("password", object=f"{ended} other sessions ended")
    flash("Your password is changed.", "ok")
    return redirect(url_for("account.index"))


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


def _page(fault: str = "") -> str:
    sessions = services().sessions.of(g.user.id)
    return render_template("account.html", sessions=sessions, here_now=g.session.number, fault=fault, shortest=SHORTEST)
