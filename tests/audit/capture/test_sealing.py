"""audit/capture/sealing.py: only the recipient opens it, and no altered bit passes."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.sealing import SealError, open_sealed, seal

AUDITOR = X25519PrivateKey.from_private_bytes(b"\x01" * 32)
EPHEMERAL = X25519PrivateKey.from_private_bytes(b"\x02" * 32)


@given(st.binary(max_size=2000))
def test_the_recipient_opens_what_was_sealed(plaintext: bytes) -> None:
    blob = seal(plaintext, AUDITOR.public_key())
    assert open_sealed(blob, AUDITOR) == plaintext
    assert len(blob) == len(plaintext) + 88


def test_the_blob_is_what_the_module_says_computed_by_hand() -> None:
    head = b"SFLSEAL1" + EPHEMERAL.public_key().public_bytes_raw() + AUDITOR.public_key().public_bytes_raw()
    shared = AUDITOR.exchange(EPHEMERAL.public_key())
    extracted = hmac.digest(bytes(32), shared, "sha256")
    key = hmac.digest(extracted, head + b"\x01", "sha256")
    assert seal(b"secret", AUDITOR.public_key(), ephemeral=EPHEMERAL) == head + ChaCha20Poly1305(key).encrypt(
        bytes(12), b"secret", head
    )


def test_a_blob_of_version_1_can_be_opened_for_ever() -> None:
    blob = seal(b"secret", AUDITOR.public_key(), ephemeral=EPHEMERAL)
    assert hashlib.sha256(blob).hexdigest() == "4c8f2d21261554fb59f6893b9e165387e50e04083eba7fbcb9483c3d832297f0"


def test_two_blobs_of_one_plaintext_have_nothing_in_common_behind_the_head() -> None:
    first, second = (seal(bytes(64), AUDITOR.public_key()) for _ in range(2))
    assert first[8:40] != second[8:40] and first[72:] != second[72:]


def test_every_altered_byte_and_every_cut_is_refused() -> None:
    blob = seal(b"secret", AUDITOR.public_key())
    for at in range(len(blob)):
        for bit in (1, 128):
            with pytest.raises(SealError):
                open_sealed(blob[:at] + bytes([blob[at] ^ bit]) + blob[at + 1 :], AUDITOR)
        with pytest.raises(SealError):
            open_sealed(blob[:at], AUDITOR)
    with pytest.raises(SealError, match="altered"):
        open_sealed(blob + b"\0", AUDITOR)


def test_another_key_does_not_open_it_and_learns_whose_it_is() -> None:
    with pytest.raises(SealError, match=f"sealed for the key {AUDITOR.public_key().public_bytes_raw().hex()}"):
        open_sealed(seal(b"secret", AUDITOR.public_key()), EPHEMERAL)


def test_a_public_key_that_shares_no_secret_is_refused() -> None:
    with pytest.raises(ValueError):
        seal(b"secret", X25519PublicKey.from_public_bytes(bytes(32)))
    blob = b"SFLSEAL1" + bytes(32) + AUDITOR.public_key().public_bytes_raw() + bytes(22)
    with pytest.raises(SealError, match="altered"):
        open_sealed(blob, AUDITOR)
