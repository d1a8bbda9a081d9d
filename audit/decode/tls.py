"""A TLS session from its two streams: which version, which keys, and every record opened or said to be closed to us.

Both directions are read as they come; one waits (in bounded memory) for what only the other can tell, such as the
suite. As soon as something cannot be opened, that direction is blind from there to its end: its bytes are handed on as
they are, so that they are scanned at least, and the reason is a blind spot. Bytes that are no TLS at all are a
finding: nothing may be said in plain on a port whose traffic is claimed to be encrypted.

Assumption: the secrets come from the audited endpoint itself. A wrong secret opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from audit.decode import tls12, tls13
from audit.decode.conversation import TO_COORDINATOR, TO_SITE
from audit.decode.handshake import (
    CERTIFICATE,
    CLIENT_HELLO,
    SERVER_HELLO,
    ClientHello,
    Malformed,
    Messages,
    ServerHello,
    certificate_digests,
)
from audit.decode.ledger import Page

__all__ = ["Opened", "TlsSession"]

_CHANGE, _ALERT, _HANDSHAKE, _APPLICATION = 20, 21, 22, 23
_PARTS = {
    _CHANGE: "tls/change-cipher-spec",
    _ALERT: "tls/alert",
    _HANDSHAKE: "tls/handshake",
    _APPLICATION: "blind/http-unread",  # until HTTP reads it
}
_EXACT_BYTES = {_CHANGE: 1, _ALERT: 2}
_MAX_RECORD_BYTES = (1 << 14) + 2048
_MAX_WAIT_BYTES = 1 << 20

# Says what is wrong: rule, sentence, direction, position in the TCP stream.
Complain = Callable[[str, str, str, int], None]


class Opened(NamedTuple):
    """Bytes of a layer: "application", "handshake" or "tcp" (see RawChunk)."""

    direction: str
    layer: str
    data: memoryview


class _Wait(Exception):
    """The other direction has to speak first."""


class _NoSecret(Malformed):
    """The session cannot be opened."""


class _Side:
    """One direction: what has come and is not read yet, and how far its handshake is."""

    def __init__(self, direction: str, page: Page) -> None:
        self.direction, self.page = direction, page
        self.rest = bytearray()
        self.at = 0  # position of `rest` in the TCP stream
        self.blind = ""  # the ledger's category, once nothing can be opened any more
        self.changed = False  # ChangeCipherSpec was seen
        self.waiting = False  # for what the other direction says
        self.opener: tls12.Opener12 | tls13.Opener13 | None = None
        self.messages = Messages()
        self.certificates: tuple[str, ...] = ()


class TlsSession:
    """`take` the streams' pieces, `finish` when there are no more."""

    def __init__(
        self, secrets: Mapping[bytes, Mapping[str, bytes]], pages: Mapping[str, Page], complain: Complain
    ) -> None:
        self._secrets, self._complain = secrets, complain
        self._sides = {each: _Side(each, pages[each]) for each in (TO_COORDINATOR, TO_SITE)}
        self._client: ClientHello | None = None
        self._server: ServerHello | None = None
        self._ready: dict[str, tls12.Opener12 | tls13.Opener13] = {}

    @property
    def version(self) -> str:
        """ "TLS 1.3", or empty as long as no server has chosen one."""
        chosen = {0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
        return chosen.get(self._server.version, f"0x{self._server.version:04x}") if self._server else ""

    @property
    def suite(self) -> str:
        """The suite's IANA name."""
        if not self._server:
            return ""
        known = tls13.SUITES.get(self._server.suite) or tls12.SUITES.get(self._server.suite)
        return known.name if known else f"0x{self._server.suite:04x}"

    @property
    def decrypted(self) -> bool:
        """Whether nothing in either direction stayed closed; a handshake refused in plain leaves nothing closed."""
        return not any(side.blind for side in self._sides.values())

    def certificates(self, direction: str) -> tuple[str, ...]:
        """SHA-256 of the certificates that were shown in this direction, leaf first."""
        return self._sides[direction].certificates

    def take(self, direction: str, data: memoryview) -> list[Opened]:
        """What a piece of one stream opens, in both directions."""
        side = self._sides[direction]
        opened: list[Opened] = []
        self._read(side, data, opened)
        other = self._sides[TO_SITE if direction == TO_COORDINATOR else TO_COORDINATOR]
        if other.waiting and not other.blind:
            self._read(other, memoryview(b""), opened)
        return opened

    def lose(self, direction: str) -> list[Opened]:
        """A part of the stream is missing: nothing behind it can be opened."""
        opened: list[Opened] = []
        self._give_up(self._sides[direction], "blind/after-gap", opened)
        return opened

    def finish(self, direction: str) -> list[Opened]:
        """The stream has ended; what is left of it is no whole record."""
        side, opened = self._sides[direction], list[Opened]()
        if side.rest:
            self._complain("tls/truncated-record", "the stream ends inside a record", direction, side.at)
            self._give_up(side, "blind/truncated-record", opened)
        elif not side.messages.between and not side.blind:
            self._complain("tls/truncated-record", "the stream ends inside a handshake message", direction, side.at)
        return opened

    def _read(self, side: _Side, data: memoryview, opened: list[Opened]) -> None:
        if side.blind:
            self._pass_on(side, data, opened)
            return
        if side.rest:
            side.rest += data
            with memoryview(side.rest) as view:
                done = self._read_records(side, view, opened)
            del side.rest[:done]
        else:
            done = self._read_records(side, data, opened)
            side.rest += data[done:]
        side.at += done
        if side.blind:
            self._give_up(side, side.blind, opened)
        elif len(side.rest) > _MAX_WAIT_BYTES:
            self._complain(
                "tls/one-sided", "records, and no answer that tells how to open them", side.direction, side.at
            )
            self._give_up(side, "blind/one-sided", opened)

    def _read_records(self, side: _Side, data: memoryview, opened: list[Opened]) -> int:
        """Open the whole records at the beginning of `data`; how many bytes they are."""
        at, size, parts = 0, len(data), side.page.parts
        side.waiting = False
        # Plaintext of one piece lies in one buffer, without holes: each record is opened right behind the last.
        buffer = memoryview(bytearray(size))
        begin = end = 0
        try:
            while size - at >= 5:
                length = data[at + 3] << 8 | data[at + 4]
                if data[at + 1] != 3 or not _CHANGE <= data[at] <= _APPLICATION or length > _MAX_RECORD_BYTES:
                    if side.at + at:
                        raise Malformed("something that is not a record")
                    self._complain("tls/plaintext", "bytes that are not TLS on a port that must be", side.direction, 0)
                    side.blind = "blind/plaintext"
                    break
                if size - at - 5 < length:
                    break
                header, body = data[at : at + 5], data[at + 5 : at + 5 + length]
                kind, content, padding = self._open(side, header, body, buffer[end:])
                if kind == _HANDSHAKE:
                    message = bytes(buffer[end : end + content])
                    self._hear(side, message)
                    if end > begin:
                        opened.append(Opened(side.direction, "application", buffer[begin:end]))
                    begin = end
                    opened.append(Opened(side.direction, "handshake", memoryview(message)))
                elif kind == _APPLICATION:
                    end += content
                elif kind not in _PARTS or content != _EXACT_BYTES[kind]:
                    raise Malformed(f"a record of type {kind} with {content} bytes")
                # Booked only now: a record that is refused is booked as what it is, blind.
                parts[_PARTS[kind]] += content
                parts["tls/padding"] += padding
                parts["tls/record-overhead"] += 5 + length - content - padding
                at += 5 + length
        except _Wait:
            side.waiting = True
        except Malformed as problem:
            fault = "no-secret" if isinstance(problem, _NoSecret) else "bad-record"
            self._complain(f"tls/{fault}", str(problem), side.direction, side.at + at)
            side.blind = f"blind/{fault}"
        if end > begin:
            opened.append(Opened(side.direction, "application", buffer[begin:end]))
        return at

    def _open(self, side: _Side, header: memoryview, body: memoryview, into: memoryview) -> tuple[int, int, int]:
        """One record to the beginning of `into`; its type, and the lengths of its content and padding."""
        kind, size = header[0], len(body)
        if self._is_sealed(side, kind):
            if side.opener is None:
                side.opener = self._opener(side)
            room = side.opener.room(body)
            kind, content = side.opener.open(header, body, into[:room])
            if kind == _CHANGE:
                raise Malformed("a ChangeCipherSpec under encryption")
            return kind, content, room - content
        if kind == _CHANGE:
            if bytes(body) != b"\1" or side.opener:
                raise Malformed("a ChangeCipherSpec that is not one")
            side.changed = True
        into[:size] = body
        return kind, size, 0

    def _is_sealed(self, side: _Side, kind: int) -> bool:
        if kind == _APPLICATION:
            return True
        if kind == _CHANGE:
            # TLS 1.3 sends one for the sake of old machines, and it is never encrypted.
            return side.opener is not None and self._server is not None and self._server.version != 0x0304
        if side.opener is not None:
            return True
        if side.changed and self._server is None:
            raise _Wait  # in TLS 1.2 what follows is encrypted, in 1.3 it may be a second hello
        return side.changed and self._server is not None and self._server.version != 0x0304

    def _opener(self, side: _Side) -> tls12.Opener12 | tls13.Opener13:
        if not self._ready:
            if self._client is None or self._server is None or self._server.retry:
                raise _Wait
            self._ready = self._openers(self._client, self._server)
        return self._ready[side.direction]

    def _openers(self, client: ClientHello, server: ServerHello) -> dict[str, tls12.Opener12 | tls13.Opener13]:
        keys = self._secrets.get(client.random)
        if keys is None:
            raise _NoSecret("the key log has no secret of this session")
        try:
            if server.version == 0x0304:
                suite = tls13.SUITES[server.suite]
                return {
                    direction: tls13.Opener13(
                        suite, keys[f"{who}_HANDSHAKE_TRAFFIC_SECRET"], keys[f"{who}_TRAFFIC_SECRET_0"]
                    )
                    for direction, who in ((TO_COORDINATOR, "CLIENT"), (TO_SITE, "SERVER"))
                }
            if server.version == 0x0303:
                pair = tls12.openers(tls12.SUITES[server.suite], keys["CLIENT_RANDOM"], client.random, server.random)
                return dict(zip((TO_COORDINATOR, TO_SITE), pair, strict=True))
        except KeyError as missing:
            raise _NoSecret(f"no secret, or no suite that we open: {missing}") from None
        raise _NoSecret(f"version 0x{server.version:04x} is not one that we open")

    def _hear(self, side: _Side, data: bytes) -> None:
        messages = side.messages.take(data)
        for index, (kind, body) in enumerate(messages):
            last = side.messages.between and index == len(messages) - 1
            if kind == CERTIFICATE:
                version = self._server.version if self._server else 0x0303
                side.certificates = certificate_digests(body, version) or side.certificates
            if side.opener is not None:
                side.opener.heard(kind, last=last)
            elif kind == CLIENT_HELLO and side.direction == TO_COORDINATOR:
                self._client = self._client or ClientHello.read(body)
            elif kind == SERVER_HELLO and side.direction == TO_SITE and (not self._server or self._server.retry):
                self._server = ServerHello.read(body)

    def _give_up(self, side: _Side, category: str, opened: list[Opened]) -> None:
        side.blind = side.blind or category
        rest, side.rest = bytes(side.rest), bytearray()
        self._pass_on(side, memoryview(rest), opened)

    def _pass_on(self, side: _Side, data: memoryview, opened: list[Opened]) -> None:
        side.at += len(data)
        if data:
            side.page.parts[side.blind] += len(data)
            opened.append(Opened(side.direction, "tcp", data))
