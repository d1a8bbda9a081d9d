"""`/system`: the machine, our processes on it, and the worker's health."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webui.reading.host import host_of
from webui.services import services

__all__ = ["blueprint", "recent"]

blueprint = Blueprint("system", __name__)
_SPANS = {"hour": (1, 3600), "day": (10, 24 * 3600)}
_POINTS = 240


@blueprint.get("/system")
def index() -> ResponseReturnValue:
    """The page."""
    return render_template("system/index.html", **_state())


@blueprint.get("/system/part")
def part() -> ResponseReturnValue:
    """What changes on it."""
    return render_template("system/part.html", **_state())


def recent(span: str = "hour") -> list[dict[str, Any]]:
    """The worker's samples of the last hour or day, thinned to what a line can show."""
    here = services()
    step_s, length_s = _SPANS[span]
    return _thinned(here.samples.since(step_s, here.clock() - length_s))


def _state() -> dict[str, Any]:
    here = services()
    span = request.args.get("span", "hour")
    span = span if span in _SPANS else "hour"
    samples = recent(span)
    return {
        "host": host_of(here.settings.home),
        "samples": samples,
        "latest": samples[-1] if samples else None,
        "worker": here.jobs.worker(),
        "now_s": here.clock(),
        "span": span,
    }


def _thinned(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    step = max(1, len(samples) // _POINTS)
    return [*samples[:-1:step], *samples[-1:]]
