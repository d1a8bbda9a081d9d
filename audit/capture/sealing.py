"""Session secrets under lock: anyone may carry the bundle, only the auditor can open it.

A sealed blob is

    "SFLSEAL1" ‖ ephemeral X25519 public key (32) ‖ recipient's public key (32) ‖ ChaCha20-Poly1305 ciphertext and tag

under the key HKDF-SHA256(X25519(ephemeral, recipient), info = head), with all 72 bytes of the head as associated data:
the construction of RFC 9180 (HPKE) and of age, in its simplest form. The nonce is zero because each key is used once.
Assumption: the sender's random generator. Not given: who sealed it (the bundle's signature says that), nor secrecy of
the past once the auditor's key is lost.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["SealError", "open_sealed", "seal"]

_MAGIC = b"SFLSEAL1"
_HEAD_BYTES = len(_MAGIC) + 32 + 32
_NONCE = bytes(12)


class SealError(Exception):
    """A blob that this key does not open: of another kind, for somebody else, or altered."""


def seal(plaintext: bytes, recipient: X25519PublicKey, *, ephemeral: X25519PrivateKey | None = None) -> bytes:
    """`plaintext` for the recipient alone; 88 bytes longer. `ephemeral` is a seam for known answers: never reuse one.

    Raises `ValueError` for a public key of low order, under which everybody would know the secret.
    """
    own = ephemeral or X25519PrivateKey.generate()
    head = _MAGIC + own.public_key().public_bytes_raw() + recipient.public_bytes_raw()
    return head + _cipher(own.exchange(recipient), head).encrypt(_NONCE, plaintext, head)


def open_sealed(blob: bytes, key: X25519PrivateKey) -> bytes:
    """The plaintext; raises `SealError` unless `blob` was sealed for this key and not one bit of it has changed."""
    head = blob[:_HEAD_BYTES]
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        raise SealError("this is no sealed blob")
    if head[-32:] != key.public_key().public_bytes_raw():
        raise SealError(f"sealed for the key {head[-32:].hex()}, which this is not")
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(head[8:40]))
        return _cipher(shared, head).decrypt(_NONCE, blob[_HEAD_BYTES:], head)
    except (InvalidTag, ValueError):
        raise SealError("the sealed blob was altered") from None


def _cipher(shared: bytes, head: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(algorithm=SHA256(), length=32, salt=None, info=head).derive(shared))
