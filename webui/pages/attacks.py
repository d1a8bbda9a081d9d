"""`/attacks`: which defense survives which attack, and one simulation round by round."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from secure_fl.errors import NotFoundError
from secure_fl.lab.library import bundled, bundled_names
from webui.auth.trail import record
from webui.orders import order
from webui.reading.attacks import Lab, Matrix, bout_of, lab_of, labs_of
from webui.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("attacks", __name__, url_prefix="/attacks")
# What the form offers; the command line has them all (docs/reference).
_ATTACKS = ("sign_flip", "alie", "ipm", "gaussian", "min_max", "mimic", "label_flip", "backdoor_patch")
_DEFENSES = ("median", "trimmed_mean", "krum", "multi_krum", "bulyan", "geometric_median", "nnm+trimmed_mean")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The comparisons that there are, and the scenarios that can be played."""
    return render_template(
        "attacks/index.html",
        labs=labs_of(services().settings.home),
        scenarios=[(name, bundled(name)) for name in bundled_names()],
        attacks=_ATTACKS,
        defenses=_DEFENSES,
    )


@blueprint.get("/<name>")
def lab(name: str) -> ResponseReturnValue:
    """One comparison: a matrix for each number of attackers and α, and the bout that the query picks."""
    found = lab_of(services().settings.home, name)
    matrix = _matrix(found)
    return render_template("attacks/lab.html", lab=found, matrix=matrix, **_bout(found, matrix))


@blueprint.post("/compare")
def compare() -> ResponseReturnValue:
    """Queue a comparison."""
    wish = {
        "attacks": request.form.getlist("attack"),
        "defenses": request.form.getlist("defense"),
        "seeds": request.form.get("seeds", ""),
        "rounds": request.form.get("rounds", ""),
        "byzantine": request.form.get("byzantine", ""),
        "alpha": request.form.get("alpha", ""),
    }
    return _queue("compare", wish)


@blueprint.post("/replay")
def replay() -> ResponseReturnValue:
    """Queue a scenario again under some defenses."""
    return _queue("replay", {"scenario": request.form.get("scenario", ""), "defenses": request.form.getlist("defense")})


def _queue(kind: str, wish: dict[str, Any]) -> ResponseReturnValue:
    here = services()
    made = order(kind, wish, here.settings.home)
    job = here.jobs.submit(g.user, made.kind, made.title, made.request)
    record(f"start {kind}", object=job.id)
    flash(f"Queued: {made.title}", "ok")
    return redirect(url_for("overview.index"))


def _matrix(found: Lab) -> Matrix:
    at = request.args.get("at", 0, int)
    return found.matrices[at if 0 <= at < len(found.matrices) else 0]


def _bout(found: Lab, matrix: Matrix) -> dict[str, Any]:
    """The simulation that was picked; without a pick the first attack against the first real defense."""
    hostile, defended = [each for each in matrix.attacks if each], [each for each in matrix.defenses if each != "mean"]
    attack = request.args.get("attack", hostile[0])
    defense = request.args.get("defense", (defended or ["mean"])[0])
    seed = request.args.get("seed", found.seeds[0], int)
    try:
        return {"bout": bout_of(found, matrix, defense, attack, seed), "missing": ""}
    except NotFoundError as error:
        return {"bout": None, "missing": f"{error.what}: {error.why}" if error.why else error.what}
