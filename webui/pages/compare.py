"""`/compare?run=…&run=…`: up to six runs over each other."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webui.reading.comparing import MOST, charts_of, differences_of, measured_of
from webui.reading.records import Run
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("compare", __name__)


@blueprint.get("/compare")
def index() -> ResponseReturnValue:
    """The runs of the query, in its order; the first is what the others are held against."""
    wanted = [id for each in request.args.getlist("run") + request.args.getlist("runs") for id in each.split(",") if id]
    ids = list(dict.fromkeys(wanted))
    runs = services().records.some(ids[:MOST])
    labels = _labels(runs)
    return render_template(
        "compare.html",
        runs=list(zip(runs, labels, strict=True)),
        left_out=len(ids) - len(runs),
        most=MOST,
        charts=charts_of(runs, labels) if runs else (),
        differences=differences_of(runs) if runs else (),
        measured=measured_of(runs) if runs else (),
        choices=[row for row in services().records.rows() if row.round > 0][:50],
        chosen=set(ids),
    )


def _labels(runs: tuple[Run, ...]) -> list[str]:
    """Short names that differ: the last part of the id, and what the run is about."""
    names = []
    for run in runs:
        config = run.config
        about = [config.model] if config.defense == "fedavg" and not config.attack else [config.defense, config.attack]
        names.append(f"{run.id[-4:]} {', '.join(filter(None, about))}")
    return names
