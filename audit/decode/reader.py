"""The whole way from packets to messages, as one reader that is fed packet by packet.

    decoder = Decoder(secrets, port=8443, spool=folder)
    for event in decoder.read(read_packets(path)):     # Session | Exchange | WireObject | WireMessage | RawChunk
        ...
    accounts = decoder.finish()                        # blind spots, findings, ledger, sessions

Memory is bounded whatever the capture holds: streams are delivered as soon as they are contiguous, bodies are of
limited size, objects lie on disk. An event's data need not be kept by the reader of events; nothing here changes it
afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from audit.capture.pcap import CaptureFormatError, Packet
from audit.decode.connections import Arrived, Connection, Connections, Ended
from audit.decode.conversation import TO_COORDINATOR, TO_SITE, Exchange, RawChunk, Session, WireMessage, WireObject
from audit.decode.fleet import JOIN, FleetReader
from audit.decode.http import HttpSession
from audit.decode.ledger import MAX_PAGES, Ledger
from audit.decode.notes import Notes
from audit.decode.objects import ObjectStore
from audit.decode.packets import Other, Unreadable, read_segment
from audit.decode.tls import Opened, TlsSession
from audit.findings import BlindSpot, Finding, Place

__all__ = ["Accounts", "Decoder", "Event"]

Event = Session | Exchange | WireObject | WireMessage | RawChunk


@dataclass(frozen=True)
class Accounts:
    """What decoding knows in the end. `other_packets`: those that are not TCP of the audited port."""

    blind_spots: tuple[BlindSpot, ...]
    findings: tuple[Finding, ...]
    ledger: Ledger = field(repr=False)
    sessions: tuple[Session, ...] = field(repr=False)
    packets: int = 0
    other_packets: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything was seen and every byte is accounted for."""
        return not self.blind_spots and self.ledger.unaccounted_bytes == 0


class _Layers:
    """What is built upon one connection."""

    def __init__(self, connection: Connection, secrets: Mapping[bytes, Mapping[str, bytes]], notes: Notes) -> None:
        self.site = ""
        self.offsets: dict[tuple[str, str], int] = {}

        def place(direction: str, unit: str, offset: int) -> Place:
            return Place(session=connection.id, site=self.site, direction=direction, unit=unit, offset=offset)

        def of_tls(rule: str, why: str, direction: str, at: int) -> None:
            make = Finding if rule == "tls/plaintext" else BlindSpot
            notes.add(make(rule, why, place(direction, "tcp", at)))

        def of_http(rule: str, why: str, direction: str, at: int) -> None:
            unseen = rule in ("http/too-large", "http/truncated", "http/unpaired")
            notes.add((BlindSpot if unseen else Finding)(rule, why, place(direction, "stream", at)))

        self.tls = TlsSession(secrets, connection.pages, of_tls)
        self.http = HttpSession(connection.id, connection.pages, of_http)


