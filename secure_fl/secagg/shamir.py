"""Secrets of 32 bytes shared so that any t holders can open them and t − 1 learn nothing (Shamir 1979).

A share is the value of a random polynomial of degree t − 1 over GF(p) at the holder's point, its roster index + 1; the
secret is the value at 0. p = 2^256 + 297 is the smallest prime above all secrets, so that one field element holds one
secret and a share has 33 bytes. Coefficients are 48 random bytes modulo p: within 2^-127 of uniform.

Plain Shamir does not notice a false share: whoever deals also commits itself to each share and to the secret, and
whoever opens checks (`commitment`). A commitment is a plain digest; what it hides has 256 bits of entropy.
Python's integers do not take constant time: an observer of a site's own processor is out of scope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from secure_fl.secagg import encoding

__all__ = ["PRIME", "SECRET", "SHARE", "combine", "commitment", "split"]

PRIME: Final = 2**256 + 297
SECRET: Final = 32
"""Bytes of a secret."""
SHARE: Final = 33
"""Bytes of a share."""

_DRAWN: Final = 48
_INDEXES: Final = 8  # bytes of owner and holder


def split(secret: bytes, threshold: int, holders: Iterable[int], *, random: Callable[[int], bytes]) -> dict[int, bytes]:
    """One share of 33 bytes for each holder (roster index); any `threshold` of them open the secret of 32 bytes.

    random: n to n secret bytes; it is asked once, for 48 bytes a coefficient, those of the lowest degree first.
    """
    if len(secret) != SECRET or threshold < 1:
        raise ValueError(f"a secret has {SECRET} bytes, and at least one share opens it")
    drawn = random(_DRAWN * (threshold - 1))
    if len(drawn) != _DRAWN * (threshold - 1):
        raise ValueError("the source of randomness gave fewer bytes than asked for: fewer shares would do")
    coefficients = [int.from_bytes(drawn[at : at + _DRAWN], "big") % PRIME for at in range(0, len(drawn), _DRAWN)]
    descending = [*reversed(coefficients), int.from_bytes(secret, "big")]
    shares = {}
    for holder in holders:
        value = 0
        for coefficient in descending:  # Horner
            value = (value * (holder + 1) + coefficient) % PRIME
        shares[holder] = value.to_bytes(SHARE, "big")
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret that exactly these shares (by holder) give, or None where they give none of 32 bytes.

    False shares give a false secret: check it against the owner's commitment.
    """
    holders = tuple(sorted(shares))
    terms = zip(_at_zero(holders), (int.from_bytes(shares[holder], "big") for holder in holders), strict=True)
    secret = sum(weight * value for weight, value in terms) % PRIME
    return None if secret >> (8 * SECRET) else secret.to_bytes(SECRET, "big")


def commitment(kind: str, transcript: bytes, owner: int, holder: int, value: bytes) -> bytes:
    """What an owner signs of a share (or, with itself as the holder, of a secret) without showing it: 32 bytes."""
    return _committing(kind, transcript, len(value))(encoding.index_list((owner, holder)), value)


@lru_cache(maxsize=64)
def _committing(kind: str, transcript: bytes, width: int) -> Callable[[bytes, bytes], bytes]:
    """One slot has n² commitments of a kind."""
    return encoding.pair_digest(kind, transcript, widths=(_INDEXES, width))


@lru_cache(maxsize=256)
def _at_zero(holders: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's weights for the value at 0; the same set of holders opens many secrets in one slot."""
    weights = []
    for one in holders:
        above = below = 1
        for other in holders:
            if other != one:
                above = above * (other + 1) % PRIME
                below = below * (other - one) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
