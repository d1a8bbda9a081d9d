"""For watchdogs: `/healthz` (the process answers), `/readyz` (it can work), `/metrics` (Prometheus, text 0.0.4).

The first two say nothing about anybody. `/metrics` is for this machine, and for whoever shows the token that lies in
`HOME/webui/metrics.token`. A proxy on this machine in front of us must not pass `/metrics` on.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import psutil
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from webui.services import services
from webui.store.jobs import JobState

__all__ = ["blueprint", "count_requests"]

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> ResponseReturnValue:
    """We answer."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """The database answers and can be written to; without a worker, orders only wait."""
    try:
        with services().database.writing():
            worker = services().jobs.worker()
    except sqlite3.Error:
        abort(503)
    return jsonify({"status": "ok", "database": "ok", "worker": "ok" if worker and worker.alive else "absent"})


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Counts and gauges."""
    if not (_from_here() or _has_token()):
        abort(403)
    return Response("".join(_lines()), mimetype="text/plain; version=0.0.4")


def count_requests(app: Flask) -> None:
    """Count the answers of `app` by endpoint and status, since it started."""
    counts: Counter[tuple[str, int]] = Counter()
    app.extensions["request_counts"] = counts

    @app.after_request
    def count(response: Response) -> Response:
        counts[request.endpoint or "none", response.status_code] += 1
        return response


def _from_here() -> bool:
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _has_token() -> bool:
    shown = request.authorization.token if request.authorization else None
    return hmac.compare_digest((shown or "").encode(), services().settings.metrics_token().encode())


def _lines() -> Iterator[str]:
    here = services()
    worker, now = here.jobs.worker(), here.clock()
    jobs = Counter(job.state for job in here.jobs.unfinished())
    runs = Counter(row.status for row in here.records.rows())
    requests: Mapping[tuple[str, int], int] = current_app.extensions["request_counts"]
    waiting = ((f'state="{each}"', jobs[each]) for each in (JobState.RUNNING, JobState.QUEUED))
    yield from _family("jobs", "gauge", "Jobs that run or wait.", waiting)
    yield from _family("runs", "gauge", "Recorded runs.", ((f'status="{each}"', n) for each, n in sorted(runs.items())))
    yield from _family("worker_up", "gauge", "Whether a worker is there.", [("", int(bool(worker and worker.alive)))])
    if worker is not None:
        age = max(0.0, now - worker.heartbeat_s)
        yield from _family("worker_silence_seconds", "gauge", "Since the worker was heard of.", [("", round(age, 1))])
    memory = psutil.Process(os.getpid()).memory_info().rss
    yield from _family("pages_memory_bytes", "gauge", "Resident memory of the web server.", [("", memory)])
    answers = ((f'endpoint="{each}",status="{status}"', n) for (each, status), n in sorted(requests.items()))
    yield from _family("requests_total", "counter", "Answers since the start.", answers)


def _family(name: str, kind: str, words: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP secure_fl_{name} {words}\n# TYPE secure_fl_{name} {kind}\n"
    for labels, value in values:
        yield f"secure_fl_{name}{{{labels}}} {value}\n" if labels else f"secure_fl_{name} {value}\n"
