"""The second factor against the vectors of RFC 6238, appendix B (SHA-1, the last six of the eight digits)."""

from __future__ import annotations

import base64

import pytest

from webui.auth.totp import matching_step, new_secret, qr_svg, uri

SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_the_rfc(now: int, code: str) -> None:
    assert matching_step(SECRET, code, now) == now // 30
    assert matching_step(SECRET, f"{code[:3]} {code[3:]}", now + 30) == now // 30  # as apps show it, a little late
    assert matching_step(SECRET, code, now + 60) is None
    assert matching_step(SECRET, code, max(now - 60, 30)) is None or now < 90


@pytest.mark.parametrize("code", ["", "28708", "2870820", "٢٨٧٠٨٢", "287082\0", "abcdef"])
def test_anything_else_is_no_code(code: str) -> None:
    assert matching_step(SECRET, code, 59) is None


def test_the_qr_code_says_what_an_app_needs_and_runs_nothing() -> None:
    secret = new_secret()
    assert len(base64.b32decode(secret)) == 20
    assert uri(secret, "anna") == f"otpauth://totp/Secure%20FL:anna?secret={secret}&issuer=Secure%20FL"
    picture = qr_svg(secret, "anna")
    assert picture.startswith(b"<?xml") and b"<svg" in picture
    assert b"script" not in picture and secret.encode() not in picture
