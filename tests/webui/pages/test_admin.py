"""What admins do to accounts, and the log that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.webui.conftest import PASSWORD, Browser
from webui.services import Services
from webui.store.users import Role, User


@pytest.fixture
def anna(client_as: Callable[..., Browser]) -> Browser:
    return client_as(Role.ADMIN, "anna")


def test_a_new_user_gets_in_with_the_password_that_is_shown_once(anna: Browser, nobody: Browser) -> None:
    shown = anna.post("/admin/users", data={"name": "vera", "role": "viewer"})
    password = re.search(r"<code>([0-9a-f-]{27})</code>", shown.text)
    assert shown.status_code == 200 and password is not None
    assert "vera" in anna.get("/admin/users").text
    answer = nobody.post("/login", data={"name": "vera", "password": password[1]})
    assert answer.location == "/login/password"
    same = {"password": password[1], "again": password[1]}
    assert nobody.post("/login/password", data=same).status_code == 422
    assert nobody.post("/login/password", data={"password": PASSWORD, "again": "else"}).status_code == 422
    assert nobody.post("/login/password", data={"password": PASSWORD, "again": PASSWORD}).location == "/"


@pytest.mark.parametrize("data", [{"name": "vera", "role": "owner"}, {"name": "<b>", "role": "viewer"}, {}])
def test_what_is_no_user_is_refused_with_a_reason(anna: Browser, services: Services, data: dict[str, str]) -> None:
    answer = anna.post("/admin/users", data=data)
    assert answer.status_code == 422 and "What to do" in answer.text
    assert [user.name for user in services.users.all()] == ["anna"]


def test_a_change_on_top_of_another_admins_change_is_refused(
    anna: Browser, client_as: Callable[..., Browser], make_user: Callable[..., User], services: Services
) -> None:
    bea, vera = client_as(Role.ADMIN, "bea"), make_user(Role.VIEWER, "vera")
    seen = {"version": vera.version}
    first = anna.post(f"/admin/users/{vera.id}/role", data=seen | {"role": "operator"})
    second = bea.post(f"/admin/users/{vera.id}/disable", data=seen)
    assert (first.status_code, second.status_code) == (302, 409)
    assert "meanwhile" in second.text
    now = services.users.get(vera.id)
    assert (now.role, now.disabled) == (Role.OPERATOR, False)


def test_a_session_that_an_admin_ends_is_over(
    anna: Browser, client_as: Callable[..., Browser], services: Services
) -> None:
    browser = client_as(Role.OPERATOR, "otto")
    assert browser.user is not None
    (session,) = services.sessions.of(browser.user.id)
    assert session.number in anna.get(f"/admin/users/{browser.user.id}").text
    path = f"/admin/users/{browser.user.id}/sessions/{session.number}/end"
    assert (anna.post(path).status_code, anna.post(path).status_code) == (302, 404)
    assert browser.get("/account").status_code == 302


def test_a_reset_takes_everything_that_proved_who_it_was(
    anna: Browser, make_user: Callable[..., User], services: Services, nobody: Browser
) -> None:
    bea = make_user(Role.AUDITOR, "bea")
    shown = anna.post(f"/admin/users/{bea.id}/reset", data={"version": bea.version})
    assert shown.status_code == 200
    assert (services.users.get(bea.id).must_change, services.users.get(bea.id).totp) == (True, False)
    assert nobody.post("/login", data={"name": "bea", "password": PASSWORD}).status_code == 401


def test_the_log_shows_what_was_done_and_whether_it_was_altered(
    anna: Browser, make_user: Callable[..., User], services: Services
) -> None:
    vera = make_user(Role.VIEWER, "vera")
    anna.post(f"/admin/users/{vera.id}/role", data={"version": vera.version, "role": "operator"})
    page = anna.get("/admin/log").text
    assert "role changed" in page and "vera to operator" in page and "Nothing was altered" in page
    (row,) = [json.loads(line) for line in anna.get("/admin/log.jsonl").text.splitlines()]
    assert (row["seq"], row["action"], row["user_name"]) == (1, "role changed", "anna")
    with services.database.writing() as connection:
        connection.execute("UPDATE actions SET object = 'nothing'")
    assert "The log was altered" in anna.get("/admin/log").text


def test_a_long_log_comes_in_pages(anna: Browser, services: Services) -> None:
    for number in range(120):
        services.actions.add("did", "ok", object=f"thing-{number}.")
    page = anna.get("/admin/log").text
    assert "thing-119." in page and "thing-19." not in page
    older = re.search(r'href="(/admin/log\?before=\d+)"', page)
    assert older is not None
    assert "thing-19." in anna.get(older[1]).text
