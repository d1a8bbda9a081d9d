"""`/jobs/<id>/cancel`: take an order back. An operator cancels what is theirs, an admin anything."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, url_for
from flask.typing import ResponseReturnValue

from webui.auth.guard import allows, may_end
from webui.auth.trail import record
from webui.services import services
from webui.store.jobs import Job

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
    return allows(g.user, "jobs.cancel") and may_end(g.user, job.owner_id)
