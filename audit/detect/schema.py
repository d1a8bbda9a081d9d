"""The allow-list: what a run declares that its wire may carry; everything else is a finding.

Signatures find what somebody thought of; a declaration finds the rest at no false alarm: a novel header, a key that
no record has, a text with room for a picture, an array too many or of another type. Together with the byte ledger
(audit/decode), by which every byte is inside some declared thing, it bounds what a site can send by accident or
naively. It does not bound what a malicious site hides inside the numbers of a declared array.

Findings name the place and the fault, never the value; a name that the sender chose is shown in 60 characters at most.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from audit.decode.conversation import Exchange, WireMessage, WireObject
from audit.detect.fields import Field, TextField, field_from_mapping
from audit.findings import Finding, Place

__all__ = ["MessageSpec", "Route", "Schema"]

_SHOWN = 60


@dataclass(frozen=True)
class Route:
    """One HTTP route. Header names are written in lower case; body sizes in bytes."""

    method: str
    path: str
    max_request: int
    max_response: int
    request_headers: Mapping[str, TextField]
    response_headers: Mapping[str, TextField]
    statuses: tuple[int, ...] = (200,)

    def __post_init__(self) -> None:
        for name in ("request_headers", "response_headers"):
            headers = getattr(self, name)
            if any(each != each.lower() for each in headers):
                raise ValueError("header names are declared in lower case")
            object.__setattr__(self, name, MappingProxyType(dict(headers)))
        object.__setattr__(self, "statuses", tuple(self.statuses))


@dataclass(frozen=True)
class MessageSpec:
    """One kind of Flower message in one direction: its values by path, its metadata, and the longest error text."""

    kind: str
    direction: str  # "to-coordinator" or "to-site"
    fields: Mapping[str, Field]
    metadata: Mapping[str, TextField]
    error: TextField = field(default_factory=lambda: TextField(0))

    def __post_init__(self) -> None:
        for name in ("fields", "metadata"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True)
class Schema:
    """All that may cross the wire in one run. `objects`: kinds of content-addressed objects, and their longest body."""

    routes: tuple[Route, ...]
    messages: tuple[MessageSpec, ...]
    objects: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, keys in (
            ("routes", [(each.method, each.path) for each in self.routes]),
            ("messages", [(each.kind, each.direction) for each in self.messages]),
        ):
            if len(set(keys)) != len(keys):
                raise ValueError(f"two {name} under one name")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "objects", MappingProxyType(dict(self.objects)))

    def check_exchange(self, exchange: Exchange, place: Place | None = None) -> list[Finding]:
        """Route, status, headers and sizes of one HTTP exchange. `place`: what is known beside session and offset."""
        place = replace(place or Place(), session=exchange.session, message=_shown(exchange.route), unit="stream")
        asked = replace(place, direction="to-coordinator", offset=exchange.request_at)
        answered = replace(place, direction="to-site", offset=exchange.response_at)
        route = next((r for r in self.routes if (r.method, r.path) == (exchange.method, exchange.route)), None)
        if route is None:
            named = f"{_shown(exchange.method)} {_shown(exchange.route)} is no declared route"
            return [_finding("schema/route", named, asked, exchange.request)]
        found = [
            *_header_faults(exchange.request_headers, route.request_headers, asked),
            *_header_faults(exchange.response_headers, route.response_headers, answered),
        ]
        if exchange.status not in route.statuses:
            found.append(_finding("schema/status", f"status {exchange.status} is not declared", answered))
        for body, limit, where in (
            (exchange.request, route.max_request, asked),
            (exchange.response, route.max_response, answered),
        ):
            if len(body) > limit:
                found.append(_finding("schema/body", f"the body has {len(body)} bytes, over {limit}", where, body))
        return found

    def check_message(self, message: WireMessage) -> list[Finding]:
        """Kind, metadata and every value of one Flower message; `message.place.direction` tells which spec holds."""
        place = replace(message.place, message=message.place.message or message.id)
        key = (message.kind, place.direction)
        spec = next((each for each in self.messages if (each.kind, each.direction) == key), None)
        if spec is None:
            return [
                _finding("schema/message", f"{_shown(message.kind)} {place.direction} is no declared message", place)
            ]
        found = []
        for name, text in message.metadata.items():
            if name not in spec.metadata:
                found.append(_finding("schema/metadata", f"metadata {_shown(name)} is not declared", place, text))
            elif fault := spec.metadata[name].fault(text):
                found.append(_finding("schema/metadata", f"metadata {name} {fault}", place, text))
        if message.error and (fault := spec.error.fault(message.error)):
            found.append(_finding("schema/error", f"the error text {fault}", place, message.error))
        counts = Counter(leaf.path for leaf in message.leaves)
        for leaf in message.leaves:
            where = leaf.place if leaf.place != Place() else replace(place, path=_shown(leaf.path))
            if leaf.path not in spec.fields:
                found.append(_finding("schema/field", f"{_shown(leaf.path)} is not declared", where, leaf.value))
            elif counts[leaf.path] > 1:
                found.append(_finding("schema/field", f"{leaf.path} stands in the message twice", where, leaf.value))
            elif fault := spec.fields[leaf.path].fault(leaf.value):
                found.append(_finding("schema/value", f"{leaf.path} {fault}", where, leaf.value))
        return found

    def check_object(self, thing: WireObject) -> list[Finding]:
        """Kind and size of one content-addressed object."""
        if thing.kind not in self.objects:
            return [_finding("schema/object", f"{_shown(thing.kind)} is no declared object", thing.place, thing.body)]
        limit = self.objects[thing.kind]
        if len(thing.body) > limit:
            fault = f"{thing.kind} has {len(thing.body)} bytes, over {limit}"
            return [_finding("schema/object", fault, thing.place, thing.body)]
        return []

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for the report."""
        return {
            "routes": [
                {
                    "method": each.method,
                    "path": each.path,
                    "statuses": list(each.statuses),
                    "max_request": each.max_request,
                    "max_response": each.max_response,
                    "request_headers": _plain(each.request_headers),
                    "response_headers": _plain(each.response_headers),
                }
                for each in self.routes
            ],
            "messages": [
                {
                    "kind": each.kind,
                    "direction": each.direction,
                    "fields": _plain(each.fields),
                    "metadata": _plain(each.metadata),
                    "error": each.error.to_mapping(),
                }
                for each in self.messages
            ],
            "objects": dict(self.objects),
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Schema:
        """The schema that `to_mapping` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        routes = tuple(
            Route(
                method=each["method"],
                path=each["path"],
                statuses=tuple(each["statuses"]),
                max_request=each["max_request"],
                max_response=each["max_response"],
                request_headers=_texts(each["request_headers"]),
                response_headers=_texts(each["response_headers"]),
            )
            for each in mapping["routes"]
        )
        messages = tuple(
            MessageSpec(
                kind=each["kind"],
                direction=each["direction"],
                fields={path: field_from_mapping(one) for path, one in each["fields"].items()},
                metadata=_texts(each["metadata"]),
                error=_text(each["error"]),
            )
            for each in mapping["messages"]
        )
        return cls(routes=routes, messages=messages, objects=mapping["objects"])


def _header_faults(
    headers: tuple[tuple[str, str], ...], declared: Mapping[str, TextField], place: Place
) -> Iterator[Finding]:
    seen: set[str] = set()
    for written, value in headers:
        name = written.lower()
        if name not in declared:
            yield _finding("schema/header", f"header {_shown(name)} is not declared", place, value)
        elif name in seen:
            yield _finding("schema/header", f"header {name} stands there twice", place, value)
        elif fault := declared[name].fault(value):
            yield _finding("schema/header", f"header {name} {fault}", place, value)
        seen.add(name)


def _finding(rule: str, message: str, place: Place, evidence: Any = b"") -> Finding:
    if hasattr(evidence, "tobytes"):
        evidence = evidence.tobytes()
    octets = evidence if isinstance(evidence, bytes) else str(evidence).encode("utf-8", "surrogatepass")
    return Finding(rule, message, place, len(octets), hashlib.sha256(octets).hexdigest() if octets else "")


def _shown(name: str) -> str:
    """A name that the sender chose, short and printable: a name can be a leak too."""
    return ascii(name)[1:-1] if len(name) <= _SHOWN else ascii(name[:_SHOWN])[1:-1] + "..."


def _plain(fields: Mapping[str, Field] | Mapping[str, TextField]) -> dict[str, dict[str, Any]]:
    return {name: each.to_mapping() for name, each in fields.items()}


def _texts(mapping: Mapping[str, Any]) -> dict[str, TextField]:
    return {name: _text(each) for name, each in mapping.items()}


def _text(mapping: Mapping[str, Any]) -> TextField:
    made = field_from_mapping(mapping)
    if not isinstance(made, TextField):
        raise ValueError("headers, metadata and errors are texts")
    return made
