"""The protocols that a TLS client offers (ALPN, RFC 7301), read from its first message without consuming it.

A tap has to ask the server for what the client offered before it can answer the client; Python's `ssl` shows a server
the client's offer only after its own choice. The message is peeked at and stays in the socket for the real handshake.
"""

from __future__ import annotations

import asyncio
import socket

__all__ = ["ClientHelloError", "offered_protocols", "peek_client_hello"]

_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16
_MAX_RECORD_BYTES = 1 << 14  # RFC 8446, section 5.1: of a plaintext record


class ClientHelloError(Exception):
    """The peer does not begin as a TLS client does."""


async def peek_client_hello(connection: socket.socket) -> bytes:
    """The first TLS record of a fresh non-blocking connection, head included; it can still be received.

    Raises `ClientHelloError` for anything else. Waits for ever: set a time limit around it.
    """
    head = await _peek(connection, 5)
    length = int.from_bytes(head[3:5], "big")
    if head[0] != _HANDSHAKE or head[1] != 3 or not 0 < length <= _MAX_RECORD_BYTES:
        raise ClientHelloError(f"begins with {head.hex()}, which is no TLS handshake")
    record = await _peek(connection, 5 + length)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return record


def offered_protocols(record: bytes) -> tuple[str, ...]:
    """The client's ALPN protocols in its order, empty if it offers none. `record`: as `peek_client_hello` gives it.

    Raises `ClientHelloError` if the record is no whole ClientHello (RFC 8446, section 4.1.2).
    """
    try:
        return _parse(record)
    except (IndexError, UnicodeDecodeError):
        raise ClientHelloError("its ClientHello contradicts itself") from None


def _parse(record: bytes) -> tuple[str, ...]:
    message = record[5:]
    length = int.from_bytes(message[1:4], "big")
    if message[0] != _CLIENT_HELLO or length != len(message) - 4:
        raise ClientHelloError("its first record is not one whole ClientHello")
    at = 4 + 2 + 32  # version and random
    at += 1 + message[at]  # session
    at += 2 + int.from_bytes(message[at : at + 2], "big")  # suites
    at += 1 + message[at]  # compression
    at += 2  # length of all extensions
    while at < len(message):
        kind = int.from_bytes(message[at : at + 2], "big")
        size = int.from_bytes(message[at + 2 : at + 4], "big")
        body = message[at + 4 : at + 4 + size]
        if len(body) < size:
            raise IndexError
        if kind == _ALPN:
            return tuple(_names(body[2:]))
        at += 4 + size
    return ()


def _names(listed: bytes) -> list[str]:
    names, at = [], 0
    while at < len(listed):
        name = listed[at + 1 : at + 1 + listed[at]]
        if len(name) < listed[at]:
            raise IndexError
        names.append(name.decode("ascii"))
        at += 1 + len(name)
    return names


async def _peek(connection: socket.socket, size: int) -> bytes:
    # The kernel reports the socket readable once `size` bytes are there, or at the stream's end.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(connection, lambda: None if readable.done() else readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(connection)
    data = connection.recv(size, socket.MSG_PEEK)
    if len(data) < size:
        raise ClientHelloError("ended before its ClientHello")
    return data
