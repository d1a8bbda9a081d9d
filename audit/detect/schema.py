"""What may cross the wire, declared by a run; everything else is a finding.

A search for pictures can be fooled; a list of what is allowed cannot be surprised. The run says which routes, headers,
messages and values there are, of what type, size and range each is. A field that nobody declared, a text that is too
long, an array of another shape is a finding although nobody knows what it means. Together with the byte ledger (every
byte belongs to a declared thing) this is the proof that nothing else was sent.

What it does not do: tell whether an allowed value means what it says. A float32 update of the right shape can carry
other numbers; `pixels`, `fingerprints` and the searches look at those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from audit.decode.conversation import Exchange, Leaf, WireMessage, WireObject
from audit.detect.rules import Masked, Rule, Text, fault_of, rule_of, spelled
from audit.findings import Finding, Place

__all__ = ["MessageRule", "Schema", "general_path"]

_INDEX = re.compile(r"/\d+(?=/|$)")


@dataclass(frozen=True)
class MessageRule:
    """One kind of message in one direction: its values by path, "*" standing for an index. `kind`: type or route."""

    kind: str
    values: Mapping[str, Rule]
    direction: str = ""  # "": either


@dataclass(frozen=True)
class Schema:
    """All that a run declares. Headers by lower-case name; `objects`: kinds of content-addressed objects."""

    messages: tuple[MessageRule, ...]
    request_headers: Mapping[str, Text]
    response_headers: Mapping[str, Text]
    objects: tuple[str, ...]
    statuses: tuple[int, ...] = (200,)
    refusals: tuple[int, ...] = ()  # statuses whose body is a short text, `response`
    errors: Text = field(default_factory=lambda: Text(0))  # the text of a message that is an error

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for a report; each rule names its type."""
        plain = asdict(self)
        plain["messages"] = [
            {**asdict(each), "values": {path: spelled(rule) for path, rule in each.values.items()}}
            for each in self.messages
        ]
        return plain

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> Schema:
        """The reverse of `to_mapping`; raises ValueError, TypeError or KeyError for anything else."""
        messages = tuple(
            MessageRule(
                kind=each["kind"],
                direction=each["direction"],
                values={path: rule_of(rule) for path, rule in each["values"].items()},
            )
            for each in plain["messages"]
        )
        headers = {
            side: {name: Text(**text) for name, text in plain[side].items()}
            for side in ("request_headers", "response_headers")
        }
        return cls(
            messages=messages,
            objects=tuple(plain["objects"]),
            statuses=tuple(plain["statuses"]),
            refusals=tuple(plain["refusals"]),
            errors=Text(**plain["errors"]),
            **headers,
        )

    def check_exchange(self, exchange: Exchange) -> list[Finding]:
        """Route, method, status and headers; what the bodies hold is checked message by message."""
        asked = Place(
            session=exchange.session,
            site=exchange.site,
            direction="to-coordinator",
            message=exchange.route,
            unit="stream",
            offset=exchange.request_at,
        )
        answered = replace(asked, direction="to-site", offset=exchange.response_at)
        findings = []
        if exchange.method != "POST" or not any(rule.kind == exchange.route for rule in self.messages):
            findings.append(_finding("schema/route", f"{exchange.method} {exchange.route} is not declared", asked))
        # 0: no answer was seen, which is a blind spot of the decoder's.
        if exchange.status not in (0, *self.statuses, *self.refusals):
            findings.append(_finding("schema/status", f"an answer with status {exchange.status}", answered))
        findings += _headers(exchange.request_headers, self.request_headers, asked)
        findings += _headers(exchange.response_headers, self.response_headers, answered)
        return findings

    def check_object(self, object_: WireObject) -> list[Finding]:
        """Its kind."""
        if object_.kind in self.objects:
            return []
        return [_finding("schema/object", f"an object of kind {object_.kind[:40]!r} is not declared", object_.place)]

    @property
    def masks(self) -> bool:
        """Whether anything is declared to be masked."""
        return any(isinstance(rule, Masked) for each in self.messages for rule in each.values.values())

    def masked(self, message: WireMessage) -> Iterator[Leaf]:
        """The arrays of a message that are declared to be masked."""
        declared = rule.values if (rule := self._rule_of(message)) else {}
        for leaf in message.leaves:
            if isinstance(declared.get(leaf.path), Masked) and isinstance(leaf.value, np.ndarray):
                yield leaf

    def check_message(self, message: WireMessage) -> list[Finding]:
        """Every value against its rule. A refused request answers with one short text instead of its fields."""
        rule = self._rule_of(message)
        if rule is None:
            said = f"a message of kind {message.kind[:40]!r} {message.place.direction} is not declared"
            return [_finding("schema/message", said, message.place)]
        findings = []
        if message.error and (fault := fault_of(message.error, self.errors)):
            findings.append(_finding("schema/value", f"the error's text: {fault}", message.place, message.error))
        refused = message.metadata.get("status", "200") in map(str, self.refusals)
        for leaf in message.leaves:
            if leaf.path == "error/reason":
                continue  # it is part of `error`
            path = general_path(leaf.path)
            wanted = self.errors if refused and path == "response" else rule.values.get(path)
            if wanted is None:
                findings.append(_finding("schema/key", f"{path[:80]!r} is not declared", leaf.place, leaf.value))
            elif fault := fault_of(leaf.value, wanted):
                findings.append(_finding("schema/value", f"{path}: {fault}", leaf.place, leaf.value))
        return findings

    def _rule_of(self, message: WireMessage) -> MessageRule | None:
        fitting = (
            each
            for each in self.messages
            if each.kind == message.kind and each.direction in ("", message.place.direction)
        )
        return next(fitting, None)


def general_path(path: str) -> str:
    """The path with "*" in place of each index, as "request/messages_list/*/metadata"."""
    return _INDEX.sub("/*", path) if path.startswith(("request/", "response/")) else path


def _headers(given: Iterable[tuple[str, str]], declared: Mapping[str, Text], place: Place) -> list[Finding]:
    findings, seen = [], set()
    for name, value in given:
        key = name.lower()
        where = replace(place, path=f"headers/{key[:80]}")
        if key not in declared:
            findings.append(_finding("schema/header", f"header {key[:80]!r} is not declared", where, value))
        elif key in seen:
            findings.append(_finding("schema/header", f"header {key!r} comes twice", where, value))
        elif fault := fault_of(value, declared[key]):
            findings.append(_finding("schema/header", f"header {key!r}: {fault}", where, value))
        seen.add(key)
    return findings


def _finding(rule: str, message: str, place: Place, value: Any = None) -> Finding:
    data = _bytes(value)
    digest = hashlib.sha256(data).hexdigest() if data else ""
    return Finding(rule=rule, message=message, place=place, length=len(data), evidence_sha256=digest)


def _bytes(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case bytes():
            return value
        case np.ndarray():
            return value.tobytes()
        case _:
            return str(value).encode("utf-8", "surrogateescape")
