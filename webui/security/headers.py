"""The headers of every response. No inline script or style exists, so the policy needs no nonce and no exception."""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response, request
from flask.typing import ResponseReturnValue

from webui.auth.csrf import protection
from webui.auth.limits import limiter
from webui.services import services

__all__ = ["blueprint", "install"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; "
    "report-uri /csp-report"
)
_ALWAYS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_CAMERA_PAGE = "classify.page"
_YEAR_S = 365 * 24 * 60 * 60
blueprint = Blueprint("security", __name__)


def install(app: Flask) -> None:
    """Add the headers to whatever `app` answers."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    response.headers.update(_ALWAYS)
    camera = "(self)" if request.endpoint == _CAMERA_PAGE else "()"
    response.headers["Permissions-Policy"] = f"camera={camera}, microphone=(), geolocation=(), payment=(), usb=()"
    if not services().settings.insecure_http:
        response.headers["Strict-Transport-Security"] = f"max-age={_YEAR_S}"
    if request.endpoint != "static":  # nothing that is only for one user stays in a cache, or behind the Back button
        response.headers["Cache-Control"] = "no-store"
    elif "v" in request.args:  # a name with its hash in it never changes its content
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
    return response


@blueprint.post("/csp-report")
@limiter.limit("10 per minute")
@protection.exempt  # type: ignore[untyped-decorator]  # browsers send no token along
def csp_report() -> ResponseReturnValue:
    """Browsers tell here what the policy stopped; it goes to the log, cut short and on one line."""
    logging.getLogger(__name__).warning("content security policy: %r", request.get_data()[:1000])
    return "", 204
