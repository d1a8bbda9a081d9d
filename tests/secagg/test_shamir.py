"""Any t shares open the secret, t − 1 fit every secret, and a short source of randomness is refused."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.secagg import shamir
from secure_fl.secagg.shamir import PRIME


def interpolated(points: dict[int, int], at: int) -> int:
    """The textbook: Lagrange's polynomial through the points, in rationals, reduced modulo p at the end."""
    value = Fraction(0)
    for x, y in points.items():
        term = Fraction(y)
        for other in points:
            if other != x:
                term *= Fraction(at - other, x - other)
        value += term
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def points_of(shares: dict[int, bytes]) -> dict[int, int]:
    return {holder + 1: int.from_bytes(share, "big") for holder, share in shares.items()}


def draws(count: int) -> bytes:
    return hashlib.shake_256(b"coefficients").digest(count)


@given(
    secret=st.binary(min_size=32, max_size=32),
    holders=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9, unique=True),
    data=st.data(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_threshold_of_shares_opens_the_secret(secret: bytes, holders: list[int], data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, len(holders)))
    shares = shamir.split(secret, threshold, holders, random=draws)
    chosen = data.draw(st.permutations(holders))[:threshold]
    some = {holder: shares[holder] for holder in chosen}
    assert shamir.combine(some) == secret
    assert interpolated(points_of(some), 0) == int.from_bytes(secret, "big")


def test_shares_are_the_values_of_the_polynomial_that_was_drawn() -> None:
    secret, drawn = bytes(range(32)), draws(96)
    low, high = (int.from_bytes(drawn[at : at + 48], "big") for at in (0, 48))
    shares = shamir.split(secret, 3, [0, 7, 40], random=draws)
    for holder, share in shares.items():
        x = holder + 1
        assert int.from_bytes(share, "big") == (int.from_bytes(secret, "big") + low * x + high * x * x) % PRIME


def test_the_largest_secrets_and_largest_indexes_work() -> None:
    shares = shamir.split(b"\xff" * 32, 2, [0, 2**32 - 1], random=draws)
    assert {len(share) for share in shares.values()} == {shamir.SHARE}
    assert shamir.combine(shares) == b"\xff" * 32


def test_one_share_less_than_the_threshold_fits_every_secret() -> None:
    shares = shamir.split(bytes(32), 3, range(5), random=os.urandom)
    for pair in combinations(shares, 2):
        known = points_of({holder: shares[holder] for holder in pair})
        for secret in (0, 1, 2**256 - 1):
            # There is a share of a third holder with which the two open to any secret whatever.
            third = interpolated({**known, 0: secret}, 9)
            assert shamir.combine({**{h: shares[h] for h in pair}, 8: third.to_bytes(33, "big")}) == secret.to_bytes(32)


def test_shares_that_open_to_no_secret_of_32_bytes_give_none() -> None:
    assert shamir.combine({0: (2**256 + 5).to_bytes(33, "big")}) is None


def test_the_modulus_is_prime() -> None:
    """Miller and Rabin to many bases: a composite would be caught by each with probability 3/4."""
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 66):
        value = pow(base, odd, PRIME)
        assert value in (1, PRIME - 1) or any(pow(value, 2**step, PRIME) == PRIME - 1 for step in range(1, twos)), base


@pytest.mark.parametrize(("secret", "threshold"), [(bytes(31), 2), (bytes(33), 2), (bytes(32), 0)])
def test_another_length_or_no_threshold_is_refused(secret: bytes, threshold: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        shamir.split(secret, threshold, [0, 1], random=draws)


def test_a_source_that_gives_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer bytes"):
        shamir.split(bytes(32), 3, [0, 1, 2], random=lambda count: draws(count - 1))


def test_a_commitment_is_to_kind_slot_owner_holder_and_value() -> None:
    usual = ("self share", bytes(32), 1, 2, bytes(33))
    found = {
        shamir.commitment(*usual),
        shamir.commitment("key share", *usual[1:]),
        shamir.commitment(usual[0], b"\1" * 32, *usual[2:]),
        shamir.commitment(*usual[:2], 2, 1, usual[4]),
        shamir.commitment(*usual[:4], b"\1" * 33),
    }
    assert len(found) == 5
