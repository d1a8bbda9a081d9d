"""Passwords: Argon2id (RFC 9106), and what is too easy to guess.

One lane and at most two computations at once: a flood of logins costs 128 MiB and two threads, and never starves the
pages. A name that nobody has costs the same time as a wrong password (`waste`), so the time tells no names.
Length counts and composition does not (OWASP ASVS 5.0, 6.2): 12 to 128 characters, taken verbatim.
"""

from __future__ import annotations

import secrets
from importlib import resources
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = ["LONGEST", "SHORTEST", "Passwords", "one_time_password", "refusal"]

SHORTEST, LONGEST = 12, 128
_OURS = ("secure-fl", "securefl", "secure fl", "federated", "commandcenter", "command center", "password", "passwort")
_FEWEST_DIFFERENT = 5


class Passwords:
    """Hashes and verifies, two at a time."""

    def __init__(self, *, memory_kib: int) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=memory_kib, parallelism=1)
        self._turn = BoundedSemaphore(2)
        self._nobody = self.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """The PHC string to store."""
        with self._turn:
            return self._hasher.hash(password)

    def matches(self, stored: str, password: str) -> bool:
        """Whether `password` is the one behind `stored`."""
        if len(password) > LONGEST:
            password = ""  # the same time, and never a match: no stored password is empty
        with self._turn:
            try:
                return self._hasher.verify(stored, password)
            except (VerificationError, InvalidHashError):
                return False

    def waste(self, password: str) -> None:
        """Take as long as `matches` would, for a name that nobody has."""
        self.matches(self._nobody, password)

    def outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


def refusal(password: str, name: str) -> str:
    """Why `password` may not be the password of the user `name`; empty if it may."""
    lower = password.lower()
    if not SHORTEST <= len(password) <= LONGEST:
        return f"it has {len(password)} characters; take {SHORTEST} to {LONGEST}"
    if len(set(lower)) < _FEWEST_DIFFERENT:
        return "it repeats a few characters; take a phrase of several words"
    if lower in _common():
        return "it is among the passwords that are tried first; take another"
    if any(word in lower for word in (name.lower(), *_OURS)):
        return "it contains your name or a word of this program, which is tried first; take another"
    return ""


def one_time_password() -> str:
    """For the first login of an account: 96 bits, to be typed once."""
    return "-".join(secrets.token_hex(3) for _ in range(4))


def _common() -> frozenset[str]:
    """The common passwords that are long enough to pass otherwise (from Django's list, public domain)."""
    text = (resources.files("webui.auth") / "common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(text.splitlines())
