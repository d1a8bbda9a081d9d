"""`/api/v1`: the same services as the pages, in JSON. `openapi.yaml` is the contract; a test holds the two together.

Lists come in pages (`cursor` → `next`), single things with an `ETag`, orders as jobs with 202, and every refusal as
`application/problem+json`. An order with an `Idempotency-Key` is taken once, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, g, jsonify, request, send_file, url_for
from flask.typing import ResponseReturnValue

from secure_fl.errors import ConfigError
from secure_fl.lab.library import bundled, bundled_names
from secure_fl.runs import RunStatus
from secure_fl.runs.index import RunRow
from webui.api.document import openapi
from webui.auth.guard import may_end
from webui.auth.limits import by_user, limiter
from webui.auth.trail import record
from webui.orders import order
from webui.reading.attacks import labs_of
from webui.reading.audits import DOWNLOADS, audits_of, bundle_file
from webui.reading.progress import progress_of
from webui.services import services
from webui.store.jobs import Job
from webui.store.samples import RINGS
from webui.store.users import Role

__all__ = ["blueprint"]

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
_orders = limiter.limit("60 per minute", key_func=by_user)
_MOST = 200
_FILES = {"html": "report.html", "json": "report.json", "sarif": "report.sarif", "pdf": "report.pdf"}


@blueprint.get("/openapi.json")
def document() -> ResponseReturnValue:
    """The contract."""
    return jsonify(openapi())


# -- runs


@blueprint.get("/runs")
def runs() -> ResponseReturnValue:
    """All runs, newest first."""
    rows = [row for row in services().records.rows() if request.args.get("status", row.status) == row.status]
    return _page([_run(row) for row in rows], key="id")


@blueprint.post("/runs")
@_orders
def start_run() -> ResponseReturnValue:
    """Queue a run."""
    return _order("run", _wish())


@blueprint.get("/runs/<id>")
def run(id: str) -> ResponseReturnValue:
    """One run: where it stands, its settings, its rounds."""
    found, now_s = services().records.run(id), services().clock()
    rounds = [asdict(each) for each in found.summary.rounds]
    progress = asdict(progress_of(found, now_s=now_s))
    return _tagged(
        {
            "id": found.id,
            "seq": found.seq,
            "progress": progress,
            "settings": found.config.to_mapping(),
            "rounds": rounds,
        }
    )


@blueprint.get("/runs/<id>/metrics")
def run_metrics(id: str) -> ResponseReturnValue:
    """The events of a run after `after`, oldest first."""
    after, limit = _number("after", 0, 2**53, -1), _number("limit", 1, _MOST, _MOST)
    found = services().records.run(id)
    events = [each for each in found.events if each.seq > after][:limit]
    items = [{"seq": each.seq, "time": each.time, "kind": each.kind, **each.fields} for each in events]
    return jsonify({"items": items, "last": found.seq, "status": found.status.value})


@blueprint.post("/runs/<id>/cancel")
@_orders
def cancel_run(id: str) -> ResponseReturnValue:
    """Ask a run to finish its round, save, and end."""
    found, job = services().records.run(id), services().jobs.of_run(id)
    if job is not None and not job.state.final:
        return _cancelled(job)
    if found.status not in (RunStatus.RUNNING, RunStatus.CREATED):
        abort(409)
    if g.user.role is not Role.ADMIN:  # started in a terminal: nobody's here
        abort(403)
    found.record.request_stop()
    record("stop run", object=id)
    return jsonify({"id": id, "stop_requested": True}), 202


@blueprint.post("/runs/<id>/resume")
@_orders
def resume_run(id: str) -> ResponseReturnValue:
    """Queue what goes on with a run."""
    return _order("resume", {"run_id": id})


# -- jobs


@blueprint.get("/jobs")
def jobs() -> ResponseReturnValue:
    """All jobs, newest first."""
    limit, before = _number("limit", 1, _MOST, 50), _number("cursor", 1, 2**53, 2**53)
    found = services().jobs.latest(before=before, limit=limit)
    return jsonify(
        {"items": [_job(each) for each in found], "next": str(found[-1].seq) if len(found) == limit else None}
    )


@blueprint.get("/jobs/<id>")
def job(id: str) -> ResponseReturnValue:
    """One job."""
    return _tagged(_job(services().jobs.get(id)))


@blueprint.post("/jobs/<id>/cancel")
@_orders
def cancel_job(id: str) -> ResponseReturnValue:
    """End a job; one that has ended stays as it is."""
    return _cancelled(services().jobs.get(id))


# -- attacks and comparisons


@blueprint.get("/attacks")
def attacks() -> ResponseReturnValue:
    """The scenarios that can be replayed, and the comparisons that were made."""
    scenarios = [{"name": name, "teaches": bundled(name).teaches} for name in bundled_names()]
    return jsonify(
        {"scenarios": scenarios, "comparisons": [asdict(each) for each in labs_of(services().settings.home)]}
    )


@blueprint.post("/attacks/<name>/replay")
@_orders
def replay(name: str) -> ResponseReturnValue:
    """Queue a scenario under some defenses."""
    return _order("replay", {**_wish(), "scenario": name})


@blueprint.post("/comparisons")
@_orders
def compare() -> ResponseReturnValue:
    """Queue attacks against defenses."""
    return _order("compare", _wish())


# -- audits


@blueprint.get("/audits")
def audits() -> ResponseReturnValue:
    """All audits, newest first."""
    return _page([asdict(each) for each in audits_of(services().settings.home)], key="run")


@blueprint.post("/audits")
@_orders
def audit() -> ResponseReturnValue:
    """Queue the verification of a signed audit, or a search through a run's files."""
    return _order("audit", _wish())


