"""What every answer carries, whatever it is an answer to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.webui.conftest import BASE, Browser, Clock
from webui.app import create_app
from webui.settings import Settings
from webui.store.users import Role

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "report-uri": "/csp-report",
}


@pytest.mark.parametrize("path", ["/login", "/account", "/nothing-here", "/api/v1/runs", "/healthz", "/static/app.css"])
def test_every_answer_is_protected(nobody: Browser, path: str) -> None:
    headers = nobody.get(path).headers
    assert dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";")) == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["Permissions-Policy"].startswith("camera=(), ")
    assert not [name for name in dict(headers) if name.lower().startswith("access-control-")]


def test_what_is_for_one_user_stays_in_no_cache(client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.VIEWER)
    assert browser.get("/account").headers["Cache-Control"] == "no-store"
    assert browser.get("/api/v1/runs").headers["Cache-Control"] == "no-store"


def test_a_file_whose_address_names_its_content_is_kept_for_ever(app, nobody: Browser) -> None:  # type: ignore[no-untyped-def]
    with app.test_request_context(base_url=BASE):
        address = app.url_for("static", filename="app.css")
    assert "?v=" in address
    assert "immutable" in nobody.get(address).headers["Cache-Control"]
    assert "immutable" not in nobody.get("/static/app.css").headers["Cache-Control"]


def test_no_template_has_a_script_or_a_style_in_it() -> None:
    folder = Path(__file__).resolve().parents[3] / "webui" / "templates"
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8").lower()
        assert "<style" not in text and " style=" not in text, path
        assert " onclick=" not in text and "javascript:" not in text, path
        assert all(" src=" in each.partition(">")[0] for each in text.split("<script")[1:]), path
        assert "|safe" not in text.replace(" ", ""), path


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1:99999", "a b", ""])
def test_a_name_that_is_not_ours_gets_no_answer(nobody: Browser, host: str) -> None:
    answer = nobody.client.get("/login", base_url=BASE, headers={"Host": host} if host else {"Host": "\t"})
    assert answer.status_code == 400
    assert "evil" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8443", "127.0.0.1:1", "fl.example.org"])
def test_our_own_names_do(settings: Settings, clock: Clock, host: str) -> None:
    client = create_app(replace(settings, trusted_hosts=("fl.example.org",)), clock=clock).test_client()
    assert client.get("/login", base_url=f"https://{host}").status_code == 200


def test_plain_http_says_so_and_drops_what_needs_tls(settings: Settings, clock: Clock) -> None:
    client = create_app(replace(settings, insecure_http=True), clock=clock).test_client()
    answer = client.get("/login", base_url="http://localhost")
    assert "Strict-Transport-Security" not in answer.headers
    assert answer.headers["Set-Cookie"].startswith("form=") and "Secure" not in answer.headers["Set-Cookie"]
