"""Opens the records of one direction of a TLS 1.2 session with its master secret (RFC 5246 section 6, RFC 5288, RFC
7905).

Only suites that authenticate what they encrypt: ECDHE with AES-GCM or ChaCha20-Poly1305. How the master secret came
about (extended or not, resumed or not) does not matter to whoever holds it.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from audit.decode.handshake import FINISHED, Malformed

__all__ = ["SUITES", "Opener12", "Suite12", "openers"]

MAX_CIPHERTEXT_BYTES = (1 << 14) + 2048
_TAG_BYTES = 16


@dataclass(frozen=True)
class Suite12:
    """One AEAD suite. `explicit_bytes`: of the nonce, in each record; the rest of its 12 bytes comes from the keys."""

    name: str
    cipher: type[AESGCM] | type[ChaCha20Poly1305]
    key_bytes: int
    hash: str
    explicit_bytes: int


SUITES: Mapping[int, Suite12] = {
    0xC02B: Suite12("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", AESGCM, 16, "sha256", 8),
    0xC02F: Suite12("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", AESGCM, 16, "sha256", 8),
    0xC02C: Suite12("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", AESGCM, 32, "sha384", 8),
    0xC030: Suite12("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", AESGCM, 32, "sha384", 8),
    0xCCA8: Suite12("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", ChaCha20Poly1305, 32, "sha256", 0),
    0xCCA9: Suite12("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", ChaCha20Poly1305, 32, "sha256", 0),
}


def openers(suite: Suite12, master: bytes, client_random: bytes, server_random: bytes) -> tuple[Opener12, Opener12]:
    """The client's and the server's, from the key block (RFC 5246 section 6.3)."""
    key, fixed = suite.key_bytes, 12 - suite.explicit_bytes
    block = _prf(master, b"key expansion" + server_random + client_random, 2 * (key + fixed), suite.hash)
    client_iv, server_iv = block[2 * key : 2 * key + fixed], block[2 * key + fixed :]
    return Opener12(suite, block[:key], client_iv), Opener12(suite, block[key : 2 * key], server_iv)


def _prf(secret: bytes, seed: bytes, length: int, algorithm: str) -> bytes:
    """P_hash of RFC 5246 section 5."""
    out, chained = b"", seed
    while len(out) < length:
        chained = hmac.digest(secret, chained, algorithm)
        out += hmac.digest(secret, chained + seed, algorithm)
    return out[:length]


class Opener12:
    """Opens records in order, from the one behind ChangeCipherSpec on."""

    version = "TLS 1.2"

    def __init__(self, suite: Suite12, key: bytes, iv: bytes) -> None:
        self._cipher = suite.cipher(key)
        self._iv, self._explicit = iv, suite.explicit_bytes
        self._number = 0
        self._finished = False

    def room(self, body: memoryview) -> int:
        """Bytes that `open` writes for a record with this body."""
        return max(0, len(body) - self._explicit - _TAG_BYTES)

    def open(self, header: memoryview, body: memoryview, into: memoryview) -> tuple[int, int]:
        """Decrypt one record into `into` (of `room` bytes); its type and the content's length.

        Raises `Malformed` if it does not authenticate.
        """
        if not self._explicit + _TAG_BYTES <= len(body) <= MAX_CIPHERTEXT_BYTES:
            raise Malformed("a record that TLS 1.2 does not allow here")
        if self._explicit:
            nonce = self._iv + body[: self._explicit]
        else:
            nonce = (int.from_bytes(self._iv, "big") ^ self._number).to_bytes(12, "big")
        associated = struct.pack(">Q3sH", self._number, bytes(header[:3]), len(into))
        try:
            self._cipher.decrypt_into(nonce, body[self._explicit :], associated, into)
        except InvalidTag:
            raise Malformed("a record that does not authenticate") from None
        self._number += 1
        return header[0], len(into)

    def heard(self, message: int, *, last: bool) -> None:
        """Learn of an encrypted handshake message: there is one, Finished; anything else negotiates anew."""
        if message != FINISHED or self._finished or not last:
            raise Malformed("a renegotiation")
        self._finished = True
