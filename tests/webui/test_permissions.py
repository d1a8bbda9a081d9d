"""Who may reach what: every route, asked by everybody, against a table that people can read.

`permissions.txt` is written by hand and not derived from the code. A route that is not in it fails the test, so nobody
can add one without saying here who may reach it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from secure_fl.errors import ConfigError
from tests.webui.conftest import BASE, Browser
from webui.auth.guard import PERMISSIONS, check_table
from webui.services import Services
from webui.store.users import Role

IDENTITIES = (None, *Role)
_VALUES = {"tab": "log", "form": "html"}


def golden() -> dict[tuple[str, str], set[str | None]]:
    """(method, path) → who may, from the table."""
    lines = Path(__file__).with_name("permissions.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {
        (method, path): {who for who, mark in zip(IDENTITIES, marks, strict=True) if mark == "yes"}
        for method, path, *marks in rows
    }


def routes(app: Flask) -> list[tuple[str, Rule]]:
    return [
        (method, rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def path_of(rule: Rule) -> str:
    """`/runs/<id>` without the kinds of its parts."""
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", r"<\1>", rule.rule)


def ask(app: Flask, browser: Browser, method: str, rule: Rule) -> TestResponse:
    """Without a CSRF token: whoever passes the guard is stopped there, so asking changes nothing."""
    values = {name: _VALUES.get(name, "1") for name in rule.arguments}
    with app.test_request_context(base_url=BASE):
        path = app.url_map.bind("localhost", url_scheme="https").build(rule.endpoint, values, method=method)
    return browser.client.open(path, method=method, base_url=BASE, buffered=False)


def is_refused(answer: TestResponse, role: Role | None, denials: int) -> bool:
    """By the guard, not for another reason: the door, or a row in the action log that says so."""
    if role is None:
        return answer.status_code == 401 or (answer.location or "").startswith("/login?next=")
    assert denials == 0 or answer.status_code in (403, 404)
    return denials == 1


@pytest.mark.parametrize("role", IDENTITIES, ids=lambda role: role or "anonymous")
def test_every_route_lets_in_whom_the_table_names_and_nobody_else(
    app: Flask, services: Services, client_as: Callable[..., Browser], role: Role | None
) -> None:
    table, browser, wrong = golden(), client_as(role), []

    def denials() -> int:
        return sum(each.action == "denied" for each in services.actions.latest(limit=10**6))

    for method, rule in routes(app):
        before = denials()
        with ask(app, browser, method, rule) as answer:
            refused = is_refused(answer, role, denials() - before)
        if refused == (role in table.get((method, path_of(rule)), set())):
            wrong.append(f"{method} {rule.rule}: {'refused' if refused else 'let in'} ({answer.status_code})")
    assert wrong == []


def test_the_table_has_every_route_and_no_other(app: Flask) -> None:
    assert {(method, path_of(rule)) for method, rule in routes(app)} == golden().keys()


def test_an_endpoint_without_a_permission_stops_the_start(app: Flask) -> None:
    app._got_first_request = False
    app.add_url_rule("/forgotten", "forgotten", lambda: "")
    with pytest.raises(ConfigError, match="forgotten"):
        check_table(app)


def test_a_permission_for_nothing_is_no_permission(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == PERMISSIONS.keys()
