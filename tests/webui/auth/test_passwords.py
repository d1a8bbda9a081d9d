"""Which passwords are taken, and how they are kept."""

from __future__ import annotations

import threading

import pytest

from webui.auth import passwords
from webui.auth.passwords import Passwords, one_time_password, refusal


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("eleven char", "11 characters"),
        ("x" * 129, "129 characters"),
        ("aaaaabbbbbaaaa", "repeats"),
        ("telechargement", "tried first"),
        ("q1w2e3r4t5y6", "tried first"),
        ("anna-likes-tea", "your name"),
        ("my Secure-FL login", "word of this program"),
        ("my password is long", "word of this program"),
    ],
)
def test_what_is_guessed_first_is_refused_with_a_reason(password: str, words: str) -> None:
    assert words in refusal(password, "Anna")


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "пароль из слов", "   spaces count   ", "🔑" * 4 + "abcdefgh"]
)
def test_length_counts_and_composition_does_not(password: str) -> None:
    assert refusal(password, "anna") == ""


def test_a_password_is_taken_verbatim() -> None:
    keeper = Passwords(memory_kib=64)
    stored = keeper.hash(" Ünïcode and spaces ")
    assert stored.startswith("$argon2id$v=19$m=64,t=3,p=1$")
    assert keeper.matches(stored, " Ünïcode and spaces ")
    assert not keeper.matches(stored, "Ünïcode and spaces")
    assert not keeper.matches("no hash at all", "x")
    assert not keeper.matches(stored, "x" * 10**6)


def test_a_hash_under_old_parameters_is_known_as_such() -> None:
    assert Passwords(memory_kib=128).outdated(Passwords(memory_kib=64).hash("x"))
    assert not Passwords(memory_kib=64).outdated(Passwords(memory_kib=64).hash("x"))


def test_a_flood_of_logins_computes_two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, gate, seen = Passwords(memory_kib=64), threading.Event(), []
    count, lock = 0, threading.Lock()

    class Slow:
        def verify(self, stored: str, password: str) -> bool:
            nonlocal count
            with lock:
                count += 1
                seen.append(count)
            gate.wait(5)
            with lock:
                count -= 1
            return True

    monkeypatch.setattr(keeper, "_hasher", Slow())
    threads = [threading.Thread(target=keeper.matches, args=("", "x")) for _ in range(8)]
    for each in threads:
        each.start()
    gate.set()
    for each in threads:
        each.join()
    assert len(seen) == 8 and max(seen) <= 2


def test_one_time_passwords_are_all_different_and_long() -> None:
    made = {one_time_password() for _ in range(100)}
    assert len(made) == 100
    assert {len(each) for each in made} == {27}


def test_the_list_of_common_passwords_ships_with_the_package() -> None:
    assert len(passwords._common()) > 150
