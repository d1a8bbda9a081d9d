"""What a decoder makes of frames or packets, gathered for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from audit.capture.pcap import Packet
from audit.decode.conversation import Exchange, RawChunk, Session, WireMessage, WireObject
from audit.decode.reader import Decoder
from tests.audit.decode.wire import PORT, Frame, packets

_SPOOL = tempfile.TemporaryDirectory()  # one for all: thousands are made and removed slowly


class Decoded:
    """`layers`: bytes by direction and layer, over all sessions in their order."""

    def __init__(
        self,
        wire: Iterable[Frame] | Iterable[Packet],
        secrets: Mapping[bytes, Mapping[str, bytes]],
        *,
        sites: Mapping[str, str] | None = None,
    ) -> None:
        pieces: dict[tuple[str, str], list[bytes]] = {}
        self.exchanges: list[Exchange] = []
        self.objects: list[WireObject] = []
        self.messages: list[WireMessage] = []
        self.requests: list[WireMessage] = []
        self.sessions: list[Session] = []
        wire = list(wire)  # type: ignore[arg-type]
        frames = [each for each in wire if isinstance(each, Frame)]
        folder = Path(_SPOOL.name)
        decoder = Decoder(secrets, port=PORT, spool=folder, sites=sites)
        for event in decoder.read(packets(frames) if frames else wire):  # type: ignore[arg-type]
            match event:
                case RawChunk():
                    pieces.setdefault((event.direction, event.layer), []).append(bytes(event.data))
                case Exchange():
                    self.exchanges.append(event)
                case WireObject():
                    self.objects.append(event)
                case WireMessage():
                    (self.requests if event.kind.startswith("/") else self.messages).append(event)
                case Session():
                    self.sessions.append(event)
        self.accounts = decoder.finish()
        assert list(folder.iterdir()) == []
        self.layers = {key: b"".join(each) for key, each in pieces.items()}
        booked = sum(self.accounts.ledger.by_category().values())
        assert booked == self.accounts.ledger.captured_bytes, "a byte is booked twice, or not at all"

    @property
    def blind(self) -> set[str]:
        return {each.rule for each in self.accounts.blind_spots}

    @property
    def found(self) -> set[str]:
        return {each.rule for each in self.accounts.findings}

    def said(self) -> dict[str, bytes]:
        """The decrypted application bytes of each direction."""
        return {direction: data for (direction, layer), data in self.layers.items() if layer == "application"}
