"""The connections of the audited port: which segment belongs to which, when one has ended, and when its port is used
anew.

A connection that both sides have closed lingers, since repetitions and acknowledgements still come; `_LINGER` later
ones push it out. State is bounded: a flood of SYNs pushes out the oldest connection, which is then judged by what was
seen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from audit.decode.conversation import TO_COORDINATOR, TO_SITE
from audit.decode.ledger import Ledger
from audit.decode.packets import ACK, FIN, RST, SYN, Segment
from audit.decode.tcp import Half, Hold
from audit.findings import BlindSpot, Place

__all__ = ["MAX_CONNECTIONS", "Arrived", "Connection", "Connections", "Ended"]

MAX_CONNECTIONS = 1 << 16
HOLD_ALL_BYTES = 128 << 20  # that all connections together hold back
_LINGER = 32


class Connection:
    """One TCP connection: its two halves and what is known of it. `id`: "s0001", in order of the first packet."""

    def __init__(
        self,
        number: int,
        segment: Segment,
        port: int,
        time_s: float,
        ledger: Ledger,
        hold: Hold,
        note: Callable[[BlindSpot], None],
    ) -> None:
        self.id = f"s{number:04d}"
        to_server = _goes_to_server(segment, port)
        ends = (segment.source, segment.target) if to_server else (segment.target, segment.source)
        self.client, self.server = map(_endpoint, ends)
        self.way = ends  # source and target of what the client sends
        self.ending = False  # a FIN or RST was seen
        self.opened_s = self.closed_s = time_s
        self.pages = {each: ledger.page(self.id, each) for each in (TO_COORDINATOR, TO_SITE)}
        self.halves = {
            each: Half(self.pages[each], hold, self._complaining(each, note)) for each in (TO_COORDINATOR, TO_SITE)
        }
        self.bytes = {TO_COORDINATOR: 0, TO_SITE: 0}

    def peer(self, direction: str) -> Half:
        """The half that goes the other way."""
        return self.halves[TO_SITE if direction == TO_COORDINATOR else TO_COORDINATOR]

    @property
    def closed(self) -> bool:
        """Whether nothing more is expected."""
        halves = self.halves.values()
        return all(half.closed for half in halves) or any(half.was_reset for half in halves)

    def _complaining(self, direction: str, note: Callable[[BlindSpot], None]) -> Callable[[str, str, int, int], None]:
        def complain(rule: str, why: str, position: int, length: int) -> None:
            place = Place(session=self.id, direction=direction, unit="tcp", offset=position)
            note(BlindSpot(rule, why, place, length))

        return complain


class Arrived(NamedTuple):
    """Bytes that are next in a direction. `broken`: something before them is missing."""

    connection: Connection
    direction: str
    data: memoryview
    broken: bool


class Ended(NamedTuple):
    """A connection of which no more comes."""

    connection: Connection


class Connections:
    """`take` segments of the audited port in the order of the capture, `finish` at its end."""

    def __init__(self, port: int, ledger: Ledger, note: Callable[[BlindSpot], None]) -> None:
        self._port, self._ledger, self._note = port, ledger, note
        self._hold = Hold(HOLD_ALL_BYTES)
        # Both ways of a connection: source and target of a segment to the connection and the direction.
        self._ways: dict[tuple[bytes, bytes], tuple[Connection, str]] = {}
        self._open: dict[str, Connection] = {}
        self._lingering: dict[str, Connection] = {}
        self._gone: set[tuple[bytes, bytes]] = set()
        self._count = 0

    def take(self, segment: Segment, time_s: float) -> Iterator[Arrived | Ended]:
        """What a segment lets through."""
        flags = segment.flags
        way = (segment.source, segment.target)
        known = self._ways.get(way)
        if known is not None and flags & SYN:
            connection, direction = known
            from_server = direction == TO_SITE and not flags & ACK
            if from_server or not connection.halves[direction].begins_with(segment):
                yield from self._end(connection)
                known = None
        if known is None:
            if not segment.payload and not flags & SYN and (flags & RST or way in self._gone):
                return  # an echo of what has ended, or a reset of what was never begun: it carries nothing
            known = yield from self._begin(way, segment, time_s)
        connection, direction = known
        half = connection.halves[direction]
        if time_s > connection.closed_s:
            connection.closed_s = time_s
        connection.bytes[direction] += len(segment.payload)
        connection.peer(direction).acknowledge(segment)
        for _, data in half.take(segment):
            yield Arrived(connection, direction, data, half.broken)
        connection.ending = connection.ending or bool(flags & (FIN | RST))
        if connection.ending and connection.id not in self._lingering and connection.closed:
            self._lingering[connection.id] = connection
            if len(self._lingering) > _LINGER:
                yield from self._end(next(iter(self._lingering.values())))

    def finish(self) -> Iterator[Arrived | Ended]:
        """The capture is at its end."""
        for connection in list(self._open.values()):
            yield from self._end(connection)

    def _begin(
        self, way: tuple[bytes, bytes], segment: Segment, time_s: float
    ) -> Generator[Arrived | Ended, None, tuple[Connection, str]]:
        if len(self._open) >= MAX_CONNECTIONS:
            yield from self._end(next(iter(self._open.values())))
        self._count += 1
        connection = Connection(self._count, segment, self._port, time_s, self._ledger, self._hold, self._note)
        self._open[connection.id] = connection
        for each in (connection.way, connection.way[::-1]):
            self._ways[each] = connection, TO_COORDINATOR if each == connection.way else TO_SITE
        return self._ways[way]

    def _end(self, connection: Connection) -> Iterator[Arrived | Ended]:
        del self._open[connection.id]
        self._lingering.pop(connection.id, None)
        for each in (connection.way, connection.way[::-1]):
            self._ways.pop(each, None)  # a segment to its own source has one way only
            if len(self._gone) < 2 * MAX_CONNECTIONS:
                self._gone.add(each)
        for direction, half in connection.halves.items():
            for _, data in half.finish(connection.peer(direction)):
                yield Arrived(connection, direction, data, half.broken)
        yield Ended(connection)


def _goes_to_server(segment: Segment, port: int) -> bool:
    if segment.source_port == segment.target_port:  # then only the handshake tells
        return segment.flags & (SYN | ACK) != SYN | ACK
    return segment.target_port == port


def _endpoint(end: bytes) -> str:
    address, port = ipaddress.ip_address(end[:-2]), int.from_bytes(end[-2:], "big")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
