"""What somebody at the door may not get: in by guessing, in by another's session, or out to another site."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from tests.webui.conftest import BASE, PASSWORD, Browser, Clock
from webui.app import create_app
from webui.auth.guard import safe_path
from webui.services import Services
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role, User


@pytest.fixture
def guarded(settings: Settings, clock: Clock, services: Services) -> Flask:
    """The same home with its limits on."""
    return create_app(replace(settings, limits=True), clock=clock)


def test_after_five_wrong_passwords_the_account_rests_for_a_while(
    guarded: Flask, make_user: Callable[..., User]
) -> None:
    make_user(Role.VIEWER, "vera"), make_user(Role.VIEWER, "victor")
    browser = Browser(guarded.test_client())
    for _ in range(5):
        assert browser.post("/login", data={"name": "vera", "password": "wrong"}).status_code == 401
    refused = browser.post("/login", data={"name": "Vera ", "password": PASSWORD})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60
    assert browser.post("/login", data={"name": "victor", "password": PASSWORD}).status_code == 302


def test_guessing_names_from_one_address_is_slowed_too(guarded: Flask) -> None:
    browser = Browser(guarded.test_client())
    token = {"X-CSRF-Token": browser.token()}
    answers = [
        browser.client.post("/login", base_url=BASE, headers=token, data={"name": f"n{i}", "password": "x"})
        for i in range(31)
    ]
    assert [each.status_code for each in answers] == [401] * 30 + [429]


def test_right_passwords_do_not_count(guarded: Flask, make_user: Callable[..., User]) -> None:
    make_user(Role.VIEWER, "vera")
    browser = Browser(guarded.test_client())
    for _ in range(8):
        assert browser.post("/login", data={"name": "vera", "password": PASSWORD}).status_code == 302
        browser.post("/login/leave")


def test_codes_are_guessed_no_faster_than_passwords(guarded: Flask, make_user: Callable[..., User]) -> None:
    make_user(Role.ADMIN, "anna")
    browser = Browser(guarded.test_client())
    browser.post("/login", data={"name": "anna", "password": PASSWORD})
    answers = [browser.post("/login/totp", data={"code": f"{i:06}"}).status_code for i in range(6)]
    assert answers == [401] * 5 + [429]


def test_the_time_does_not_tell_whether_a_name_exists(services: Services, make_user: Callable[..., User]) -> None:
    # What a login spends its time on, without the noise of HTTP: CPU time of this thread, alternating.
    user, cost = make_user(Role.VIEWER, "vera"), {"known": [], "unknown": []}
    stored = services.users.credentials(user.name)
    assert stored is not None
    for _ in range(60):
        for name, work in (
            ("known", lambda: services.passwords.matches(stored.password_hash, "wrong")),
            ("unknown", lambda: services.passwords.waste("wrong")),
        ):
            began = time.thread_time()
            work()
            cost[name].append(time.thread_time() - began)
    ratio = statistics.median(cost["known"]) / statistics.median(cost["unknown"])
    assert 0.8 < ratio < 1.25


def test_a_session_that_was_planted_before_the_login_opens_nothing(
    app: Flask, nobody: Browser, make_user: Callable[..., User]
) -> None:
    make_user(Role.VIEWER, "vera")
    nobody.client.set_cookie("__Host-sid", "planted", domain="localhost", secure=True)
    nobody.post("/login", data={"name": "vera", "password": PASSWORD})
    assert nobody.cookie() not in (None, "planted")
    attacker = app.test_client()
    attacker.set_cookie("__Host-sid", "planted", domain="localhost", secure=True)
    assert attacker.get("/account", base_url=BASE).status_code == 302


def test_the_cookie_is_one_that_scripts_and_other_sites_cannot_use(
    nobody: Browser, make_user: Callable[..., User]
) -> None:
    make_user(Role.VIEWER, "vera")
    answer = nobody.post("/login", data={"name": "vera", "password": PASSWORD})
    (cookie,) = [each for each in answer.headers.getlist("Set-Cookie") if each.startswith("__Host-sid=")]
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie and "Expires" not in cookie and "Max-Age" not in cookie
    (other,) = [each for each in answer.headers.getlist("Set-Cookie") if each.startswith("__Host-form=")]
    assert "Secure" in other and "HttpOnly" in other


def test_the_database_holds_nothing_that_opens_a_session(services: Services, client_as: Callable[..., Browser]) -> None:
    id = client_as(Role.ADMIN).cookie()
    assert id is not None and len(id) >= 43
    for path in services.settings.folder.glob("webui.sqlite*"):
        assert id.encode() not in path.read_bytes()


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(client_as: Callable[..., Browser], clock: Clock) -> None:
    browser, other = client_as(Role.VIEWER, "vera"), client_as(Role.VIEWER, "victor")
    for _ in range(28):  # used every 25 minutes
        clock.now += 25 * 60
        assert browser.get("/account").status_code == 200
    assert other.get("/account").status_code == 302  # not used for that long
    clock.now += 25 * 60  # over twelve hours now
    assert browser.get("/account").status_code == 302


def test_what_an_admin_does_to_a_user_counts_with_the_next_request(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    browser = client_as(Role.OPERATOR)
    assert browser.user is not None
    order = {"preset": "smoke"}
    assert browser.post("/api/v1/runs", json=order).status_code == 202
    services.users.set_role(browser.user.id, Role.VIEWER, browser.user.version)
    assert browser.post("/api/v1/runs", json=order).status_code == 403
    services.users.disable(browser.user.id, browser.user.version + 1)
    assert browser.get("/account").location.startswith("/login")
    services.users.enable(browser.user.id, browser.user.version + 2)
    assert browser.get("/account").location.startswith("/login"), "the session is gone for good"


def test_whoever_becomes_an_admin_proves_more_before_anything_else(
    services: Services, client_as: Callable[..., Browser]
) -> None:
    browser = client_as(Role.VIEWER)
    assert browser.user is not None
    services.users.set_role(browser.user.id, Role.ADMIN, browser.user.version)
    assert browser.get("/admin/users").location.startswith("/login")
    answer = browser.post("/login", data={"name": browser.user.name, "password": PASSWORD})
    assert answer.location == "/login/enrol"


@pytest.mark.parametrize("stage", [Stage.PASSWORD, Stage.ENROL, Stage.TOTP])
def test_half_a_login_opens_only_its_own_step(
    app: Flask, services: Services, make_user: Callable[..., User], stage: Stage
) -> None:
    user = make_user(Role.ADMIN, "anna")
    id = services.sessions.start(user.id, stage, address="", agent="", enrolling="JBSWY3DPEHPK3PXP" * 2)
    browser = Browser(app.test_client())
    browser.client.set_cookie("__Host-sid", id, domain="localhost", secure=True)
    steps = {"/login/password": Stage.PASSWORD, "/login/enrol": Stage.ENROL, "/login/totp": Stage.TOTP}
    assert {path: browser.get(path).status_code for path in steps} == {
        path: 200 if wanted is stage else 404 for path, wanted in steps.items()
    }
    assert browser.get("/api/v1/runs").status_code == 401
    assert browser.get("/admin/users").status_code == 302


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "\\\\evil", "/a\nb", "/\t/evil", ""]
)
def test_a_login_never_leads_to_another_site(nobody: Browser, make_user: Callable[..., User], target: str) -> None:
    make_user(Role.VIEWER, "vera")
    assert nobody.post("/login", data={"name": "vera", "password": PASSWORD, "next": target}).location == "/"


@given(st.text(max_size=20))
def test_whatever_stands_after_next_stays_here(target: str) -> None:
    path = safe_path(target)
    assert path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
