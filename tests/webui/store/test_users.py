"""Accounts, and what happens when two admins change one at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from secure_fl.errors import ConfigError, NotFoundError
from webui.services import Services
from webui.store.users import Role, StaleError, User


def test_two_admins_racing_lose_nothing(services: Services, make_user: Callable[..., User]) -> None:
    user = make_user(Role.VIEWER, "vera")
    done: list[str] = []
    start = threading.Barrier(8)

    def change(role: Role) -> None:
        start.wait()
        try:
            services.users.set_role(user.id, role, user.version)
        except StaleError:
            done.append("told")
        else:
            done.append("changed")

    threads = [threading.Thread(target=change, args=(role,)) for role in list(Role) * 2]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(done) == ["changed", *["told"] * 7]
    assert services.users.get(user.id).version == user.version + 1


def test_the_last_admin_stays_one(services: Services, make_user: Callable[..., User]) -> None:
    anna = make_user(Role.ADMIN, "anna")
    with pytest.raises(ConfigError, match="last admin"):
        services.users.set_role(anna.id, Role.VIEWER, anna.version)
    with pytest.raises(ConfigError, match="last admin"):
        services.users.disable(anna.id, anna.version)
    make_user(Role.ADMIN, "bea")
    services.users.set_role(anna.id, Role.VIEWER, anna.version)
    assert services.users.get(anna.id).role is Role.VIEWER


@pytest.mark.parametrize("name", ["", "a", "9lives", "a b", "a/b", "<b>", "x" * 33, "anna\n", "анна"])
def test_a_name_that_could_be_mistaken_is_refused(services: Services, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        services.users.add(name, Role.VIEWER, "")


def test_a_name_is_taken_whatever_its_letters(services: Services) -> None:
    services.users.add("anna", Role.VIEWER, "")
    with pytest.raises(ConfigError, match="already"):
        services.users.add("ANNA", Role.VIEWER, "")


def test_there_is_nobody_until_somebody_is_made(services: Services) -> None:
    assert services.users.all() == []
    assert services.users.credentials("admin") is None
    with pytest.raises(NotFoundError):
        services.users.get("1")


def test_a_time_step_counts_once_also_for_two_at_once(services: Services, make_user: Callable[..., User]) -> None:
    user = make_user(Role.ADMIN, "anna")
    used: list[bool] = []
    threads = [threading.Thread(target=lambda: used.append(services.users.use_totp_step(user.id, 7))) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(used) == [False] * 5 + [True]
    assert not services.users.use_totp_step(user.id, 6)


def test_credentials_show_nothing_when_printed(services: Services, make_user: Callable[..., User]) -> None:
    make_user(Role.ADMIN, "anna")
    known = services.users.credentials("anna")
    assert known is not None and known.password_hash not in repr(known)
