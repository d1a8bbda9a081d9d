"""The values that decoding yields, layer by layer; nothing here reads or decrypts.

packets → Session (TLS opened) → Exchange (HTTP request and response) → WireObject, WireMessage (Flower)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audit.findings import Place

__all__ = [
    "TO_COORDINATOR",
    "TO_SITE",
    "Exchange",
    "Leaf",
    "RawChunk",
    "Session",
    "WireMessage",
    "WireObject",
]

# The two values of `Place.direction`.
TO_COORDINATOR, TO_SITE = "to-coordinator", "to-site"


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
    decrypted: bool = False  # every encrypted record was authenticated with the session's secrets
    site: str = ""  # filled in by whoever knows whose certificate it is


@dataclass(frozen=True)
class RawChunk:
    """Bytes of one direction as they come, for scanning; the chunks of a layer follow one another without a hole,
    except that "tcp" begins where decryption ended.

    `layer`: "application" (decrypted), "handshake" (TLS messages, certificates among them), or "tcp": as captured,
    because it is no TLS or could not be decrypted.
    """

    session: str
    direction: str
    offset: int  # in the layer's stream
    data: bytes | memoryview = field(repr=False)
    layer: str = "application"
    site: str = ""


@dataclass(frozen=True)
class Exchange:
    """One HTTP request with its response. `*_at`: where its first byte lies in the decrypted stream."""

    session: str
    index: int  # 0, 1, ... within the session
    method: str
    route: str  # "/v1/fleet/push-object"
    status: int  # 0: no response came
    request_headers: tuple[tuple[str, str], ...]
    response_headers: tuple[tuple[str, str], ...]
    request: bytes = field(repr=False)  # bodies
    response: bytes = field(repr=False)
    request_at: int = 0
    response_at: int = 0
    request_body_at: int = 0  # where the body begins; a chunked body has its chunks' heads in between
    response_body_at: int = 0
    site: str = ""


@dataclass(frozen=True)
class WireObject:
    """One content-addressed object of Flower, its SHA-256 checked. `kind`: "ArrayChunk", "ConfigRecord", ..."""

    id: str
    kind: str
    body: bytes | memoryview = field(repr=False)  # what follows the object's head
    place: Place = field(default_factory=Place)  # of the body, in its decrypted stream


@dataclass(frozen=True)
class Leaf:
    """One value inside a message: a config or metric value, or an array. `path`: "metrics/train-loss"."""

    path: str
    kind: str  # "config", "metric", "array", or "field": one of a request or response, outside of any record
    value: Any = field(repr=False)  # bool, int, float, str, bytes, a list of one of them, or an (...) ndarray
    place: Place = field(default_factory=Place)
    object_id: str = ""  # of the object that holds the value: equal ids are equal values


@dataclass(frozen=True)
class WireMessage:
    """One Flower message, whole: its metadata and every value in it.

    Requests and responses that carry no message come in the same form, with the route as `kind` and each of their
    fields as a leaf "request/…" or "response/…", so that no free text crosses unseen.
    """

    id: str
    kind: str  # Flower's message type: "train", "query" ..., or a route
    metadata: Mapping[str, str]
    leaves: tuple[Leaf, ...]
    error: str = ""  # the message carries an error instead of content
    place: Place = field(default_factory=Place)

    def arrays(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """The arrays by path."""
        return {leaf.path: leaf.value for leaf in self.leaves if leaf.kind == "array"}
