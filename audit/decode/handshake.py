"""The few handshake messages of TLS that decryption needs: hellos and certificates (RFC 8446 section 4, RFC 5246
section 7.4).

Readers raise `Malformed` on anything that does not fit its own lengths.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

__all__ = [
    "CERTIFICATE",
    "CLIENT_HELLO",
    "FINISHED",
    "KEY_UPDATE",
    "SERVER_HELLO",
    "ClientHello",
    "Malformed",
    "Messages",
    "ServerHello",
    "certificate_digests",
]

CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, FINISHED, KEY_UPDATE = 1, 2, 11, 20, 24

_RETRY = hashlib.sha256(b"HelloRetryRequest").digest()  # RFC 8446 section 4.1.3: the random that asks for another hello
_SUPPORTED_VERSIONS = 43
_MAX_MESSAGE_BYTES = 1 << 18


class Malformed(Exception):
    """Bytes that are not what they should be; the text says what."""


@dataclass(frozen=True)
class ClientHello:
    """What a client's first message tells."""

    random: bytes

    @classmethod
    def read(cls, body: bytes) -> ClientHello:
        """From the message without its head of four bytes."""
        if len(body) < 34:
            raise Malformed("a ClientHello that is cut off")
        return cls(body[2:34])


@dataclass(frozen=True)
class ServerHello:
    """What a server's first message decides. `version`: 0x0303 or 0x0304; `retry`: it asks for another ClientHello."""

    random: bytes
    suite: int
    version: int
    retry: bool

    @classmethod
    def read(cls, body: bytes) -> ServerHello:
        """From the message without its head of four bytes."""
        try:
            (version,), random = struct.unpack_from(">H", body), body[2:34]
            at = 35 + body[34]
            (suite,) = struct.unpack_from(">H", body, at)
            at += 5
            while at < len(body):
                kind, size = struct.unpack_from(">HH", body, at)
                if kind == _SUPPORTED_VERSIONS:
                    (version,) = struct.unpack_from(">H", body, at + 4)
                at += 4 + size
        except (struct.error, IndexError):
            raise Malformed("a ServerHello that contradicts itself") from None
        return cls(random, suite, version, random == _RETRY)


def certificate_digests(body: bytes, version: int) -> tuple[str, ...]:
    """SHA-256 of each DER certificate of a Certificate message, leaf first."""
    at = 0
    if version == 0x0304:  # a context before the list, extensions behind each certificate
        at = 1 + body[0] if body else 1
    end = at + 3 + int.from_bytes(body[at : at + 3], "big")
    at += 3
    digests = []
    while at < end:
        size = int.from_bytes(body[at : at + 3], "big")
        der = body[at + 3 : at + 3 + size]
        if len(der) < size or not size:
            raise Malformed("a list of certificates that contradicts itself")
        digests.append(hashlib.sha256(der).hexdigest())
        at += 3 + size
        if version == 0x0304:
            at += 2 + int.from_bytes(body[at : at + 2], "big")
    if at != len(body):
        raise Malformed("bytes behind a list of certificates")
    return tuple(digests)


class Messages:
    """Cuts one direction's handshake stream into messages, which may lie across records."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that `data` completes: type and body."""
        self._rest += data
        done, at = [], 0
        while len(self._rest) - at >= 4:
            size = int.from_bytes(self._rest[at + 1 : at + 4], "big")
            if size > _MAX_MESSAGE_BYTES:
                raise Malformed(f"a handshake message of {size} bytes")
            if len(self._rest) - at - 4 < size:
                break
            done.append((self._rest[at], self._rest[at + 4 : at + 4 + size]))
            at += 4 + size
        self._rest = self._rest[at:]
        return done

    @property
    def between(self) -> bool:
        """Whether the last message is complete."""
        return not self._rest
