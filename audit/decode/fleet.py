"""What is said on the fleet's routes: exchanges become objects and messages, and every body's bytes are booked.

A message is announced (`push-messages`, `pull-messages`) with the tree of its objects' ids; the objects cross one by
one or several calls in a parcel (`parcels`), each only once, in any order and from any session. A message is yielded
when the last of its objects is there. At the end:

* An object that no announced tree has: somebody moved bytes that belong to nothing. A finding, unless something was
  not seen (the announcement may be in it): then a blind spot.
* A message of which some objects crossed and others never did, as when a site stops in mid-upload: a blind spot, since
  what crossed cannot be read as part of a whole (its bytes were scanned). If none crossed, there was nothing to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from google.protobuf.message import Message

from audit.decode.conversation import TO_COORDINATOR, TO_SITE, Exchange, Leaf, WireMessage, WireObject
from audit.decode.flower import (
    PULL_MESSAGES,
    PULL_OBJECT,
    PUSH_MESSAGES,
    PUSH_OBJECT,
    ROUTES,
    Announcement,
    Envelope,
    NotCanonical,
    announcements,
    fields,
    open_envelope,
    parse,
)
from audit.decode.handshake import Malformed
from audit.decode.ledger import Page
from audit.decode.objects import ObjectStore, read_object
from audit.decode.parcels import PARCEL, Part, calls_of, parts_of
from audit.decode.records import MessageReader
from audit.findings import BlindSpot, Finding, Place

__all__ = ["JOIN", "FleetReader"]

_HEALTH = "/health"
JOIN = frozenset({"/v1/fleet/register-node", "/v1/fleet/activate-node"})
_MAX_FIELDS = 100_000
# Only objects are large; small bodies full of tiny fields would take many times their size once parsed.
_MAX_PLAIN_BODY_BYTES = 16 << 20


@dataclass
class _Awaited:
    """A message whose objects are awaited."""

    said: Announcement
    place: Place
    missing: set[str]


class FleetReader:
    """`read` each exchange, `finish` after the last. `page_of`: the ledger's page of a session and direction."""

    def __init__(
        self,
        store: ObjectStore,
        note: Callable[[Finding | BlindSpot], None],
        page_of: Callable[[str, str], Page],
    ) -> None:
        self._store, self._note, self._page_of = store, note, page_of
        self._messages = MessageReader(store, note)
        self._waiting: dict[str, list[_Awaited]] = {}
        self._announced: set[str] = set()  # every id in any tree
        self._whole: set[str] = set()  # ids in messages that were yielded
        self._places: dict[str, Place] = {}
        self._nodes: dict[int, str] = {}

    def site_of(self, exchange: Exchange) -> str:
        """The site that an exchange belongs to: by its session's certificate, or by the node that it names."""
        try:
            if exchange.route == PARCEL:
                asked = parts_of(exchange.request)[:1]
                exchange = calls_of(replace(exchange, status=0), asked, ())[0]
            kind = ROUTES.get(exchange.route)
            if kind is None:
                return exchange.site
            if exchange.route in JOIN:
                message = parse(kind[1], exchange.response) if exchange.status == 200 else None
            else:
                message = parse(kind[0], exchange.request)
        except Malformed:
            return exchange.site
        node = getattr(getattr(message, "node", message), "node_id", 0)
        if exchange.site and node:
            self._nodes.setdefault(node, exchange.site)
        return exchange.site or (self._nodes.get(node, f"node {node}") if node else "")

    def read(self, exchange: Exchange) -> Iterator[WireObject | WireMessage]:
        """What one exchange carries, in this order: its object, its plain fields, the messages that are whole now."""
        if exchange.route == PARCEL:
            yield from self._parcel(exchange)
            return
        types = ROUTES.get(exchange.route)
        base = Place(session=exchange.session, site=exchange.site, message=exchange.route)
        asked = replace(base, direction=TO_COORDINATOR, unit="stream", offset=exchange.request_body_at)
        answered = replace(base, direction=TO_SITE, unit="stream", offset=exchange.response_body_at)
        request = self._body(exchange.request, types[0] if types else None, asked)
        plain = types is None or exchange.status != 200
        response = self._body(exchange.response, None if plain else types and types[1], answered)
        if exchange.route == PUSH_OBJECT and request is not None:
            yield from self._object(request, request.message.object_id, asked)
        if exchange.route == PULL_OBJECT and request is not None and response is not None:
            yield from self._object(response, request.message.object_id, answered)
        leaves = list(self._leaves(exchange.request, request, "request", asked))
        leaves += self._leaves(exchange.response, response, "response", answered)
        identity = f"{exchange.session}/{exchange.index}"
        yield WireMessage(identity, exchange.route, {"status": str(exchange.status)}, tuple(leaves), place=asked)
        if exchange.route == PUSH_MESSAGES and request is not None:
            yield from self._announce(request.message, asked)
        if exchange.route == PULL_MESSAGES and response is not None:
            yield from self._announce(response.message, answered)

    def _parcel(self, exchange: Exchange) -> Iterator[WireObject | WireMessage]:
        """Each call that a parcel carries, as if it had come by itself."""
        base = Place(session=exchange.session, site=exchange.site, message=PARCEL, unit="stream")
        asked = replace(base, direction=TO_COORDINATOR, offset=exchange.request_body_at)
        answered = replace(base, direction=TO_SITE, offset=exchange.response_body_at)
        calls = self._parts(exchange.request, asked)
        answers = self._parts(exchange.response, answered) if exchange.status == 200 else []
        leaves: list[Leaf] = []
        if exchange.status != 200:
            leaves += self._leaves(
                exchange.response, self._body(exchange.response, None, answered), "response", answered
            )
        yield WireMessage(
            f"{exchange.session}/{exchange.index}", PARCEL, {"status": str(exchange.status)}, tuple(leaves), place=asked
        )
        try:
            each_by_itself = calls_of(exchange, calls, answers)
        except Malformed as fault:
            self._note(Finding("parcel/unpaired", str(fault), asked, len(exchange.request)))
            return
        for call in each_by_itself:
            yield from self.read(call)

    def _parts(self, data: bytes, place: Place) -> list[Part]:
        """Take one body apart and book what is around its parts; those are booked where they are read."""
        if len(data) > _MAX_PLAIN_BODY_BYTES:
            self._note(BlindSpot("flower/too-large", "a parcel that we do not read", place, len(data)))
            return []
        try:
            found = parts_of(data)
        except NotCanonical as fault:
            self._note(Finding(fault.rule, str(fault), replace(place, offset=place.offset + fault.offset), len(data)))
            return []
        except Malformed as fault:
            self._note(Finding("parcel/malformed", str(fault), place, len(data)))
            return []
        around = len(data) - sum(len(each.data) for each in found)
        pages = self._page_of(place.session, place.direction).parts
        pages["blind/http-body"] -= around
        pages["flower/parcel"] += around
        return found

    def finish(self, *, blind: bool) -> None:
        """Say what is left over. `blind`: something of the capture was not seen."""
        unread = {id(each): each for waiting in self._waiting.values() for each in waiting}
        for message in unread.values():
            crossed = [each for each in message.said.tree if each in self._store and each not in self._whole]
            if crossed:
                size = sum(map(self._store.size, crossed))
                why = f"{len(message.missing)} of {len(message.said.tree)} objects of a message never crossed"
                self._note(BlindSpot("message/incomplete", why, message.place, size))
        for object_id in self._store:
            if object_id not in self._announced:
                make = BlindSpot if blind else Finding
                why = f"object {object_id[:16]} ({self._store.kind(object_id)}) belongs to no message"
                place = self._places.get(object_id, Place())
                self._note(make("object/orphan", why, place, length=self._store.size(object_id)))

    def _body(self, data: bytes, kind: type[Message] | None, place: Place) -> Envelope | None:
        """Parse and book one body. Without a type it is plain text, as errors and /health are, or unknown."""
        parts = self._page_of(place.session, place.direction).parts
        if kind is None:
            known = place.message in ROUTES or place.message in (_HEALTH, PARCEL)
            if data and known:
                parts["blind/http-body"] -= len(data)
                parts["http/plain-body"] += len(data)
            elif not known and place.direction == TO_COORDINATOR:
                self._note(
                    Finding("flower/unknown-route", "a route that Flower's fleet does not have", place, len(data))
                )
            return None
        if len(data) > _MAX_PLAIN_BODY_BYTES and place.message not in (PUSH_OBJECT, PULL_OBJECT):
            self._note(BlindSpot("flower/too-large", f"a {kind.DESCRIPTOR.name} that we do not read", place, len(data)))
            return None
        try:
            envelope = open_envelope(kind, data)
        except Malformed as fault:
            self._note(Finding("protobuf/malformed", str(fault), place, len(data)))
            return None
        parts["blind/http-body"] -= len(data)
        parts[f"flower/{kind.DESCRIPTOR.name}"] += len(data)
        try:
            envelope.check()
        except NotCanonical as fault:
            self._note(Finding(fault.rule, str(fault), replace(place, offset=place.offset + fault.offset), len(data)))
        return envelope

    def _leaves(self, data: bytes, envelope: Envelope | None, path: str, place: Place) -> Iterator[Leaf]:
        """The fields of one body; objects have leaves of their own."""
        if envelope is None:
            if data:
                yield Leaf(path, "field", data, replace(place, path=path, unit="value", offset=0))
            return
        found = fields(envelope.message, path)
        for where, value in islice(found, _MAX_FIELDS):
            yield Leaf(where, "field", value, replace(place, path=where, unit="value", offset=0))
        if next(found, None) is not None:
            self._note(BlindSpot("flower/too-many-fields", f"more than {_MAX_FIELDS} fields in one body", place))

    def _object(self, envelope: Envelope, object_id: str, place: Place) -> Iterator[WireObject | WireMessage]:
        content = envelope.content
        if not content:
            return
        begin = envelope.content_at
        try:
            head = read_object(content, object_id)
        except Malformed as fault:
            where = replace(place, offset=place.offset + begin)
            self._note(Finding("object/malformed", f"object {object_id[:16]}: {fault}", where, len(content)))
            return
        parts = self._page_of(place.session, place.direction).parts
        parts[f"flower/{envelope.message.DESCRIPTOR.name}"] -= len(content)
        parts[f"object/{head.kind}"] += len(content)
        body = content[head.size :]
        where = replace(place, message=object_id, offset=place.offset + begin + head.size)
        self._store.put(object_id, head, body)
        self._places.setdefault(object_id, where)
        yield WireObject(object_id, head.kind, body, where)
        for awaited in self._waiting.pop(object_id, ()):
            awaited.missing.discard(object_id)
            if not awaited.missing:
                yield self._whole_message(awaited)

    def _announce(self, message: Message, place: Place) -> Iterator[WireMessage]:
        try:
            said = announcements(message)
        except Malformed as fault:
            self._note(Finding("message/tree", str(fault), place))
            return
        for each in said:
            where = replace(place, message=each.id, round=each.metadata["group_id"], unit="", offset=0)
            if each.inline:
                self._note(Finding("message/inline-content", "a message with content beside its objects", where))
            self._announced.update(each.tree)
            awaited = _Awaited(each, where, {one for one in each.tree if one not in self._store})
            if not awaited.missing:
                yield self._whole_message(awaited)
            for one in awaited.missing:
                self._waiting.setdefault(one, []).append(awaited)

    def _whole_message(self, awaited: _Awaited) -> WireMessage:
        said, place = awaited.said, awaited.place
        self._whole.update(said.tree)
        if any(self._store.children(each) != children for each, children in said.tree.items()):
            self._note(Finding("message/tree", "its objects hang together in another way than it announced", place))
            return WireMessage(said.id, said.kind, said.metadata, (), place=place)
        metadata, error, leaves = self._messages.read(said.id, place)
        told = {**said.metadata, "message_id": ""}
        if metadata and metadata != told:
            differing = ", ".join(sorted(key for key in told if told[key] != metadata[key]))
            self._note(Finding("message/metadata", f"announced with other metadata than it has: {differing}", place))
        return WireMessage(said.id, said.kind, said.metadata, leaves, error, place)
