"""audit/capture/client_hello.py against the hellos of OpenSSL, and against noise."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.client_hello import ClientHelloError, offered_protocols


def hello(*protocols: str) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


HELLO = hello("h2", "http/1.1")


@pytest.mark.parametrize("protocols", [(), ("h2",), ("h2", "http/1.1"), ("a" * 255, "b")])
def test_the_protocols_are_read_in_their_order(protocols: tuple[str, ...]) -> None:
    assert offered_protocols(hello(*protocols)) == protocols


def test_every_cut_is_refused() -> None:
    for at in range(len(HELLO)):
        with pytest.raises(ClientHelloError):
            offered_protocols(HELLO[:at])


@given(st.data())
def test_damaged_hellos_are_read_or_refused(draw: st.DataObject) -> None:
    damaged = bytearray(HELLO)
    for at in draw.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=5)):
        damaged[at] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ClientHelloError):
        offered_protocols(bytes(damaged))
