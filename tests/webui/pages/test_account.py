"""What everybody does about themselves."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyotp
import pytest

from tests.webui.conftest import PASSWORD, Browser, Clock
from webui.services import Services
from webui.store.users import Role, User

NEW = "another phrase of words"


def test_a_new_password_ends_the_other_sessions_if_wanted(
    services: Services, make_user: Callable[..., User], browser_of: Callable[[User], Browser]
) -> None:
    user = make_user(Role.VIEWER, "vera")
    here, there = browser_of(user), browser_of(user)
    change = {"current": PASSWORD, "password": NEW, "again": NEW}
    assert here.post("/account/password", data=change).status_code == 302
    assert there.get("/account").status_code == 200
    change = {"current": NEW, "password": PASSWORD, "again": PASSWORD, "end_others": "on"}
    assert here.post("/account/password", data=change).status_code == 302
    assert (here.get("/account").status_code, there.get("/account").status_code) == (200, 302)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current": "wrong"}, "current password is wrong"),
        ({"password": "short", "again": "short"}, "5 characters"),
        ({"password": "vera likes tea", "again": "vera likes tea"}, "your name"),
        ({"again": "something else"}, "not the same"),
    ],
)
def test_a_change_that_cannot_be_says_why(
    client_as: Callable[..., Browser], change: dict[str, str], words: str
) -> None:
    data = {"current": PASSWORD, "password": NEW, "again": NEW} | change
    answer = client_as(Role.VIEWER, "vera").post("/account/password", data=data)
    assert answer.status_code == 422 and words in answer.text


def test_sessions_are_listed_and_can_be_ended_by_their_owner_only(
    services: Services, make_user: Callable[..., User], browser_of: Callable[[User], Browser]
) -> None:
    vera, victor = make_user(Role.VIEWER, "vera"), make_user(Role.VIEWER, "victor")
    here, there, foreign = browser_of(vera), browser_of(vera), browser_of(victor)
    numbers = {each.number for each in services.sessions.of(vera.id)}
    assert all(number in here.get("/account").text or "this one" in here.get("/account").text for number in numbers)
    assert [foreign.post(f"/account/sessions/{number}/end").status_code for number in numbers] == [404, 404]
    assert here.post("/account/sessions/end-others").status_code == 302
    assert (here.get("/account").status_code, there.get("/account").status_code) == (200, 302)


def test_the_theme_is_kept_and_written_into_the_page(client_as: Callable[..., Browser]) -> None:
    browser = client_as(Role.VIEWER)
    assert 'data-theme="auto"' in browser.get("/account").text
    assert browser.post("/account/theme", data={"theme": "dark", "next": "//evil.example"}).location == "/"
    assert 'data-theme="dark"' in browser.get("/account").text
    assert browser.post("/account/theme", data={"theme": "neon"}).status_code == 422


def test_anybody_may_set_up_a_second_factor(
    services: Services, client_as: Callable[..., Browser], clock: Clock
) -> None:
    browser = client_as(Role.VIEWER, "vera")
    assert browser.post("/account/second-factor", data={"current": "wrong"}).status_code == 422
    assert browser.post("/account/second-factor", data={"current": PASSWORD}).location == "/login/enrol"
    secret = re.search(r'class="secret">([A-Z2-7]+)<', browser.get("/login/enrol").text)
    assert secret is not None
    browser.post("/login/enrol", data={"code": pyotp.TOTP(secret[1]).at(int(clock()))})
    assert "not set up" not in browser.get("/account").text
    assert browser.post("/account/second-factor", data={"current": PASSWORD}).status_code == 409
    browser.post("/login/leave")
    assert browser.post("/login", data={"name": "vera", "password": PASSWORD}).location == "/login/totp"
