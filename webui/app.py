"""The application factory. The order in which a request is checked is the order of the lines in `create_app`."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, request

from webui.api import health, predict, v1
from webui.auth import csrf, guard, login
from webui.auth.limits import limiter
from webui.pages import (
    account,
    admin,
    attacks,
    audits,
    classify,
    compare,
    jobs,
    new_run,
    overview,
    privacy,
    runs,
    streams,
    system,
    words,
)
from webui.pages.browsers import browser_name
from webui.security import errors, headers
from webui.services import open_services
from webui.settings import Settings
from webui.store.users import User

__all__ = ["create_app"]

_PAGES = (overview, runs, new_run, jobs, compare, attacks, privacy, audits, system, classify, streams, account, admin)
_PROGRAMS = (v1, predict, health)
BLUEPRINTS = (login.blueprint, headers.blueprint, *(each.blueprint for each in (*_PAGES, *_PROGRAMS)))
_MIB, _KIB = 1024 * 1024, 1024


def create_app(settings: Settings, *, clock: Callable[[], float] = time.time) -> Flask:
    """The Command Center over the home of `settings`.

    Raises:
        ConfigError: an endpoint has no row in the table of permissions.
    """
    app = Flask("webui")
    app.extensions["services"] = open_services(settings, clock)
    app.config |= _config(settings)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {"moment": _moment, "browser": browser_name}
    words.install(app)
    app.before_request(_number_request)
    app.before_request(guard.authorise)
    csrf.protect(app)
    limiter.init_app(app)
    headers.install(app)
    health.count_requests(app)
    errors.install(app)
    app.context_processor(partial(_for_templates, settings))
    app.url_defaults(_static_version)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    guard.check_table(app)
    return app


def _config(settings: Settings) -> dict[str, Any]:
    newest, *older = settings.secret_keys()
    return {
        "SECRET_KEY": newest,
        "SECRET_KEY_FALLBACKS": older,
        "TRUSTED_HOSTS": list(settings.hosts),
        "MAX_CONTENT_LENGTH": 8 * _MIB,
        "MAX_FORM_PARTS": 100,
        "MAX_FORM_MEMORY_SIZE": 64 * _KIB,
        # Flask's own cookie holds the CSRF token and where a login leads to; the session is `store/sessions.py`.
        "SESSION_COOKIE_NAME": "form" if settings.insecure_http else "__Host-form",
        "SESSION_COOKIE_SECURE": not settings.insecure_http,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_PATH": "/",
        "RATELIMIT_ENABLED": settings.limits,
        "PREFERRED_URL_SCHEME": "http" if settings.insecure_http else "https",
    }


def _number_request() -> None:
    g.request_id = secrets.token_hex(8)


def _for_templates(settings: Settings) -> dict[str, Any]:
    user = g.get("user")
    return {
        "user": user,
        "theme": user.theme if user else "auto",
        "can": partial(_can, user),
        "insecure_http": settings.insecure_http,
        "here": request.endpoint or "",
    }


def _can(user: User | None, endpoint: str) -> bool:
    return endpoint in current_app.view_functions and guard.allows(user, endpoint)


def _moment(time_s: float) -> str:
    """`2026-11-24 21:05:09`, in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _static_version(endpoint: str, values: dict[str, Any]) -> None:
    """`url_for("static", …)` names the content, so that browsers may keep a file for ever."""
    if endpoint == "static" and "filename" in values and (version := _hash_of(values["filename"])):
        values.setdefault("v", version)


@cache
def _hash_of(name: str) -> str:
    path = Path(__file__).parent / "static" / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
