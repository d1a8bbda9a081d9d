"""`/runs`: the list, one run in seven tabs, its files, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from secure_fl.errors import NotFoundError
from secure_fl.runs import RunStatus
from webui.auth.guard import may_end
from webui.auth.trail import record
from webui.orders import order
from webui.pages.run_files import artifacts_of, log_tail, logs_of
from webui.reading.audits import audits_of
from webui.reading.curves import accuracy_chart, class_chart, loss_chart, site_chart
from webui.reading.privacy import promises_of, site_prices
from webui.reading.progress import progress_of
from webui.reading.records import Run
from webui.reading.runlist import COLUMNS, Selection, selected
from webui.reading.security import guards_of, incidents_of
from webui.reading.sites import PARTS, participation_of, sites_of
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("runs", __name__, url_prefix="/runs")
_PAGE = 50


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The list, filtered and sorted as the query says."""
    sort = request.args.get("sort", "created")
    wanted = Selection(
        text=request.args.get("text", "")[:200],
        status=request.args.get("status", ""),
        sort=sort if sort in COLUMNS else "created",
        descending=request.args.get("order", "down") != "up",
    )
    rows = services().records.rows()
    found = selected(rows, wanted)
    page = max(1, request.args.get("page", 1, int))
    shown = found[(page - 1) * _PAGE : page * _PAGE]
    return render_template(
        "runs/index.html",
        rows=shown,
        found=len(found),
        total=len(rows),
        wanted=wanted,
        page=page,
        pages=-(-len(found) // _PAGE),
        statuses=sorted({row.status for row in rows}),
    )


@blueprint.get("/<id>")
def detail(id: str) -> ResponseReturnValue:
    """The tab that people want most: progress."""
    return _tab(id, "progress")


@blueprint.get("/<id>/part")
def part(id: str) -> ResponseReturnValue:
    """What changes on the progress tab, for a page that is open."""
    run = services().records.run(id)
    return render_template("runs/part.html", run=run, **_progress(run))


@blueprint.get("/<id>/<any(sites, privacy, security, config, log, artifacts):tab>")
def tab(id: str, tab: str) -> ResponseReturnValue:
    """The others."""
    return _tab(id, tab)


@blueprint.get("/<id>/files/<path:name>")
def file(id: str, name: str) -> ResponseReturnValue:
    """One of the files that the artifacts tab lists, as a download."""
    run = services().records.run(id)
    if name not in {each.name for each in artifacts_of(run.record.folder)}:
        raise NotFoundError("no such file in this run", fix="its artifacts tab lists them all")
    return send_file(run.record.folder / name, as_attachment=True, download_name=f"{id}-{Path(name).name}")


@blueprint.post("/<id>/resume")
def resume(id: str) -> ResponseReturnValue:
    """Queue what goes on with a run from its last finished round."""
    here = services()
    made = order("resume", {"run_id": id}, here.settings.home)
    here.jobs.submit(g.user, made.kind, made.title, made.request)
    record("resume run", object=id)
    flash(f"Queued: {made.title}", "ok")
    return redirect(url_for("runs.detail", id=id))


@blueprint.post("/<id>/stop")
def stop(id: str) -> ResponseReturnValue:
    """Ask a run to end after its round; an operator only one that is theirs."""
    run, job = services().records.run(id), services().jobs.of_run(id)
    if not may_end(g.user, job.owner_id if job else ""):
        record("stop run", "refused", object=id)
        abort(403)
    if run.status not in (RunStatus.RUNNING, RunStatus.CREATED):
        abort(409)
    if job is not None and not job.state.final:
        services().jobs.cancel(job.id)
    else:
        run.record.request_stop()
    record("stop run", object=id)
    return redirect(url_for("runs.detail", id=id))


def _tab(id: str, name: str) -> ResponseReturnValue:
    run = services().records.run(id)
    audited = any(each.run == id for each in audits_of(services().settings.home))
    return render_template(f"runs/{name}.html", run=run, tab=name, audited=audited, **_TABS[name](run))


def _progress(run: Run) -> dict[str, Any]:
    rounds, classes = run.summary.rounds, (run.record.data or {}).get("classes") or []
    names = [str(each) for each in classes] if isinstance(classes, list) else []
    charts = (accuracy_chart(rounds), loss_chart(rounds), class_chart(rounds, names), site_chart(rounds))
    return {
        "progress": progress_of(run, now_s=services().clock()),
        "charts": [each for each in charts if each] if rounds else [],
        "now_s": services().clock(),
    }


def _sites(run: Run) -> dict[str, Any]:
    return {"sites": sites_of(run), "map": participation_of(run), "meaning": PARTS}


def _privacy(run: Run) -> dict[str, Any]:
    return {"promises": promises_of(run), "prices": site_prices(run)}


def _security(run: Run) -> dict[str, Any]:
    return {"guards": guards_of(run), "incidents": incidents_of(run)}


def _config(run: Run) -> dict[str, Any]:
    from webui.reading.form import command_of

    return {"settings": run.config.to_mapping(), "origins": run.record.origins, "command": command_of(run.config)}


def _log(run: Run) -> dict[str, Any]:
    names = logs_of(run.record.folder)
    chosen = request.args.get("file", "events")
    chosen = chosen if chosen in names else "events"
    return {"names": names, "chosen": chosen, "text": log_tail(run, chosen), "events": run.events[::-1][:500]}


def _artifacts(run: Run) -> dict[str, Any]:
    return {"files": artifacts_of(run.record.folder)}


_TABS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "progress": _progress,
    "sites": _sites,
    "privacy": _privacy,
    "security": _security,
    "config": _config,
    "log": _log,
    "artifacts": _artifacts,
}
