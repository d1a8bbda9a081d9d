"""The second factor: time-based one-time codes (RFC 6238, 30 s, six digits), and their QR code.

A code is good for its own time step and one before and after, and once: whoever looks over a shoulder is too late.
"""

from __future__ import annotations

import io

import pyotp
import segno

__all__ = ["matching_step", "new_secret", "qr_svg", "uri"]

STEP_S = 30
ISSUER = "Secure FL"


def new_secret() -> str:
    """160 random bits in Base32, as authenticator apps read them."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, now_s: float) -> int | None:
    """The time step that `code` belongs to, of the three that count now; None for a wrong code."""
    totp, step = pyotp.TOTP(secret), int(now_s) // STEP_S
    digits = "".join(code.split())
    found = [each for each in (step - 1, step, step + 1) if pyotp.utils.strings_equal(totp.generate_otp(each), digits)]
    return found[-1] if found else None


def uri(secret: str, name: str) -> str:
    """What the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def qr_svg(secret: str, name: str) -> bytes:
    """The QR code as a picture of its own: black on white in both themes, as scanners want it."""
    out = io.BytesIO()
    segno.make(uri(secret, name), error="m").save(out, kind="svg", scale=5, border=4, dark="#000", light="#fff")
    return out.getvalue()
