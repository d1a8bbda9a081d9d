"""Byte counts agree with what stands on the connection, and waiting is kept apart from messages."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from secure_fl.federation.traffic import Traffic, TrafficMeter, exchanged


@pytest.mark.parametrize("answer_body", [b"", b"x" * 70_000])
def test_an_exchange_weighs_what_the_other_end_of_the_connection_sees(answer_body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer_body)}\r\nconnection: close\r\n\r\n".encode()
    seen = 0

    def serve(listener: socket.socket) -> None:
        nonlocal seen
        connection, _ = listener.accept()
        with connection:
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"the end"):
                received += connection.recv(1 << 16)
            seen = len(received)
            connection.sendall(head + answer_body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with httpx.Client(trust_env=False) as client:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/fleet/pull-object?x=1"
            response = client.post(url, content=b"y" * 5000 + b"the end", headers={"flwr-timestamp": "now"})
        server.join()
    assert exchanged(response.request, response) == Traffic(seen, len(head) + len(answer_body), 1)


def test_a_poll_that_brings_nothing_is_waiting_and_no_part_of_the_next_message() -> None:
    meter = TrafficMeter()
    meter.spend(Traffic(100, 10, 1))
    meter.nothing_came()
    meter.wait(Traffic(7, 5, 1))
    meter.spend(Traffic(1000, 2000, 1))
    meter.spend(Traffic(1, 1, 1))
    assert meter.take() == (Traffic(1001, 2001, 2), Traffic(107, 15, 2))
    assert meter.take() == (Traffic(), Traffic())


def test_no_byte_is_lost_when_threads_count_at_once() -> None:
    meter = TrafficMeter()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4000):
            pool.submit(meter.spend, Traffic(1, 2, 1))
    assert meter.take()[0] == Traffic(4000, 8000, 4000)
