"""HTTP is read by one grammar only, and every byte of it is booked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.decode import http
from audit.decode.conversation import TO_COORDINATOR, TO_SITE, Exchange
from audit.decode.http import HttpSession
from audit.decode.ledger import Ledger

POST = b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Talk:
    """Feeds both directions in pieces of `step` bytes; direction by direction, as a stream may arrive."""

    def __init__(self, *turns: tuple[str, bytes], step: int = 1 << 20, whole: bool = True) -> None:
        self.ledger = Ledger()
        pages = {each: self.ledger.page("s0001", each) for each in (TO_COORDINATOR, TO_SITE)}
        self.complaints: list[tuple[str, str, int]] = []
        session = HttpSession("s0001", pages, lambda rule, _, where, at: self.complaints.append((rule, where, at)))
        self.exchanges: list[Exchange] = []
        for direction, data in turns:
            pages[direction].captured += len(data)
            pages[direction].parts["blind/http-unread"] += len(data)
            for at in range(0, len(data), step):
                self.exchanges += session.take(direction, memoryview(data)[at : at + step])
        for direction in (TO_COORDINATOR, TO_SITE):
            self.exchanges += session.finish(direction, whole=whole)
        self.exchanges += session.leftovers()
        assert sum(self.ledger.by_category().values()) == self.ledger.captured_bytes

    @property
    def rules(self) -> list[str]:
        return [rule for rule, _, _ in self.complaints]


def up(data: bytes) -> tuple[str, bytes]:
    return TO_COORDINATOR, data


def down(data: bytes) -> tuple[str, bytes]:
    return TO_SITE, data


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_requests_and_responses_are_paired_however_the_stream_is_cut(step: int) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    empty = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: a\r\n\r\n"
    talk = Talk(
        up(POST), down(OK), up(empty + POST), down(chunked), down(b"HTTP/1.1 204 No Content\r\n\r\n"), step=step
    )
    assert talk.rules == []
    assert [(e.index, e.request, e.response, e.status) for e in talk.exchanges] == [
        (0, b"hello", b"hi", 200),
        (1, b"", b"abcd", 200),
        (2, b"hello", b"", 204),
    ]
    assert talk.exchanges[0].route == "/v1/fleet/push-object"
    assert talk.exchanges[0].request_headers == (("host", "a"), ("content-length", "5"))
    assert (talk.exchanges[2].request_at, talk.exchanges[2].response_at) == (len(POST + empty), len(OK + chunked))
    assert POST[talk.exchanges[0].request_body_at :] == b"hello"
    assert talk.ledger.by_category()["http/chunk-framing"] == len(b"3\r\n\r\n1\r\n\r\n0\r\n\r\n")
    assert "blind/http-unread" not in talk.ledger.by_category()


def test_a_response_that_is_captured_before_its_request_finds_it() -> None:
    assert [e.status for e in Talk(down(OK), up(POST)).exchanges] == [200]


def test_a_request_that_nobody_answered_is_still_seen() -> None:
    (exchange,) = Talk(up(POST)).exchanges
    assert (exchange.request, exchange.status) == (b"hello", 0)


def test_a_100_continue_is_skipped() -> None:
    (exchange,) = Talk(up(POST), down(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)).exchanges
    assert exchange.status == 200


def test_a_body_without_a_length_ends_with_the_stream_if_the_stream_is_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\nall of this"
    assert Talk(up(POST), down(answer)).exchanges[0].response == b"all of this"
    cut = Talk(up(POST), down(answer), whole=False)
    assert (cut.rules, cut.exchanges[0].status) == (["http/truncated"], 0)


@pytest.mark.parametrize("data", [POST[:-1], POST[:20], b"P"])
def test_a_stream_that_ends_inside_a_request_is_truncated(data: bytes) -> None:
    assert Talk(up(data)).rules == ["http/truncated"]


@pytest.mark.parametrize(
    ("request_bytes", "rule"),
    [
        (POST.replace(b"content-length: 5", b"content-length: 5\r\ntransfer-encoding: chunked"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"content-length: 5\r\ncontent-length: 6"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"content-length: 5\r\ncontent-length: 5"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"content-length: +5"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"content-length: 05"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"transfer-encoding: gzip"), "http/ambiguous"),
        (POST.replace(b"content-length: 5", b"transfer-encoding: Chunked"), "http/ambiguous"),
        (POST.replace(b"length: 5", b"length : 5"), "http/malformed"),
        (POST.replace(b"host: a", b"host:  a"), "http/malformed"),
        (POST.replace(b"host: a", b"host: a "), "http/malformed"),
        (POST.replace(b"host: a", b"host: a\r\n folded"), "http/malformed"),
        (POST.replace(b"host: a", b"host: \x00"), "http/malformed"),
        (POST.replace(b"host: a", b"host: \xe9"), "http/malformed"),
        (POST.replace(b"host: a\r\n", b"host: a\n"), "http/malformed"),
        (POST.replace(b"host: a\r\n", b"x: y\r\n" * 101), "http/malformed"),
        (POST.replace(b"POST", b"HEAD"), "http/malformed"),
        (POST.replace(b"POST", b"CONNECT"), "http/malformed"),
        (POST.replace(b"HTTP/1.1", b"HTTP/1.0"), "http/malformed"),
        (POST.replace(b"POST /", b"POST  /"), "http/malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http/malformed"),
        (b"x" * (http.MAX_HEAD_BYTES + 1), "http/malformed"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;note=hidden\r\n", "http/chunk-extension"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\naX\r\n", "http/malformed"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n", "http/malformed"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\na\r\n", "http/malformed"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"0" * 40, "http/malformed"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nnote: hidden\r\n\r\n", "http/trailer"),
        (POST.replace(b": 5", b": 999999999"), "http/too-large"),
    ],
)
def test_what_the_narrow_grammar_does_not_have_ends_the_reading(request_bytes: bytes, rule: str) -> None:
    talk = Talk(up(POST + request_bytes + POST))
    assert talk.rules == [rule]
    assert len(talk.exchanges) == 1
    assert talk.ledger.by_category()["blind/http-unread"] >= len(POST)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (b"HTTP/1.1 200 FINE\r\ncontent-length: 0\r\n\r\n", "http/reason-phrase"),
        (b"HTTP/1.1 999 hidden\r\ncontent-length: 0\r\n\r\n", "http/reason-phrase"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "http/interim"),
        (b"HTTP/1.1 100 Continue\r\nnote: x\r\n\r\n", "http/interim"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "http/interim"),
        (b"HTTP/2 200\r\n\r\n", "http/malformed"),
    ],
)
def test_responses_have_no_room_for_words_of_their_own(answer: bytes, rule: str) -> None:
    assert Talk(up(POST), down(answer)).rules == [rule]


def test_a_response_without_a_request_is_named() -> None:
    assert Talk(up(POST), down(OK + OK)).rules == ["http/unasked"]


def test_a_chunked_body_stays_under_the_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 100)
    chunk = b"40\r\n" + bytes(64) + b"\r\n"
    assert Talk(up(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 2)).rules == ["http/too-large"]


def test_pieces_of_a_body_are_gathered_and_requests_without_answer_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_PIECES", 10)
    monkeypatch.setattr(http, "_MAX_WAITING", 3)
    body = bytes(range(200))
    talk = Talk(up(b"POST / HTTP/1.1\r\ncontent-length: 200\r\n\r\n" + body), down(OK), *[up(POST)] * 5, step=1)
    assert talk.exchanges[0].request == body
    assert talk.rules == ["http/unpaired"]
    assert len(talk.exchanges) == 6


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=6), st.integers(1, 50))
def test_no_bytes_whatever_crash_it(turns: list[tuple[bool, bytes]], step: int) -> None:
    Talk(*((TO_COORDINATOR if client else TO_SITE, data) for client, data in turns), step=step)


@given(st.data())
def test_no_damaged_exchange_crashes_it(data: st.DataObject) -> None:
    text = bytearray(POST + b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + POST)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b":", b" ", b"0", b"\0"])
        )
    Talk(up(bytes(text)), down(OK * 3), step=data.draw(st.integers(1, 60)))
