"""The way in, step by step, as a person takes it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyotp
import pytest

from tests.webui.conftest import PASSWORD, TOTP_SECRET, Browser, Clock
from webui.services import Services
from webui.store.users import Role, User


def test_a_user_with_the_right_password_is_in(nobody: Browser, make_user: Callable[..., User]) -> None:
    make_user(Role.VIEWER, "vera")
    answer = nobody.post("/login", data={"name": "vera", "password": PASSWORD, "next": "/runs?x=1"})
    assert (answer.status_code, answer.location) == (302, "/runs?x=1")
    assert nobody.get("/account").status_code == 200


def test_a_new_admin_replaces_the_password_sets_up_a_second_factor_and_is_in(
    nobody: Browser, services: Services, clock: Clock
) -> None:
    services.users.add("anna", Role.ADMIN, services.passwords.hash("one-time"))
    seen = [nobody.cookie()]
    assert nobody.post("/login", data={"name": "anna", "password": "one-time"}).location == "/login/password"
    seen.append(nobody.cookie())
    assert nobody.get("/account").location == "/login/password"  # nothing else is open yet
    assert nobody.post("/login/password", data={"password": PASSWORD, "again": PASSWORD}).location == "/login/enrol"
    seen.append(nobody.cookie())
    assert nobody.get("/login/qr.svg").mimetype == "image/svg+xml"
    secret = re.search(r'class="secret">([A-Z2-7]+)<', nobody.get("/login/enrol").text)
    assert secret is not None
    assert nobody.post("/login/enrol", data={"code": "000000"}).status_code == 401
    assert nobody.post("/login/enrol", data={"code": pyotp.TOTP(secret[1]).at(int(clock()))}).location == "/"
    seen.append(nobody.cookie())
    assert nobody.get("/account").status_code == 200
    assert len(set(seen)) == len(seen), "each step has a session of its own"


def test_a_code_is_good_once(nobody: Browser, make_user: Callable[..., User], clock: Clock) -> None:
    make_user(Role.ADMIN, "anna")
    code = pyotp.TOTP(TOTP_SECRET).at(int(clock()))
    for expected in (302, 401):
        nobody.post("/login/leave")
        assert nobody.post("/login", data={"name": "anna", "password": PASSWORD}).location == "/login/totp"
        assert nobody.post("/login/totp", data={"code": code}).status_code == expected


@pytest.mark.parametrize("name", ["vera", "nobody-of-that-name"])
def test_a_wrong_name_and_a_wrong_password_look_alike(
    nobody: Browser, make_user: Callable[..., User], name: str
) -> None:
    make_user(Role.VIEWER, "vera")
    answer = nobody.post("/login", data={"name": name, "password": "wrong"})
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert name not in answer.text


def test_whoever_logs_out_is_out_and_so_is_a_copy_of_the_cookie(
    client_as: Callable[..., Browser], services: Services
) -> None:
    browser = client_as("viewer")
    stolen = browser.cookie()
    assert browser.post("/login/leave").location == "/login"
    assert stolen is not None
    browser.client.set_cookie("__Host-sid", stolen, domain="localhost", secure=True)
    assert browser.get("/account").status_code == 302
