"""`/jobs/<id>/cancel`: take an order back. An operator cancels what is theirs, an admin anything."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, url_for
from flask.typing import ResponseReturnValue

from webui.auth.guard import allows
from webui.auth.trail import record
from webui.services import services
from webui.store.jobs import Job
from webui.store.users import Role

__all__ = ["blueprint", "may_cancel"]

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/jobs/<id>/cancel")
def cancel(id: str) -> ResponseReturnValue:
    """Out of the queue at once; after its round where it runs."""
    job = services().jobs.get(id)
    if not may_cancel(job):
        record("cancel job", "refused", object=id)
        abort(403)
    services().jobs.cancel(id)
    record("cancel job", object=id)
    flash(f"Cancelled: {job.title}", "ok")
    return redirect(url_for("overview.index"))


def may_cancel(job: Job) -> bool:
    """Whether the present user may."""
    if not allows(g.user, "jobs.cancel"):
        return False
    return g.user.role is Role.ADMIN or job.owner_id == g.user.id
