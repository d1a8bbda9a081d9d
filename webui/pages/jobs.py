"""`/jobs`: what was ordered, how it went and what it said; taking an order back.

Operators and auditors cancel what is theirs, an admin anything. What an audit said is for those who may read audits.
"""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.auth.guard import allows, may_end
from webui.auth.trail import record
from webui.orders import Order, equivalent
from webui.pages.run_files import tail
from webui.services import services
from webui.store.jobs import Job
from webui.worker.loop import job_folder
from webui.worker.outcome import envelope

__all__ = ["blueprint", "may_cancel"]

blueprint = Blueprint("jobs", __name__)
_PAGE = 50


@blueprint.get("/jobs")
def index() -> ResponseReturnValue:
    """All orders, newest first."""
    jobs = services().jobs.latest(before=request.args.get("before", type=int), limit=_PAGE)
    return render_template("jobs/index.html", jobs=jobs, more=len(jobs) == _PAGE)


@blueprint.get("/jobs/<id>")
def detail(id: str) -> ResponseReturnValue:
    """One order: how it went, what it found, and the end of what it said."""
    job = services().jobs.get(id)
    if job.kind == "audit" and not allows(g.user, "audits.index"):
        abort(404)
    settings = services().settings
    folder = job_folder(settings, job.id)
    result = envelope(folder) if job.state.final else None
    return render_template(
        "jobs/detail.html",
        job=job,
        may_cancel=may_cancel,
        found=(result or {}).get("data") or {},
        command=equivalent(Order(job.kind, job.title, job.request), settings.home),
        said=tail(folder / "stderr.log"),
    )


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
    return allows(g.user, "jobs.cancel") and may_end(g.user, job.owner_id, job.kind)
