"""`/`: what runs, what waits, how the last runs went, and what somebody should look at."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from secure_fl.runs import RunStatus
from webui.pages.jobs import may_cancel
from webui.pages.system import recent
from webui.reading.alerts import alerts_of
from webui.reading.audits import audits_of
from webui.reading.host import host_of
from webui.reading.progress import progress_of
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("overview", __name__)
_LAST = 5


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """The page that a login leads to."""
    return render_template("overview/index.html", **_state())


@blueprint.get("/overview/part")
def part() -> ResponseReturnValue:
    """What changes on it, for a page that is open."""
    return render_template("overview/part.html", **_state())


def _state() -> dict[str, Any]:
    here, now_s = services(), services().clock()
    rows, host = here.records.rows(), host_of(here.settings.home)
    active = [here.records.run(row.id) for row in rows if row.status == RunStatus.RUNNING]
    return {
        "active": [(run, progress_of(run, now_s=now_s)) for run in active],
        "last": [row for row in rows if row.status != RunStatus.RUNNING][:_LAST],
        "alerts": alerts_of(rows, audits_of(here.settings.home), host),
        "host": host,
        "total": len(rows),
        "queue": here.jobs.unfinished(),
        "may_cancel": may_cancel,
        "worker": here.jobs.worker(),
        "samples": recent(),
    }
