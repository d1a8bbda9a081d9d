"""How a refusal looks: a page for people, `application/problem+json` (RFC 9457) for programs.

Both say what happened, why, what to do, and the request's number, under which the log has the rest. Neither shows a
traceback or a path of this machine.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flask import Flask, Response, g, jsonify, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError, SecurityError

from secure_fl.errors import ConfigError, DataError, NotFoundError, SecureFLError
from webui.auth.guard import is_api
from webui.auth.trail import record
from webui.store.users import StaleError

__all__ = ["Problem", "install", "wants_json"]

_STATUS: dict[type[SecureFLError], int] = {ConfigError: 422, DataError: 422, NotFoundError: 404, StaleError: 409}
_WORDS = {
    400: ("This request cannot be read", "", "Go back, reload the page and try again."),
    401: ("You are not logged in", "", "Log in, then try again."),
    403: ("You may not do this", "Your role does not allow it.", "Ask an admin if it should."),
    404: ("There is nothing here", "It does not exist, or it is not for you to see.", "Check the address."),
    405: ("This cannot be done this way", "", ""),
    413: ("This is too large", "", "Send less at once."),
    415: ("This kind of content is not accepted", "", ""),
    429: ("Too many tries", "", "Wait for a moment, then try again."),
    500: (
        "Something went wrong here",
        "It is a fault of ours.",
        "Try again; if it stays, tell an admin the number below.",
    ),
    503: ("Too much to do just now", "", "Try again in a moment."),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What the page and the JSON are made of."""

    status: int
    what: str
    why: str
    fix: str
    code: str


def install(app: Flask) -> None:
    """Let `app` answer every error in one of the two forms."""
    app.register_error_handler(SecureFLError, _foreseen)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _unforeseen)


def wants_json() -> bool:
    """Whether a program asks: by the address, or by preferring JSON to HTML."""
    best = request.accept_mimetypes.best_match(("text/html", "application/json", "application/problem+json"))
    return is_api() or (best != "text/html" and bool(request.accept_mimetypes))


def _foreseen(error: SecureFLError) -> Response:
    by_class = next((_STATUS[each] for each in type(error).__mro__ if each in _STATUS), 409)
    answer = _answer(Problem(getattr(error, "http_status", by_class), error.what, error.why, error.fix, error.code))
    if pause_s := getattr(error, "retry_after_s", None):
        answer.headers["Retry-After"] = str(pause_s)
    return answer


def _refused(error: HTTPException) -> Response:
    if isinstance(error, SecurityError):  # asked under a name that is not ours: no address can be written into a page
        return Response("This server does not answer to that name.\n", 400, mimetype="text/plain")
    status = error.code or 500
    what, why, fix = _WORDS.get(status, (error.name, "", ""))
    if isinstance(error, CSRFError):
        record("csrf", "refused", object=f"{request.method} {request.path}")
        why, fix = (
            "The page was open for too long, or the request came from elsewhere.",
            "Reload the page and try again.",
        )
    answer = _answer(Problem(status, what, why, fix, error.name.upper().replace(" ", "_")))
    kept = {"Allow", "Retry-After", "WWW-Authenticate", "Location"}
    for name, value in error.get_headers(request.environ):
        if name in kept:
            answer.headers[name] = value
    return answer


def _unforeseen(error: Exception) -> Response:
    _log.error("request %s", g.get("request_id"), exc_info=error)
    return _refused(InternalServerError())


def _answer(problem: Problem) -> Response:
    number = g.get("request_id", "")
    if not wants_json():
        body = render_template("error.html", problem=problem, request_id=number)
        return Response(body, problem.status, mimetype="text/html")
    document = {
        "type": f"urn:secure-fl:problem:{problem.code.lower().replace('_', '-')}",
        "title": problem.what,
        "status": problem.status,
        "detail": problem.why,
        "hint": problem.fix,
        "request_id": number,
    }
    answer = jsonify(document)
    answer.status_code, answer.mimetype = problem.status, "application/problem+json"
    return answer
