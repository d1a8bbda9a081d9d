"""What a site's conversation with the coordinator weighs, message by message.

Bytes are those of HTTP/1.1 as it stands on the connection: request and status lines, headers, bodies, both ways.
TLS records add about half a percent and are not counted. What a site spends on waiting (heartbeats, and polls
that brought nothing) is kept apart from what a message costs: the one grows with time, the other with the model.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import httpx

__all__ = ["Traffic", "TrafficMeter", "exchanged"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Some HTTP exchanges and their bytes, as the client sees them."""

    sent_bytes: int = 0
    received_bytes: int = 0
    requests: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.sent_bytes + other.sent_bytes,
            self.received_bytes + other.received_bytes,
            self.requests + other.requests,
        )


class TrafficMeter:
    """Two running sums. Objects move in several threads and heartbeats in another, hence the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._message = Traffic()
        self._waiting = Traffic()

    def spend(self, traffic: Traffic) -> None:
        """Count an exchange for the message at hand."""
        with self._lock:
            self._message += traffic

    def wait(self, traffic: Traffic) -> None:
        """Count an exchange that keeps the connection alive."""
        with self._lock:
            self._waiting += traffic

    def nothing_came(self) -> None:
        """What was counted for a message was spent on waiting: there is none."""
        with self._lock:
            self._waiting, self._message = self._waiting + self._message, Traffic()

    def take(self) -> tuple[Traffic, Traffic]:
        """The message's traffic, and what was spent on waiting, since this was last asked."""
        with self._lock:
            taken = self._message, self._waiting
            self._message = self._waiting = Traffic()
        return taken


def exchanged(request: httpx.Request, response: httpx.Response) -> Traffic:
    """The bytes of one request whose response has been read."""
    request_line = f"{request.method} {request.url.raw_path.decode('ascii')} HTTP/1.1\r\n"
    status_line = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n"
    return Traffic(
        sent_bytes=len(request_line) + _header_bytes(request.headers) + len(request.content),
        received_bytes=len(status_line) + _header_bytes(response.headers) + response.num_bytes_downloaded,
        requests=1,
    )


def _header_bytes(headers: httpx.Headers) -> int:
    """The header lines and the empty line after them."""
    return sum(len(name) + len(value) + 4 for name, value in headers.raw) + 2