class Decoder:
    """See the module. `sites`: SHA-256 of a site's certificate (DER, hexadecimal) to its name."""

    def __init__(
        self,
        secrets: Mapping[bytes, Mapping[str, bytes]],
        *,
        port: int,
        spool: Path,
        sites: Mapping[str, str] | None = None,
    ) -> None:
        self._secrets, self._port, self._sites = secrets, port, dict(sites or {})
        self._notes, self._ledger = Notes(), Ledger()
        self._connections = Connections(port, self._ledger, self._notes.add)
        self._store = ObjectStore(spool)
        self._fleet = FleetReader(self._store, self._notes.add, self._ledger.page)
        self._layers: dict[str, _Layers] = {}
        self._sessions: list[Session] = []
        self._packets = self._others = 0
        self._accounts: Accounts | None = None

    def read(self, packets: Iterable[Packet]) -> Iterator[Event]:
        """All events of a capture. A file that breaks off is read as far as it goes, and is a blind spot."""
        try:
            for packet in packets:
                yield from self._read(packet)
        except CaptureFormatError as fault:
            self._notes.add(BlindSpot("capture/format", str(fault)))
        yield from self._arrivals(self._connections.finish())

    def feed(self, packet: Packet) -> list[Event]:
        """What one packet completes, for whoever does not have the packets in one place."""
        return list(self._read(packet))

    def end(self) -> list[Event]:
        """What only the capture's end completes: connections that are still open."""
        return list(self._arrivals(self._connections.finish()))

    def _read(self, packet: Packet) -> Iterator[Event]:
        self._packets += 1
        segment = read_segment(packet.link_type, packet.data, packet.wire_length)
        if isinstance(segment, Unreadable):
            self._notes.add(
                BlindSpot(segment.rule, f"packet {self._packets}: {segment.why}", length=packet.wire_length)
            )
        elif isinstance(segment, Other) or self._port not in (segment.source_port, segment.target_port):
            self._others += 1
        else:
            yield from self._arrivals(self._connections.take(segment, packet.time_s))

    def finish(self) -> Accounts:
        """The accounts; gives the disk back. Calling it again gives the same."""
        if self._accounts is None:
            self.end()
            self._fleet.finish(blind=bool(self._notes.blind_spots()))
            self._store.close()
            self._accounts = Accounts(
                self._notes.blind_spots(),
                self._notes.findings(),
                self._ledger,
                tuple(self._sessions),
                self._packets,
                self._others,
            )
        return self._accounts

    def _arrivals(self, arrivals: Iterator[Arrived | Ended]) -> Iterator[Event]:
        for arrival in arrivals:
            connection = arrival.connection
            layers = self._layers.get(connection.id)
            if layers is None:
                layers = self._layers[connection.id] = _Layers(connection, self._secrets, self._notes)
            if isinstance(arrival, Ended):
                yield from self._end(connection, layers)
                continue
            if arrival.broken:
                yield from self._opened(connection, layers, layers.tls.lose(arrival.direction))
            yield from self._opened(connection, layers, layers.tls.take(arrival.direction, arrival.data))

    def _opened(self, connection: Connection, layers: _Layers, pieces: list[Opened]) -> Iterator[Event]:
        for direction, layer, data in pieces:
            if not layers.site:
                layers.site = self._site_by_certificate(layers)
            offset = layers.offsets.get((direction, layer), 0)
            layers.offsets[direction, layer] = offset + len(data)
            yield RawChunk(connection.id, direction, offset, data, layer, layers.site)
            if layer == "application":
                yield from self._exchanges(layers, layers.http.take(direction, data))

    def _exchanges(self, layers: _Layers, exchanges: list[Exchange]) -> Iterator[Event]:
        for exchange in exchanges:
            if not layers.site or exchange.route in JOIN:
                layers.site = self._fleet.site_of(replace(exchange, site=layers.site))
            exchange = replace(exchange, site=layers.site)
            yield exchange
            yield from self._fleet.read(exchange)

    def _end(self, connection: Connection, layers: _Layers) -> Iterator[Event]:
        for direction, half in connection.halves.items():
            end = layers.tls.lose if half.broken else layers.tls.finish
            yield from self._opened(connection, layers, end(direction))
            yield from self._exchanges(layers, layers.http.finish(direction, whole=not half.broken))
        yield from self._exchanges(layers, layers.http.leftovers())
        session = Session(
            id=connection.id,
            client=connection.client,
            server=connection.server,
            opened_s=connection.opened_s,
            closed_s=connection.closed_s,
            client_bytes=connection.bytes[TO_COORDINATOR],
            server_bytes=connection.bytes[TO_SITE],
            version=layers.tls.version,
            suite=layers.tls.suite,
            client_certificates=layers.tls.certificates(TO_COORDINATOR),
            server_certificates=layers.tls.certificates(TO_SITE),
            decrypted=layers.tls.decrypted and not any(half.broken for half in connection.halves.values()),
            site=layers.site,
        )
        del self._layers[connection.id]
        if len(self._sessions) < MAX_PAGES:
            self._sessions.append(session)
        yield session

    def _site_by_certificate(self, layers: _Layers) -> str:
        shown = layers.tls.certificates(TO_COORDINATOR)
        return self._sites.get(shown[0], "") if shown else ""
