"""The primitives give the answers of their standards, and ours are put together from them as described."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.signing import SigningKey

from secure_fl.secagg import keys
from secure_fl.secagg.errors import WeakKey

TRANSCRIPT = bytes(range(32))
P = 2**255 - 19


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def test_x25519_agrees_as_in_rfc_7748() -> None:
    # Section 5.2, first vector; section 6.1.
    scalar = h("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = h("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert keys.shared_secret(scalar, point) == h("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    alice = h("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = h("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert keys.public_of(alice) == h("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert keys.public_of(bob) == h("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    agreed = h("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert keys.shared_secret(alice, keys.public_of(bob)) == agreed
    assert keys.shared_secret(bob, keys.public_of(alice)) == agreed


def test_ed25519_signs_as_in_rfc_8032() -> None:
    # Section 7.1, TEST 2 and TEST 3.
    for secret, public, message, signature in (
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ):
        assert Ed25519PrivateKey.from_private_bytes(h(secret)).sign(h(message)) == h(signature)
        assert keys.verify(h(public), h(message), h(signature))
        assert not keys.verify(h(public), h(message) + b"\0", h(signature))
        assert not keys.verify(h(public)[:-1], h(message), h(signature))


NEUTRAL = (1).to_bytes(32, "little")
# Points of order 1, 2, 4, 4, 8, as RFC 8032 writes them.
SMALL_ORDER = [
    NEUTRAL,
    (P - 1).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    h("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]


@pytest.mark.parametrize("identity", SMALL_ORDER, ids=bytes.hex)
def test_no_signature_stands_for_many_texts_under_an_identity_of_small_order(identity: bytes) -> None:
    signature = NEUTRAL + bytes(32)  # R neutral, S = 0: for one text in the order of the identity, or for each
    texts = [bytes([number]) for number in range(100)]
    assert sum(openssl_verifies(identity, text, signature) for text in texts) > 1
    assert not any(keys.verify(identity, text, signature) for text in texts)


def test_a_signature_whose_point_is_of_small_order_or_whose_number_is_too_large_is_refused() -> None:
    own = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public, signature = own.public_key().public_bytes_raw(), own.sign(b"text")
    assert keys.verify(public, b"text", signature)
    order = 2**252 + 27742317777372353535851937790883648493
    larger = int.from_bytes(signature[32:], "little") + order
    assert not keys.verify(public, b"text", signature[:32] + larger.to_bytes(32, "little"))
    assert not any(keys.verify(public, b"text", point + signature[32:]) for point in SMALL_ORDER)


def test_what_either_library_signs_both_verify_and_neither_what_was_altered() -> None:
    for number in range(30):
        own = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(bytes([number])).digest())
        public, text = own.public_key().public_bytes_raw(), bytes(range(number))
        signature = own.sign(text)
        assert signature == SigningKey(own.private_bytes_raw()).sign(text).signature
        assert keys.verify(public, text, signature)
        assert openssl_verifies(public, text, signature)
        for at in range(64):
            flipped = signature[:at] + bytes([signature[at] ^ 1 << number % 8]) + signature[at + 1 :]
            assert not keys.verify(public, text, flipped)
            assert not openssl_verifies(public, text, flipped)


def openssl_verifies(identity: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def test_hkdf_derives_as_in_rfc_5869() -> None:
    # Appendix A.1: SHA-256, 42 bytes.
    found = HKDF(SHA256(), 42, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA))).derive(b"\x0b" * 22)
    assert found == h("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")


def test_gcm_seals_as_in_the_specification() -> None:
    # McGrew and Viega, the submission that became NIST SP 800-38D, appendix B: test cases 14 and 16 (AES-256).
    zeros = AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), b"")
    assert zeros == h("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
    sealed = AESGCM(h("feffe9928665731c6d6a8f9467308308" * 2)).encrypt(
        h("cafebabefacedbaddecaf888"),
        h(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        h("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    assert sealed == h(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )


def test_a_derived_key_is_hkdf_over_transcript_purpose_and_both_indexes() -> None:
    info = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (b"secure-fl secagg v1", b"mask", (3).to_bytes(4, "big") + (500).to_bytes(4, "big"))
    )
    extracted = hmac.digest(TRANSCRIPT, b"secret", hashlib.sha256)
    expected = hmac.digest(extracted, info + b"\x01", hashlib.sha256)
    assert keys.derive(b"secret", TRANSCRIPT, "mask", 3, 500) == expected


def test_both_ends_derive_one_mask_seed_and_a_key_for_each_direction() -> None:
    one, other = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()
    seed = keys.mask_seed(one, keys.public_of(other), TRANSCRIPT, 4, 9)
    assert seed == keys.mask_seed(other, keys.public_of(one), TRANSCRIPT, 9, 4)
    assert seed != keys.mask_seed(one, keys.public_of(other), bytes(32), 4, 9)
    assert keys.sealing_key(seed, TRANSCRIPT, 4, 9) != keys.sealing_key(seed, TRANSCRIPT, 9, 4)


def test_a_seal_opens_for_its_transcript_sender_and_recipient_only() -> None:
    key = bytes(range(32))
    sealed = keys.seal(key, b"two shares", TRANSCRIPT, 4, 9)
    assert len(sealed) == len(b"two shares") + keys.TAG
    assert keys.unseal(key, sealed, TRANSCRIPT, 4, 9) == b"two shares"
    assert keys.unseal(key, sealed, bytes(32), 4, 9) is None
    assert keys.unseal(key, sealed, TRANSCRIPT, 9, 4) is None
    assert keys.unseal(bytes(32), sealed, TRANSCRIPT, 4, 9) is None
    for at in range(len(sealed)):
        flipped = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert keys.unseal(key, flipped, TRANSCRIPT, 4, 9) is None


def low_order_points() -> list[int]:
    """Each coordinate of order 1, 2, 4 or 8 that there is, with either value of the bit that X25519 ignores."""
    octets = [
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    ]
    return [value + (high << 255) for value in [0, 1, P - 1, P, P + 1, *octets] for high in (0, 1)]


@pytest.mark.parametrize("value", low_order_points(), ids=hex)
def test_a_point_of_low_order_is_refused_as_the_library_would(value: int) -> None:
    public = value.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.from_private_bytes(b"\x07" * 32).exchange(X25519PublicKey.from_public_bytes(public))
    with pytest.raises(WeakKey) as refused:
        keys.refuse_low_order(public, 6)
    assert refused.value.sites == (6,)


def test_other_points_are_not_refused() -> None:
    for value in [2, 3, 9, P - 2, P + 2, *(int.from_bytes(hashlib.sha256(bytes([k])).digest()) for k in range(50))]:
        public = (value % 2**256).to_bytes(32, "little")
        keys.refuse_low_order(public, 0)
        keys.shared_secret(b"\x07" * 32, public)
