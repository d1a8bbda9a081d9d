"""Other sites cannot make a browser of ours change anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.webui.conftest import BASE, Browser
from webui.services import Services
from webui.store.users import Role


def test_without_the_token_nothing_happens(services: Services, client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.OPERATOR)
    for headers in ({}, {"X-CSRF-Token": "wrong"}):
        answer = browser.client.post("/api/v1/runs", base_url=BASE, json={"preset": "smoke"}, headers=headers)
        assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert services.jobs.latest() == []
    assert services.actions.latest(limit=1)[0].action == "csrf"


def test_the_token_of_another_browser_is_worth_nothing(services: Services, client_as: Callable[..., Browser]) -> None:
    browser, other = client_as(Role.OPERATOR, "otto"), client_as(Role.OPERATOR, "olga")
    browser.token()
    answer = browser.client.post(
        "/api/v1/runs", base_url=BASE, json={"preset": "smoke"}, headers={"X-CSRF-Token": other.token()}
    )
    assert answer.status_code == 400
    assert services.jobs.latest() == []


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 202)])
def test_a_request_that_the_browser_says_is_from_elsewhere_is_refused(
    client_as: Callable[..., Browser], site: str, status: int
) -> None:
    browser = client_as(Role.OPERATOR)
    answer = browser.post("/api/v1/runs", json={"preset": "smoke"}, headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status


def test_a_login_is_protected_too(nobody: Browser) -> None:
    assert nobody.client.post("/login", base_url=BASE, data={"name": "a", "password": "b"}).status_code == 400
