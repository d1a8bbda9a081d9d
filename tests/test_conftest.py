"""The guard of tests/conftest.py, which nothing else would notice missing."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest


def test_a_foreign_address_cannot_be_reached() -> None:
    # 192.0.2.0/24 is set aside for documentation (RFC 5737): no machine has it.
    with pytest.raises(OSError, match=r"cut off .* 192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_a_foreign_name_is_not_even_looked_up() -> None:
    with pytest.raises(urllib.error.URLError, match="cut off"):
        urllib.request.urlopen("http://images.example/", timeout=1)


def test_a_datagram_does_not_leave_either() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sender, pytest.raises(OSError, match="cut off"):
        sender.sendto(b"hello", ("192.0.2.1", 53))


def test_loopback_works(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)), socket.create_connection(("localhost", free_port)) as client:
        assert client.getpeername()[1] == free_port
