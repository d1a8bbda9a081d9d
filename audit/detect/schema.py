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
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from audit.decode.conversation import Exchange, Leaf, WireMessage, WireObject
from audit.findings import Finding, Place

__all__ = [
    "Array",
    "Blob",
    "Blobs",
    "Flag",
    "Masked",
    "MessageRule",
    "Number",
    "Numbers",
    "Rule",
    "Schema",
    "Text",
    "Texts",
    "general_path",
]

_INDEX = re.compile(r"/\d+(?=/|$)")


@dataclass(frozen=True)
class Text:
    """A text of at most `longest` characters that is, as a whole, of the pattern."""

    longest: int
    pattern: str = r"[ -~]*"


@dataclass(frozen=True)
class Blob:
    """Between `shortest` and `longest` bytes: keys and signatures."""

    shortest: int
    longest: int


@dataclass(frozen=True)
class Number:
    """One number, whole or not, from `low` to `high`, both included; NaN and infinities only if `any_float`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    any_float: bool = False


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Numbers:
    """At most `most` numbers in a list, each from `low` to `high`."""

    most: int
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Texts:
    """At most `most` texts in a list."""

    most: int
    each: Text = Text(64, "[0-9a-f]{64}")


@dataclass(frozen=True)
class Array:
    """An array of exactly this type and shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Masked:
    """An array of exactly this type and shape, of integers that are uniform because they are masked (`masked`)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Blobs:
    """At most `most` byte strings in a list, each of at most `longest` bytes."""

    most: int
    longest: int


Rule = Text | Blob | Blobs | Number | Flag | Numbers | Texts | Array | Masked


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
            {**asdict(each), "values": {path: _spelled(rule) for path, rule in each.values.items()}}
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
                values={path: _rule(rule) for path, rule in each["values"].items()},
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
        if message.error and (fault := _fault(message.error, self.errors)):
            findings.append(_finding("schema/value", f"the error's text: {fault}", message.place, message.error))
        refused = message.metadata.get("status", "200") in map(str, self.refusals)
        for leaf in message.leaves:
            if leaf.path == "error/reason":
                continue  # it is part of `error`
            path = general_path(leaf.path)
            wanted = self.errors if refused and path == "response" else rule.values.get(path)
            if wanted is None:
                findings.append(_finding("schema/key", f"{path[:80]!r} is not declared", leaf.place, leaf.value))
            elif fault := _fault(leaf.value, wanted):
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
        elif fault := _fault(value, declared[key]):
            findings.append(_finding("schema/header", f"header {key!r}: {fault}", where, value))
        seen.add(key)
    return findings


def _fault(value: Any, rule: Rule) -> str:
    """What is wrong with a value; empty if nothing is."""
    match rule:
        case Text():
            return _text_fault(value, rule)
        case Blob():
            if not isinstance(value, bytes):
                return f"{type(value).__name__} in place of bytes"
            fits = rule.shortest <= len(value) <= rule.longest
            return "" if fits else f"{len(value)} bytes, {rule.shortest} to {rule.longest} are declared"
        case Flag():
            return "" if isinstance(value, bool) else f"{type(value).__name__} in place of true or false"
        case Number():
            return _number_fault(value, rule)
        case Numbers(most, low, high):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} numbers is declared"
            each = Number(low, high)
            return next(filter(None, (_number_fault(number, each) for number in value)), "")
        case Texts(most, each):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} texts is declared"
            return next(filter(None, (_text_fault(text, each) for text in value)), "")
        case Blobs(most, longest):
            if not isinstance(value, list) or len(value) > most:
                return f"a list of at most {most} byte strings is declared"
            return next(filter(None, (_fault(each, Blob(0, longest)) for each in value)), "")
        case Array(dtype, shape) | Masked(dtype, shape):
            if not isinstance(value, np.ndarray):
                return f"{type(value).__name__} in place of an array"
            fits = value.dtype.str.lstrip("<|=") == dtype and value.shape == shape
            return "" if fits else f"{value.dtype} {value.shape} in place of {dtype} {shape}"


def _text_fault(value: Any, rule: Text) -> str:
    if isinstance(value, bytes):  # the body of a refusal
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return "bytes that are no text"
    if not isinstance(value, str):
        return f"{type(value).__name__} in place of a text"
    if len(value) > rule.longest:
        return f"{len(value)} characters, at most {rule.longest} are declared"
    return "" if _pattern(rule.pattern).fullmatch(value) else f"a text that is not of the form {rule.pattern}"


def _number_fault(value: Any, rule: Number) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{type(value).__name__} in place of a number"
    if rule.whole and not isinstance(value, int):
        return f"{value!r} in place of a whole number"
    if not math.isfinite(value):
        return "" if rule.any_float else f"{value!r} in place of a finite number"
    return "" if rule.low <= value <= rule.high else f"{value:g} is not between {rule.low:g} and {rule.high:g}"


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


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


_TYPES: Mapping[str, Any] = {
    each.__name__: each for each in (Text, Blob, Blobs, Number, Flag, Numbers, Texts, Array, Masked)
}


def _spelled(rule: Rule) -> dict[str, Any]:
    """JSON has no infinity: a bound that is none is left out."""
    kept = {key: value for key, value in asdict(rule).items() if value not in (math.inf, -math.inf)}
    return {"type": type(rule).__name__, **kept}


def _rule(spelled: Mapping[str, Any]) -> Rule:
    given = {key: value for key, value in spelled.items() if key != "type"}
    if "shape" in given:
        given["shape"] = tuple(given["shape"])
    if isinstance(given.get("each"), dict):
        given["each"] = Text(**given["each"])
    made: Rule = _TYPES[spelled["type"]](**given)
    return made
