"""HTTP/1.1 out of decrypted streams, to the byte and by the narrowest reading.

Our own parser and not h11: an audit has to know where each byte of a stream belongs, what precisely was off, and must
not forgive. Bare line feeds, folded headers, spaces around names or values, chunk extensions, trailers, reason phrases
of one's own and the ambiguities of request smuggling (Linhart et al. 2005; RFC 9112 sections 5.2, 6.3, 11.2) are room
in which something could hide or two readers could differ; httpx and uvicorn use none of it. What does not fit is a
finding, and the rest of that direction stays unread, which the ledger shows.

RFC 9112. Bodies are bounded; only GET and POST are known, so that a response's length never depends on its request.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from audit.decode.conversation import TO_COORDINATOR, TO_SITE, Exchange
from audit.decode.ledger import Page

__all__ = ["MAX_BODY_BYTES", "MAX_HEAD_BYTES", "HttpSession", "HttpStream", "HttpText"]

MAX_BODY_BYTES = 64 << 20
MAX_HEAD_BYTES = 64 << 10
_MAX_HEADERS = 100
_MAX_PIECES = 4096
_MAX_WAITING = 1024  # requests without their response, or the reverse
_MAX_SIZE_LINE = 32

_REQUEST = re.compile(r"(GET|POST) (/[\x21-\x7e]*) HTTP/1\.1")
_STATUS = re.compile(r"HTTP/1\.1 ([1-9]\d\d) ([\x20-\x7e]*)")
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?((?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?)")
_LENGTH = re.compile(r"0|[1-9]\d{0,11}")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")

# Says what is wrong: rule, sentence, position in the decrypted stream.
Complain = Callable[[str, str, int], None]


@dataclass(frozen=True)
class HttpText:
    """One request or response. `at`, `body_at`: where it and its body begin in the stream."""

    method: str
    target: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: int
    body_at: int


class _Violation(Exception):
    """What the strict grammar does not have: rule and sentence."""


class HttpStream:
    """The texts of one direction. `of_client`: it carries requests; otherwise responses."""

    def __init__(self, page: Page, complain: Complain, read_head: Callable[[str], HttpText]) -> None:
        self._page, self._complain, self._read_head = page, complain, read_head
        self._at = 0  # of the next byte
        self._step: Callable[[memoryview], memoryview] | None = self._in_head
        self._line = bytearray()
        self._pieces: list[bytes | memoryview] = []
        self._begin = self._head_bytes = self._framing_bytes = self._body_bytes = self._missing = 0
        self._head: HttpText | None = None
        self._done: list[HttpText] = []

    def take(self, data: memoryview) -> list[HttpText]:
        """The texts that a piece of the stream completes."""
        while data and self._step:
            try:
                rest = self._step(data)
            except _Violation as fault:
                self._complain(fault.args[0], fault.args[1], self._at)
                self._step = None
                break
            self._at += len(data) - len(rest)
            data = rest
        done, self._done = self._done, []
        return done

    def finish(self, *, whole: bool) -> list[HttpText]:
        """The stream has ended. `whole`: nothing of it is missing, so that a body without a length is complete."""
        if self._step == self._until_close and whole:
            self._complete()
        elif self._step and (self._head or self._line):
            self._complain("http/truncated", "the stream ends inside a request or response", self._begin)
        done, self._done = self._done, []
        return done

    def _in_head(self, data: memoryview) -> memoryview:
        before = len(self._line)
        if not before:
            self._begin = self._at
        self._line += data[: MAX_HEAD_BYTES - before]
        end = self._line.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            if len(self._line) >= MAX_HEAD_BYTES:
                raise _Violation("http/malformed", "a head that does not end, or none at all")
            return data[len(data) :]
        used = end + 4 - before
        text = self._line[:end].decode("latin-1")
        self._line.clear()
        self._head_bytes = end + 4
        self._head = self._read_head(text)
        self._body_of(self._head)
        return data[used:]

    def _body_of(self, head: HttpText) -> None:
        """Choose how the body is read (RFC 9112 section 6.3)."""
        lengths = [value for name, value in head.headers if name == "content-length"]
        codings = [value for name, value in head.headers if name == "transfer-encoding"]
        if len(lengths) + len(codings) > 1:
            raise _Violation("http/ambiguous", "more than one statement of the body's length")
        if codings:
            if codings != ["chunked"]:
                raise _Violation("http/ambiguous", "a transfer coding other than chunked")
            self._step = self._in_size_line
        elif lengths:
            if not _LENGTH.fullmatch(lengths[0]):
                raise _Violation("http/ambiguous", "a content length that is not a plain number")
            self._missing = int(lengths[0])
            if self._missing > MAX_BODY_BYTES:
                raise _Violation("http/too-large", f"a body of {self._missing} bytes; we read up to {MAX_BODY_BYTES}")
            self._step = self._in_body
        elif head.method or head.status in (100, 204, 304):
            self._missing, self._step = 0, self._in_body
        else:
            self._step = self._until_close
        if self._step == self._in_body and not self._missing:
            self._complete()

    def _in_body(self, data: memoryview) -> memoryview:
        part = data[: self._missing]
        self._keep(part)
        self._missing -= len(part)
        if not self._missing:
            self._complete()
        return data[len(part) :]

    def _until_close(self, data: memoryview) -> memoryview:
        self._keep(data)
        return data[len(data) :]

    def _in_size_line(self, data: memoryview) -> memoryview:
        line, rest = self._until_line_end(data)
        if line is None:
            return rest
        if not _SIZE.fullmatch(line):
            rule = "http/chunk-extension" if b";" in line else "http/malformed"
            raise _Violation(rule, "a chunk's head that is more than its size")
        self._missing = int(line, 16)
        self._step = self._in_chunk if self._missing else self._in_trailer
        return rest

    def _in_chunk(self, data: memoryview) -> memoryview:
        part = data[: self._missing]
        self._keep(part)
        self._missing -= len(part)
        if not self._missing:
            self._step = self._behind_chunk
        return data[len(part) :]

    def _behind_chunk(self, data: memoryview) -> memoryview:
        line, rest = self._until_line_end(data)
        if line is not None:
            if line != b"\r\n":
                raise _Violation("http/malformed", "a chunk that is longer than it says")
            self._step = self._in_size_line
        return rest

    def _in_trailer(self, data: memoryview) -> memoryview:
        line, rest = self._until_line_end(data)
        if line is not None:
            if line != b"\r\n":
                raise _Violation("http/trailer", "a header behind the body")
            self._complete()
        return rest

    def _until_line_end(self, data: memoryview) -> tuple[bytes | None, memoryview]:
        before = len(self._line)
        self._line += data[:_MAX_SIZE_LINE]
        end = self._line.find(b"\n")
        if end < 0:
            if len(self._line) > _MAX_SIZE_LINE:
                raise _Violation("http/malformed", "a line of a chunked body that does not end")
            return None, data[len(self._line) - before :]
        line = bytes(self._line[: end + 1])
        self._line.clear()
        self._framing_bytes += len(line)
        return line, data[len(line) - before :]

    def _keep(self, part: memoryview) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > MAX_BODY_BYTES:
            raise _Violation("http/too-large", f"a body of more than {MAX_BODY_BYTES} bytes")
        self._pieces.append(part)
        if len(self._pieces) > _MAX_PIECES:  # a view weighs more than the byte that it may stand for
            self._pieces = [b"".join(self._pieces)]

    def _complete(self) -> None:
        assert self._head is not None  # noqa: S101 - only reached behind a head
        head, body = self._head, b"".join(self._pieces)
        parts = self._page.parts
        parts["blind/http-unread"] -= self._head_bytes + self._framing_bytes + self._body_bytes
        parts["http/head"] += self._head_bytes
        if self._framing_bytes:
            parts["http/chunk-framing"] += self._framing_bytes
        parts["blind/http-body"] += self._body_bytes
        self._done.append(
            HttpText(
                head.method, head.target, head.status, head.headers, body, self._begin, self._begin + self._head_bytes
            )
        )
        self._head, self._pieces, self._step = None, [], self._in_head
        self._head_bytes = self._framing_bytes = self._body_bytes = 0


def _read_request(text: str) -> HttpText:
    first, *lines = text.split("\r\n")
    line = _REQUEST.fullmatch(first)
    if not line:
        raise _Violation("http/malformed", "a request line that is not one of GET or POST with HTTP/1.1")
    return HttpText(line[1], line[2], 0, _headers(lines), b"", 0, 0)


def _read_response(text: str) -> HttpText:
    first, *lines = text.split("\r\n")
    line = _STATUS.fullmatch(first)
    if not line:
        raise _Violation("http/malformed", "a status line that is not of HTTP/1.1")
    status = int(line[1])
    if line[2] not in ("", _phrase(status)):
        raise _Violation("http/reason-phrase", "words of its own behind the status")
    headers = _headers(lines)
    if status < 200 and (status != 100 or headers):
        raise _Violation("http/interim", "an interim response that is more than a 100")
    return HttpText("", "", status, headers, b"", 0, 0)


def _headers(lines: list[str]) -> tuple[tuple[str, str], ...]:
    if len(lines) > _MAX_HEADERS:
        raise _Violation("http/malformed", f"more than {_MAX_HEADERS} headers")
    headers = []
    for line in lines:
        field = _HEADER.fullmatch(line)
        if not field:
            raise _Violation("http/malformed", "a header that is not `name: value`")
        headers.append((field[1].lower(), field[2]))
    return tuple(headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class HttpSession:
    """Both directions of one connection: pairs each request with its response."""

    def __init__(self, session: str, pages: dict[str, Page], complain: Callable[[str, str, str, int], None]) -> None:
        self._session, self._complain = session, complain
        self._requests: deque[HttpText] = deque()
        self._responses: deque[HttpText] = deque()
        self._count = 0
        self._streams = {
            direction: HttpStream(
                pages[direction],
                lambda rule, why, at, where=direction: complain(rule, why, where, at),  # type: ignore[misc]
                reader,
            )
            for direction, reader in ((TO_COORDINATOR, _read_request), (TO_SITE, _read_response))
        }

    def take(self, direction: str, data: memoryview) -> list[Exchange]:
        """The exchanges that a piece of decrypted stream completes."""
        return self._pair(direction, self._streams[direction].take(data))

    def finish(self, direction: str, *, whole: bool) -> list[Exchange]:
        """A direction has ended."""
        return self._pair(direction, self._streams[direction].finish(whole=whole))

    def leftovers(self) -> list[Exchange]:
        """After both directions have ended: requests without an answer. Answers without a request are named."""
        for each in self._responses:
            self._complain("http/unasked", "a response without a request", TO_SITE, each.at)
        self._responses.clear()
        nothing = HttpText("", "", 0, (), b"", 0, 0)
        return [self._exchange(self._requests.popleft(), nothing) for _ in range(len(self._requests))]

    def _pair(self, direction: str, texts: list[HttpText]) -> list[Exchange]:
        if not texts:
            return []
        if direction == TO_COORDINATOR:
            self._requests.extend(texts)
        else:
            self._responses.extend(each for each in texts if each.status != 100)
        done = []
        while self._requests and self._responses:
            done.append(self._exchange(self._requests.popleft(), self._responses.popleft()))
        if max(len(self._requests), len(self._responses)) > _MAX_WAITING:
            self._complain("http/unpaired", "too many requests without a response, or the reverse", direction, 0)
            self._responses.clear()
            while self._requests:
                done.append(self._exchange(self._requests.popleft(), HttpText("", "", 0, (), b"", 0, 0)))
        return done

    def _exchange(self, request: HttpText, response: HttpText) -> Exchange:
        self._count += 1
        return Exchange(
            session=self._session,
            index=self._count - 1,
            method=request.method,
            route=request.target,
            status=response.status,
            request_headers=request.headers,
            response_headers=response.headers,
            request=request.body,
            response=response.body,
            request_at=request.at,
            response_at=response.at,
            request_body_at=request.body_at,
            response_body_at=response.body_at,
        )
