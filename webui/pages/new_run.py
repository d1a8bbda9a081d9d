"""`/runs/new`: the form that the declarations of the settings make, judged by the code that judges the command line."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from webui.auth.trail import record
from webui.orders import order
from webui.reading.form import Judged, command_of, groups_of, judged, preset_values, presets, values_of
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("new_run", __name__, url_prefix="/runs/new")


@blueprint.get("")
def form() -> ResponseReturnValue:
    """The form, filled in by a preset, or with the settings of an earlier run."""
    preset = request.args.get("preset", "smoke")
    if source := request.args.get("from"):
        return _form(judged(values_of(services().records.run(source).config)), source=source)
    return _form(judged(preset_values(preset)), preset=preset)


@blueprint.post("/check")
def check() -> ResponseReturnValue:
    """What is wrong with the fields as they stand, and the command that they amount to; changes nothing."""
    found = judged(request.form)
    return {"errors": found.errors, "command": command_of(found.config) if found.config else ""}


@blueprint.post("")
def start() -> ResponseReturnValue:
    """Queue the run, or show the form again with what is wrong."""
    found = judged(request.form)
    if found.config is None:
        return _form(found), 422
    here = services()
    try:
        made = order("run", {"settings": _changed(found.config)}, here.settings.home)
    except ConfigError as error:
        words = " ".join(filter(None, (f"{error.what}.", error.why, error.fix)))
        return _form(Judged(found.values, {"": words}, None)), 422
    job = here.jobs.submit(g.user, made.kind, made.title, made.request)
    record("start run", object=job.id)
    flash(f"Queued: {made.title}", "ok")
    return redirect(url_for("overview.index"))


def _form(found: Judged, *, preset: str = "", source: str = "") -> str:
    return render_template(
        "runs/new.html",
        groups=groups_of(),
        values=found.values,
        errors=found.errors,
        command=command_of(found.config) if found.config else "",
        presets=presets(),
        preset=preset,
        source=source,
    )


def _changed(config: RunConfig) -> dict[str, object]:
    default = RunConfig().to_mapping()
    return {key: value for key, value in config.to_mapping().items() if value != default[key]}
