"""Opens the records of one direction of a TLS 1.3 session with its traffic secrets (RFC 8446 sections 5.2, 5.3, 7.1 to
7.3).

Each record carries an authentication tag over its header and content under a key that only the two ends and the
auditor hold: what opens is what was sent, in the order in which it was sent.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from audit.decode.handshake import FINISHED, KEY_UPDATE, Malformed

__all__ = ["SUITES", "Opener13", "Suite13", "expand_label"]

MAX_CIPHERTEXT_BYTES = (1 << 14) + 256
_TAG_BYTES = 16
_APPLICATION = 23


@dataclass(frozen=True)
class Suite13:
    """One cipher suite of RFC 8446 appendix B.4."""

    name: str
    cipher: type[AESGCM] | type[ChaCha20Poly1305]
    key_bytes: int
    hash: type[hashes.SHA256] | type[hashes.SHA384]


SUITES: Mapping[int, Suite13] = {
    0x1301: Suite13("TLS_AES_128_GCM_SHA256", AESGCM, 16, hashes.SHA256),
    0x1302: Suite13("TLS_AES_256_GCM_SHA384", AESGCM, 32, hashes.SHA384),
    0x1303: Suite13("TLS_CHACHA20_POLY1305_SHA256", ChaCha20Poly1305, 32, hashes.SHA256),
}


def expand_label(secret: bytes, label: bytes, length: int, algorithm: hashes.HashAlgorithm) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
    full = b"tls13 " + label
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return HKDFExpand(algorithm, length, info).derive(secret)


class Opener13:
    """Opens records in order. It changes keys by itself when it hears Finished and KeyUpdate."""

    version = "TLS 1.3"

    def __init__(self, suite: Suite13, handshake_secret: bytes, application_secret: bytes) -> None:
        self._suite, self._algorithm = suite, suite.hash()
        self._application = application_secret
        self._finished = False
        self._use(handshake_secret)

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = self._suite.cipher(expand_label(secret, b"key", self._suite.key_bytes, self._algorithm))
        self._iv = int.from_bytes(expand_label(secret, b"iv", 12, self._algorithm), "big")
        self._number = 0

    @staticmethod
    def room(body: memoryview) -> int:
        """Bytes that `open` writes for a record with this body."""
        return max(0, len(body) - _TAG_BYTES)

    def open(self, header: memoryview, body: memoryview, into: memoryview) -> tuple[int, int]:
        """Decrypt one record to the beginning of `into` (of `room` bytes); its inner type and the content's length.

        Raises `Malformed` if it does not authenticate.
        """
        if header[0] != _APPLICATION or not _TAG_BYTES < len(body) <= MAX_CIPHERTEXT_BYTES:
            raise Malformed("a record that TLS 1.3 does not allow here")
        try:
            self._cipher.decrypt_into((self._iv ^ self._number).to_bytes(12, "big"), body, header, into)
        except InvalidTag:
            raise Malformed("a record that does not authenticate") from None
        self._number += 1
        size = len(into)
        kind = into[size - 1]
        if not kind:  # padding: zeros behind the type
            content = bytes(into).rstrip(b"\0")
            size = len(content)
            if not size:
                raise Malformed("a record of padding only")
            kind = content[-1]
        return kind, size - 1

    def heard(self, message: int, *, last: bool) -> None:
        """Learn of a handshake message of this direction. `last`: it ends its record, as it must before new keys."""
        if message not in (FINISHED, KEY_UPDATE):
            return
        if not last or (message == FINISHED) == self._finished:
            raise Malformed("new keys in the middle of a record, or out of turn")
        if message == FINISHED:
            self._finished = True
            self._use(self._application)
        else:
            size = hashlib.new(self._algorithm.name).digest_size
            self._use(expand_label(self._secret, b"traffic upd", size, self._algorithm))