@blueprint.get("/audits/<id>.<any(html, json, sarif, pdf):form>")
def audit_file(id: str, form: str) -> ResponseReturnValue:
    """A report, as a download: its HTML is never rendered under our own origin."""
    name = _FILES[form]
    path = bundle_file(services().settings.home, id, name)
    return send_file(path, mimetype=DOWNLOADS[name], as_attachment=True, download_name=f"{id}-{name}")


# -- the machine


@blueprint.get("/system")
def system() -> ResponseReturnValue:
    """Samples of the machine and of our processes after `after` (seconds since 1970)."""
    step = _number("step", 1, 10, 1)
    if step not in RINGS:
        raise ConfigError(f"`step` is {step}", fix="choose one of: 1, 10")
    worker = services().jobs.worker()
    samples = services().samples.since(step, _number("after", 0, 2**53, 0))
    return jsonify({"worker": asdict(worker) if worker else None, "samples": samples})


# -- what they share


def _order(kind: str, wish: Mapping[str, Any]) -> ResponseReturnValue:
    here = services()
    made = order(kind, wish, here.settings.home)
    job = here.jobs.submit(g.user, made.kind, made.title, made.request, key=_idempotency_key())
    record(f"{kind} ordered", object=job.id)
    return jsonify(_job(job)), 202, {"Location": url_for("api.job", id=job.id)}


def _cancelled(job: Job) -> ResponseReturnValue:
    if not may_end(g.user, job.owner_id, job.kind):
        record("cancel job", "refused", object=job.id)
        abort(403)
    record("cancel job", object=job.id)
    return jsonify(_job(services().jobs.cancel(job.id))), 202


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 100 and key.isprintable()):
        raise ConfigError("this Idempotency-Key cannot be used", fix="give 1 to 100 printable characters")
    return key


def _wish() -> dict[str, Any]:
    wish = request.get_json()
    if not isinstance(wish, dict):
        raise ConfigError("the body is not an object", fix="send a JSON object")
    return wish


def _number(name: str, low: int, high: int, default: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or not low <= int(text[:20]) <= high:
        raise ConfigError(f"`{name}` is {text[:20]!r}", fix=f"give a whole number from {low} to {high}")
    return int(text)


def _page(items: Sequence[dict[str, Any]], *, key: str) -> Response:
    """One page of `items`; the cursor is the key of the last item of the page before."""
    limit, cursor = _number("limit", 1, _MOST, 50), request.args.get("cursor")
    start = next((at + 1 for at, each in enumerate(items) if each[key] == cursor), 0) if cursor else 0
    if cursor and not start:
        raise ConfigError("this cursor leads nowhere", fix="begin again without one")
    shown = items[start : start + limit]
    return jsonify({"items": shown, "next": shown[-1][key] if start + limit < len(items) else None})


def _tagged(content: Mapping[str, Any]) -> ResponseReturnValue:
    response = jsonify(content)
    response.add_etag()
    return response.make_conditional(request)


def _run(row: RunRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key not in ("pid", "attempt_started_s")}


def _job(job: Job) -> dict[str, Any]:
    hidden = ("seq", "owner_id", "pid", "pid_born_s")
    return {key: value for key, value in asdict(job).items() if key not in hidden}
