"""Keys of one slot: agreement (X25519), derivation (HKDF-SHA256), sealing (AES-256-GCM), identity (Ed25519).

A site makes two key pairs for each slot and signs both with its identity key, which the roster pins out of band: one
pair for masks, whose private half is secret-shared so that others can remove the masks of a site that drops out, and
one for sealing shares, whose private half nobody else ever learns (Bonawitz et al., "Practical secure aggregation for
privacy-preserving machine learning", CCS 2017, figure 4). Whatever two sites derive has the transcript, that is all
terms and all keys, as HKDF's salt (RFC 5869), and purpose and both indexes as its info.

Seals have a zero nonce: their key, one for each direction, seals once. X25519 is not post-quantum: who records a slot
and breaks its keys one day can read it. Nothing here wipes memory; Python keeps freed bytes until they are overwritten.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from secure_fl.secagg import encoding
from secure_fl.secagg.errors import WeakKey

__all__ = [
    "KEY",
    "SIGNATURE",
    "TAG",
    "derive",
    "loaded",
    "mask_seed",
    "public_of",
    "refuse_low_order",
    "seal",
    "sealing_key",
    "shared_secret",
    "unseal",
    "verify",
]

KEY: Final = 32
"""Bytes of every key and seed here."""
SIGNATURE: Final = 64
TAG: Final = 16
"""Bytes by which a seal is longer than what it holds."""

_NONCE: Final = bytes(12)
_FIELD: Final = 2**255 - 19
_ORDER_8: Final = 325606250916557431795983626356110631294008115727848805560023387167927233504
# Every u-coordinate of order 1, 2, 4 or 8, on the curve or its twist, in each of its 255-bit encodings.
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        _ORDER_8,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
        _FIELD,
        _FIELD + 1,
    }
)


def public_of(private: bytes) -> bytes:
    """The X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def refuse_low_order(public: bytes, index: int) -> None:
    """Raise WeakKey for a public key, of the site `index`, with which all agreements are zero (RFC 7748, 6.1)."""
    if int.from_bytes(public, "little") % (1 << 255) in _LOW_ORDER:  # X25519 ignores the highest bit
        raise WeakKey(f"a key of site {index} is a point of low order", sites=[index])


def loaded(private: bytes) -> X25519PrivateKey:
    """Private bytes made ready for many agreements: OpenSSL works the public half out, which costs as much as one."""
    return X25519PrivateKey.from_private_bytes(private)


def shared_secret(private: X25519PrivateKey | bytes, public: bytes) -> bytes:
    """X25519 (RFC 7748): 32 bytes, the same for both ends. `public` has passed `refuse_low_order`."""
    own = loaded(private) if isinstance(private, bytes) else private
    return own.exchange(X25519PublicKey.from_public_bytes(public))


def derive(secret: bytes, transcript: bytes, purpose: str, first: int, second: int) -> bytes:
    """HKDF-SHA256 (RFC 5869): 32 bytes for one purpose between two sites in one slot."""
    info = encoding.statement(purpose, encoding.index_list((first, second)))
    return HKDF(SHA256(), KEY, salt=transcript, info=info).derive(secret)


def mask_seed(private: X25519PrivateKey | bytes, public: bytes, transcript: bytes, one: int, other: int) -> bytes:
    """The seed that two sites have in common; from either's private mask key and the other's public one."""
    return derive(shared_secret(private, public), transcript, "mask", min(one, other), max(one, other))


def sealing_key(secret: bytes, transcript: bytes, sender: int, recipient: int) -> bytes:
    """The key under which one site seals its shares to another, in this direction only."""
    return derive(secret, transcript, "seal", sender, recipient)


def seal(key: bytes, plaintext: bytes, transcript: bytes, sender: int, recipient: int) -> bytes:
    """AES-256-GCM (NIST SP 800-38D) under a key that seals nothing else."""
    return AESGCM(key).encrypt(_NONCE, plaintext, transcript + encoding.index_list((sender, recipient)))


def unseal(key: bytes, ciphertext: bytes, transcript: bytes, sender: int, recipient: int) -> bytes | None:
    """What was sealed, or None where the key or any byte is another."""
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, transcript + encoding.index_list((sender, recipient)))
    except InvalidTag:
        return None


def verify(identity: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (RFC 8032) of this identity stands under these bytes.

    libsodium judges, which also refuses what OpenSSL lets pass: identities and signatures with a point of small order,
    of which one signature stands under many texts (Chalkias et al. 2020, Taming the many EdDSAs, section 3).
    """
    try:
        VerifyKey(identity).verify(signed, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
