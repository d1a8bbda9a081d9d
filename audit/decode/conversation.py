"""The values that decoding yields, layer by layer; nothing here reads or decrypts.

packets → Session (TLS opened) → Exchange (HTTP request and response) → WireObject, WireMessage (Flower)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audit.findings import Place

__all__ = ["Exchange", "Leaf", "Session", "WireMessage", "WireObject"]


@dataclass(frozen=True)
class Session:
    """One TCP connection to the audited port, as far as it was seen. Bytes count TCP payload."""

    id: str  # "s0001": in order of the first packet
    client: str  # "127.0.0.1:50412"
    server: str
    opened_s: float  # Unix time of the first and of the last packet
    closed_s: float
    client_bytes: int  # sent by the client
    server_bytes: int
    version: str = ""  # "TLS 1.3"
    suite: str = ""  # IANA name
    client_certificates: tuple[str, ...] = ()  # SHA-256 of each DER certificate, leaf first
    server_certificates: tuple[str, ...] = ()
    decrypted: bool = False  # every record was authenticated with the session's secrets
    site: str = ""  # filled in by whoever knows whose certificate it is


@dataclass(frozen=True)
class Exchange:
    """One HTTP request with its response. `*_at`: where its first byte lies in the decrypted stream."""

    session: str
    index: int  # 0, 1, ... within the session
    method: str
    route: str  # "/v1/fleet/push-object"
    status: int
    request_headers: tuple[tuple[str, str], ...]
    response_headers: tuple[tuple[str, str], ...]
    request: bytes = field(repr=False)  # bodies
    response: bytes = field(repr=False)
    request_at: int = 0
    response_at: int = 0


@dataclass(frozen=True)
class WireObject:
    """One content-addressed object of Flower, its SHA-256 checked. `kind`: "ArrayChunk", "ConfigRecord", ..."""

    id: str
    kind: str
    body: bytes = field(repr=False)  # what follows the object's head
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Leaf:
    """One value inside a message: a config or metric value, or an array. `path`: "metrics/train-loss"."""

    path: str
    kind: str  # "config", "metric" or "array"
    value: Any = field(repr=False)  # bool, int, float, str, bytes, a list of one of them, or an (...) ndarray
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class WireMessage:
    """One Flower message, whole: its metadata and every value in it."""

    id: str
    kind: str  # Flower's message type: "train", "query" ...
    metadata: Mapping[str, str]
    leaves: tuple[Leaf, ...]
    error: str = ""  # the message carries an error instead of content
    place: Place = field(default_factory=Place)

    def arrays(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """The arrays by path."""
        return {leaf.path: leaf.value for leaf in self.leaves if leaf.kind == "array"}
