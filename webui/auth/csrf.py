"""A state changes only when a page of ours asked for it (cross-site request forgery).

Two checks on every unsafe method: a token bound to the browser (Flask-WTF; `X-CSRF-Token` or the field `csrf_token`),
and `Sec-Fetch-Site`, in which the browser itself says where the request came from. The referrer is not looked at: our
own `Referrer-Policy` suppresses it.
"""

from __future__ import annotations

from flask import Flask, abort, request
from flask_wtf.csrf import CSRFProtect

from webui.auth.trail import record

__all__ = ["protect", "protection"]

_SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
protection = CSRFProtect()


def protect(app: Flask) -> None:
    """Check every unsafe request of `app`."""
    app.config |= {
        "WTF_CSRF_SSL_STRICT": False,
        "WTF_CSRF_TIME_LIMIT": 12 * 60 * 60,
        "WTF_CSRF_HEADERS": ["X-CSRF-Token"],
    }
    app.before_request(_same_site)
    protection.init_app(app)


def _same_site() -> None:
    if request.method not in _SAFE and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        record("cross-site request", "refused", object=request.path)
        abort(403)
