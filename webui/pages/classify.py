"""`/classify`: drop a picture, get a class; `/models`: which model answers, and who lets one in."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from secure_fl.errors import IntegrityError, ModelFileError, NotFoundError
from webui.auth.trail import record
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("classify", __name__)


@blueprint.get("/classify")
def page() -> ResponseReturnValue:
    """The drop zone; without a model, what to do about it."""
    try:
        return render_template("classify/page.html", model=services().models.current(), fault=None)
    except (NotFoundError, ModelFileError, IntegrityError) as fault:
        return render_template("classify/page.html", model=None, fault=fault)


@blueprint.get("/models")
def models() -> ResponseReturnValue:
    """Models of finished runs, proposals, and the one in service."""
    runs = [each for each in services().records.rows() if each.status == "succeeded"]
    return render_template("classify/models.html", runs=runs, promotions=services().serving.list())


@blueprint.post("/models/propose")
def propose() -> ResponseReturnValue:
    """Propose a run's model for service."""
    run_id = request.form.get("run", "")
    run = services().records.run(run_id)
    if run.config.attack:
        raise ModelFileError(f"the model of run {run_id} is for study only", why="an attack was simulated on it")
    services().serving.propose(run_id, services().models.model_sha256_of(run_id), g.user.id)
    record("proposed a model", object=run_id)
    flash(f"The model of run {run_id} is proposed; an auditor decides.", "ok")
    return redirect(url_for("classify.models"))


@blueprint.post("/models/<id>/approve")
def approve(id: str) -> ResponseReturnValue:
    """Put a proposed model in service."""
    services().serving.approve(id, g.user.id, _version())
    record("approved a model", object=id)
    flash("The model is in service.", "ok")
    return redirect(url_for("classify.models"))


@blueprint.post("/models/<id>/refuse")
def refuse(id: str) -> ResponseReturnValue:
    """Turn a proposal down."""
    services().serving.refuse(id, g.user.id, _version())
    record("refused a model", object=id)
    flash("The proposal is turned down.", "info")
    return redirect(url_for("classify.models"))


def _version() -> int:
    text = request.form.get("version", "")
    return int(text) if text.isdigit() else -1
