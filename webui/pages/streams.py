"""`/api/v1/events` and `/api/v1/runs/<id>/events`: server-sent events (`webui.live`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from webui.live import BusyError, Lease
from webui.services import Services, services

__all__ = ["blueprint"]

blueprint = Blueprint("live", __name__, url_prefix="/api/v1")
_AGAIN_S = 15


@blueprint.get("/events")
def events() -> ResponseReturnValue:
    """One message whenever a job, a run or the worker changed."""
    return _answer(services().hub.home(_lease(), _after(), _allowed()))


@blueprint.get("/runs/<id>/events")
def run_events(id: str) -> ResponseReturnValue:
    """Every event of a run as it is written, then `end`."""
    record = services().records.run(id).record
    return _answer(services().hub.run(_lease(), record, _after(), _allowed()))


def _lease() -> Lease:
    try:
        return services().hub.lease(g.user.id, request.args.get("tab", "")[:40] or g.request_id)
    except BusyError as error:
        raise TooManyRequests(error.what, retry_after=_AGAIN_S) from None


def _after() -> int:
    """The last number that the reader saw; a reader that is new has seen nothing."""
    text = request.headers.get("Last-Event-ID") or request.args.get("after", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


def _allowed() -> Callable[[], bool]:
    """Whether the session is still one, asked without keeping it alive: a page that is only open is not in use."""
    here: Services = services()
    user_id, number = g.user.id, g.session.number

    def allowed() -> bool:
        return any(each.number == number for each in here.sessions.of(user_id)) and not here.users.get(user_id).disabled

    return allowed


def _answer(frames: Iterator[str]) -> Response:
    return Response(frames, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
