"""The API against its own document: by an independent judge, and by the promises that no schema can state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.webui.conftest import Browser
from webui.api.document import openapi
from webui.services import Services
from webui.store.users import Role, User

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
ORDER = {"preset": "smoke", "settings": {"grid": "local", "rounds": 1}}


def logged_in(app: Flask, browser: Browser) -> Callable[..., Iterable[bytes]]:
    """The application as a browser that is logged in reaches it: over TLS, with its cookies and its token."""
    token = browser.token()
    cookies = "; ".join(f"{name}={browser.cookie(name)}" for name in ("__Host-sid", "__Host-form"))

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        more = {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost", "HTTP_COOKIE": cookies}
        return app.wsgi_app(environ | more | {"HTTP_X_CSRF_TOKEN": token}, start)

    return application


@pytest.mark.usefixtures("run_id")
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_an_independent_judge_finds_no_server_error_and_nothing_undocumented(
    app: Flask, client_as: Callable[..., Browser], mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", logged_in(app, client_as(Role.ADMIN)))
    asked = sum(
        judged(found.ok(), mode)
        for found in schema.get_all_operations()
        if not found.ok().path.endswith("/events")  # a stream has no end to wait for
    )
    assert asked > 50


def judged(operation: Any, mode: GenerationMode) -> int:
    """Ask one operation with made-up values; returns how often."""
    asked = 0

    @settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def judge(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(checks=CHECKS)

    judge()
    return asked


def test_every_route_is_documented_and_every_documented_path_is_a_route(app: Flask) -> None:
    methods = {"get", "post", "put", "patch", "delete"}
    documented = {(path, method) for path, item in openapi()["paths"].items() for method in item.keys() & methods}
    served = set()
    with app.test_request_context(base_url="https://localhost"):
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith("/api/"):
                path = "".join(f"{{{part}}}" if is_dynamic else part for is_dynamic, part in rule._trace).lstrip("|")
                served |= {(path, method.lower()) for method in (rule.methods or set()) if method.lower() in methods}
    assert documented == served


def test_an_order_is_taken_once_however_often_it_is_sent(services: Services, client_as: Callable[..., Browser]) -> None:
    browser, key = client_as(Role.OPERATOR), {"Idempotency-Key": "monday"}
    first = browser.post("/api/v1/runs", json=ORDER, headers=key)
    again = browser.post("/api/v1/runs", json=ORDER, headers=key)
    other = browser.post("/api/v1/runs", json=ORDER | {"preset": "demo"}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert first.json == again.json
    assert first.location == f"/api/v1/jobs/{first.json['id']}"
    assert len(services.jobs.latest()) == 1


def test_pages_of_a_list_have_everything_once(services: Services, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.OPERATOR)
    orders = [browser.post("/api/v1/runs", json=ORDER).json["id"] for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = browser.get(f"/api/v1/jobs?limit=2{cursor and '&cursor=' + cursor}").json
        seen += [each["id"] for each in page["items"]]
        cursor = page["next"]
    assert seen == orders[::-1]


def test_what_did_not_change_is_not_sent_again(run_id: str, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.VIEWER)
    first = browser.get(f"/api/v1/runs/{run_id}")
    again = browser.get(f"/api/v1/runs/{run_id}", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    assert first.json["progress"]["status"] == "succeeded"
    assert len(first.json["rounds"]) == 3  # two, and the initial model


def test_events_go_on_where_a_reader_stopped(run_id: str, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.VIEWER)
    whole = browser.get(f"/api/v1/runs/{run_id}/metrics").json
    rest = browser.get(f"/api/v1/runs/{run_id}/metrics?after=3&limit=2").json
    assert [each["seq"] for each in whole["items"]] == list(range(whole["last"] + 1))
    assert rest["items"] == whole["items"][4:6]


@pytest.mark.parametrize(
    ("kind", "path", "wish"),
    [
        ("run", "/runs", {"settings": {"rounds": -1}}),
        ("run", "/runs", {"settings": {"no-such-key": 1}}),
        ("run", "/runs", {"preset": "../../etc/passwd"}),
        ("run", "/runs", {"settings": {"dataset": "/etc"}}),
        ("run", "/runs", {"settings": {"weights": "../../secret.safetensors"}}),
        ("run", "/runs", {"settings": {"host": "0.0.0.0"}}),  # noqa: S104
        ("compare", "/comparisons", {"attacks": ["--output=/etc"], "defenses": ["krum"]}),
        ("compare", "/comparisons", {"attacks": ["sign_flip"], "defenses": ["no_such_rule"]}),
        ("audit", "/audits", {"run_id": "20260101-000000-abcd", "what": "delete"}),
        ("resume", "/runs/..%2f..%2fetc/resume", {}),
        ("replay", "/attacks/..%2f..%2fetc/replay", {}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_a_reason_and_queues_nothing(
    services: Services, client_as: Callable[..., Browser], kind: str, path: str, wish: dict[str, Any]
) -> None:
    answer = client_as(Role.ADMIN).post(f"/api/v1{path}", json=wish)
    assert answer.status_code in (404, 422), answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json["title"] and answer.json["request_id"]
    assert services.jobs.latest() == []


def test_an_operator_ends_only_what_is_theirs(
    services: Services, make_user: Callable[..., User], browser_of: Callable[[User], Browser]
) -> None:
    otto, olga, anna = make_user(Role.OPERATOR, "otto"), make_user(Role.OPERATOR, "olga"), make_user(Role.ADMIN, "anna")
    first, second = (browser_of(otto).post("/api/v1/runs", json=ORDER).json["id"] for _ in range(2))
    path = "/api/v1/jobs/{}/cancel"
    assert browser_of(olga).post(path.format(first)).status_code == 403
    assert services.jobs.get(first).state == "queued"
    assert browser_of(otto).post(path.format(first)).json["state"] == "cancelled"
    assert browser_of(anna).post(path.format(second)).json["state"] == "cancelled"


def test_a_program_that_is_not_logged_in_is_told_so_in_json(nobody: Browser) -> None:
    answer = nobody.get("/api/v1/runs")
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert json.loads(answer.data)["status"] == 401
