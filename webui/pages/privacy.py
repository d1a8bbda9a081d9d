"""`/privacy`: what runs have spent of what they may spend, the sites' ledgers, and what audits proved was spent."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from secure_fl.runs.index import DAMAGED
from webui.reading.bounds import bounds_of
from webui.reading.ledgers import ledgers_of
from webui.reading.privacy import promises_of, site_prices
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("privacy", __name__)
_LOOKED_AT, _SHOWN = 100, 8  # newest runs, and of them the private ones


@blueprint.get("/privacy")
def index() -> ResponseReturnValue:
    """The newest private run, or the one of the query, and everything that all runs share."""
    here = services()
    rows = [row for row in here.records.rows()[:_LOOKED_AT] if row.status != DAMAGED]
    ids = [row.id for row in rows if here.records.config(row.id).dp_epsilon][:_SHOWN]
    private = [run for run in here.records.some(ids) if run.summary.start.get("privacy")]
    wanted = request.args.get("run", "")
    run = here.records.run(wanted) if wanted else next(iter(private), None)
    return render_template(
        "privacy.html",
        run=run,
        promises=promises_of(run) if run else (),
        prices=site_prices(run) if run else (),
        private=private,
        budgets=[(each, promise) for each in private for promise in promises_of(each)],
        ledgers=ledgers_of(here.settings.home),
        bounds=bounds_of(here.settings.home),
    )
