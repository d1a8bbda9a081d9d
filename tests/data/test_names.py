from __future__ import annotations

import pytest

from secure_fl.data.names import printable


@pytest.mark.parametrize("name", ["cat/0001.png", "Müller 猫.jpg", "a b", ""])
def test_an_ordinary_name_in_any_script_stays_as_it_is(name: str) -> None:
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2Jcat.png", "\\x1b[2Jcat.png"),
        ("two\nlines", "two\\nlines"),
        ("gnp.\u202etxt", "gnp.\\u202etxt"),
        (b"\xff.png".decode("utf-8", "surrogateescape"), "\\udcff.png"),
    ],
)
def test_a_name_cannot_steer_a_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown
