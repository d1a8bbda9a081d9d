"""`/`: what runs, what waits, and how the last runs went."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

__all__ = ["blueprint"]

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """The page that a login leads to."""
    return render_template("overview.html")
