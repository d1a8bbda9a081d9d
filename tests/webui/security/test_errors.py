"""A refusal says what happened and what to do, in the form that was asked for, and nothing about our insides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from secure_fl.errors import ConfigError, NotFoundError, SecureFLError
from tests.webui.conftest import BASE, Browser
from webui.store.users import Role, StaleError

SECRET = "the canary sings at /home/anna"


@pytest.fixture
def failing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Let `/healthz` raise."""

    def fail(error: Exception) -> None:
        def view() -> None:
            raise error

        monkeypatch.setitem(app.view_functions, "health.alive", view)

    return fail


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("no such run", fix="look again"), 404),
        (ConfigError("rounds is -1", why="too few", fix="more"), 422),
        (StaleError("changed"), 409),
        (SecureFLError("cannot"), 409),
        (RuntimeError(SECRET), 500),
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json", "application/problem+json"])
def test_each_error_has_its_status_in_both_forms(
    nobody: Browser, failing: Callable[[Exception], None], error: Exception, status: int, accept: str
) -> None:
    failing(error)
    answer = nobody.get("/healthz", headers={"Accept": accept})
    assert answer.status_code == status
    assert answer.mimetype == ("text/html" if accept == "text/html" else "application/problem+json")
    assert "canary" not in answer.text and "Traceback" not in answer.text
    if isinstance(error, SecureFLError):
        assert error.what in answer.text and error.fix in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/healthz", 405), ("GET", "/api/v1/nothing", 404), ("PUT", "/login", 405)],
)
def test_what_is_not_there_has_a_page_too(nobody: Browser, method: str, path: str, status: int) -> None:
    token = {"X-CSRF-Token": nobody.token()}
    answer = nobody.client.open(path, method=method, base_url=BASE, headers=token)
    assert answer.status_code == status
    assert "request" in answer.text


def test_too_much_is_413_and_the_wrong_kind_415(client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.OPERATOR)
    assert browser.post("/api/v1/runs", data=b"x" * (8 * 1024 * 1024 + 1)).status_code in (413, 415)
    assert browser.post("/api/v1/runs", data=b"{}", content_type="text/plain").status_code == 415
    assert browser.post("/api/v1/runs", data=b"{", content_type="application/json").status_code == 400
    big = b'{"preset": "' + b"x" * (8 * 1024 * 1024) + b'"}'
    assert browser.post("/api/v1/runs", data=big, content_type="application/json").status_code == 413


def test_the_number_of_a_request_leads_to_its_row_in_the_log(client_as: Callable[..., Browser], services) -> None:  # type: ignore[no-untyped-def]
    answer = client_as(Role.VIEWER).get("/admin/users")
    assert answer.status_code == 403
    assert services.actions.latest(limit=1)[0].request_id in answer.text


@pytest.mark.parametrize(
    "word", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a" * 5000, "..\\..", "%252e%252e%252f"]
)
def test_a_path_leads_nowhere_else(app: Flask, client_as: Callable[..., Browser], run_id: str, word: str) -> None:
    browser = client_as(Role.ADMIN)
    for path in (
        f"/static/{word}",
        f"/static/{word}/webui.sqlite",
        f"/runs/{word}",
        f"/runs/{run_id}/files/{word}",
        f"/runs/{run_id}/files/{word}/{word}/webui/secret.key",
        f"/audits/{word}",
        f"/audits/{run_id}/files/{word}",
        f"/attacks/{word}",
        f"/api/v1/runs/{word}",
        f"/api/v1/jobs/{word}",
        f"/api/v1/audits/{word}.html",
        f"/admin/users/{word}",
    ):
        answer = browser.get(path)
        assert answer.status_code in (301, 302, 308, 400, 404, 405), (path, answer.status_code)
        assert "root:" not in answer.text
