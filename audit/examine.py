"""From captured packets to a verdict: decode, check against the schema, search, match the controls, count the bytes.

Everything here follows from the evidence alone, so whoever holds it (the capture, the opened session secrets, the
schema) comes to the same examination, finding by finding: this is what `secure-fl audit verify --recheck` does. Only
pictures of the sites (`indexes`) are evidence that never leaves them; without an index they cannot be searched for.

What is searched, each byte at least once in each form in which a file or a picture could hide:

    the decrypted stream of each session and direction        files, whatever message or header they lie in
    each value of each message, and the values of one name    files in encodings (base64, gzip, …), and files cut in
      from one site one after the other                         pieces over several messages
    each array, its chunks joined                              files, pixels that look like pictures, known pictures
    each array that is declared to be masked                   words that are not uniform, masks that were used twice
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audit.capture.pcap import Packet
from audit.controls.plan import CONTROL_SITE, Control
from audit.decode.conversation import (
    TO_COORDINATOR,
    TO_SITE,
    Exchange,
    Leaf,
    RawChunk,
    Session,
    WireMessage,
    WireObject,
)
from audit.decode.ledger import Ledger as WireLedger
from audit.decode.reader import Decoder
from audit.detect.masked import MaskedOverTime
from audit.detect.pixels import inspect_array
from audit.detect.scan import StreamScanner, scan_report
from audit.detect.schema import Schema
from audit.findings import BlindSpot, Finding, Place
from audit.report.examination import Capture, Examination, Flow, Ledger, LedgerLine, Polarity, WireSession, examine
from audit.report.examination import Control as ControlResult

__all__ = ["Evidence", "examine_wire"]

# Flower carries each array as `.npy` bytes; in the raw stream these are no finding.
_CARRIER = frozenset({"array/npy"})


class Searcher(Protocol):
    """Looks for pictures that it knows (`audit.detect.fingerprints.ImageIndex`)."""

    def search(self, data: bytes | memoryview, place: Place, /) -> list[Finding]:
        """Where one of them, or a part of it, lies in the data."""


# Fields of Flower's requests: ids, digests and times, each bound by the schema. Shorter than this, none holds a file;
# values of our own records are searched whatever their length, as parts of a file may be short.
_SHORTEST_FILE = 128


@dataclass(frozen=True)
class Evidence:
    """What an examination rests on.

    sites: SHA-256 of each certificate that may connect, to the name of its owner. indexes: by site, what knows its
    pictures; what a site sends is searched for its own, what is sent to sites for those of all.
    """

    captures: tuple[Capture, ...]
    secrets: Mapping[bytes, Mapping[str, bytes]] = field(repr=False)
    port: int
    sites: Mapping[str, str]
    schema: Schema
    controls: tuple[Control, ...]
    indexes: Mapping[str, Searcher] = field(default_factory=dict)


def examine_wire(
    evidence: Evidence, packets: Iterable[Packet], *, spool: Path, blind_spots: Sequence[BlindSpot] = ()
) -> Examination:
    """Decode and search `packets`, the captured ones in order of time.

    spool: a private folder for parts of arrays, emptied again. blind_spots: what the capture itself lost.
    """
    decoder = Decoder(evidence.secrets, port=evidence.port, spool=spool, sites=evidence.sites)
    examiner = _Examiner(evidence)
    for item in decoder.read(packets):
        examiner.take(item)
    accounts = decoder.finish()
    examiner.close()
    findings = {*accounts.findings, *examiner.findings}
    return examine(
        captures=evidence.captures,
        sessions=[_wire_session(each) for each in accounts.sessions],
        ledger=_ledger(accounts.ledger, accounts.sessions),
        flows=examiner.flows(),
        findings=[each for each in findings if each.place.site != CONTROL_SITE],
        blind_spots=[*{*blind_spots, *accounts.blind_spots, *examiner.blind_spots}],
        controls=[_result(control, findings) for control in evidence.controls],
    )


class _Examiner:
    """Takes what the decoder yields, one by one."""

    def __init__(self, evidence: Evidence) -> None:
        self.findings: list[Finding] = []
        self.blind_spots: list[BlindSpot] = []
        self._schema = evidence.schema
        self._indexes = evidence.indexes
        self._raw: dict[tuple[str, str, str], StreamScanner] = {}
        self._said: dict[tuple[str, ...], _SaidOverTime] = {}
        self._masked: dict[tuple[str, ...], MaskedOverTime] = {}
        self._searched: dict[str, list[Finding]] = {}
        self._flow_bytes: Counter[tuple[str, str, str]] = Counter()
        self._flow_messages: Counter[tuple[str, str, str]] = Counter()

    def take(self, item: Session | Exchange | WireObject | WireMessage | RawChunk) -> None:
        """Check and search one item."""
        match item:
            case RawChunk():
                key = (item.session, item.direction, item.layer)
                place = Place(session=item.session, site=item.site, direction=item.direction, unit=item.layer)
                if key not in self._raw:
                    self._raw[key] = StreamScanner(place, ignore=_CARRIER, headerless=False)
                self.findings += self._raw[key].feed(item.data)
            case Exchange():
                self.findings += self._schema.check_exchange(item)
            case WireObject():
                self.findings += self._schema.check_object(item)
            case WireMessage():
                self._message(item)
            case Session():
                for key in [each for each in self._raw if each[0] == item.id]:
                    self._end(self._raw.pop(key))

    def close(self) -> None:
        """Hear of what only the end of each stream shows."""
        for scanner in self._raw.values():
            self._end(scanner)
        for said in self._said.values():
            self.findings += said.close()
            self.blind_spots += said.blind_spots

    def flows(self) -> list[Flow]:
        """Bytes of values, and messages, by site, direction and round."""
        return [Flow(*key, size, self._flow_messages[key]) for key, size in self._flow_bytes.items()]

    def _end(self, scanner: StreamScanner) -> None:
        self.findings += scanner.close()
        self.blind_spots += scanner.blind_spots

    def _message(self, message: WireMessage) -> None:
        self.findings += self._schema.check_message(message)
        place = message.place
        key = (place.site, place.direction, "controls" if place.site == CONTROL_SITE else place.round)
        self._flow_messages[key] += 1
        for leaf in message.leaves:
            self._flow_bytes[key] += self._leaf(leaf)
        for leaf in self._schema.masked(message):
            self._check_mask(leaf)

    def _check_mask(self, leaf: Leaf) -> None:
        key = (leaf.place.site, leaf.place.direction, _group(leaf.place), leaf.path)
        try:
            self.findings += self._masked.setdefault(key, MaskedOverTime()).add(leaf.value, leaf.place)
        except ValueError as why:  # another type is a finding of the schema's; too few words cannot be judged
            self.blind_spots.append(BlindSpot("masking/not-judged", str(why), leaf.place))

    def _leaf(self, leaf: Leaf) -> int:
        """Search one value; its bytes."""
        forms = _forms(leaf.value)
        if not forms or (leaf.kind == "field" and len(forms[0]) < _SHORTEST_FILE):
            return len(forms[0]) if forms else 8
        if leaf.object_id not in self._searched or not isinstance(leaf.value, np.ndarray):
            found = self._search(leaf, forms)
        else:  # the same array, as it goes to each of the sites
            found = self._searched[leaf.object_id]
        self.findings += [replace(each, place=replace(leaf.place, offset=each.place.offset)) for each in found]
        if leaf.place.direction == TO_SITE:
            self._searched[leaf.object_id] = found
        for number, form in enumerate(forms):
            key = (leaf.place.site, leaf.place.direction, _group(leaf.place), leaf.path, str(number))
            self.findings += self._said.setdefault(key, _SaidOverTime()).add(form, leaf.place, found)
        return len(forms[0])

    def _search(self, leaf: Leaf, forms: Sequence[bytes]) -> list[Finding]:
        """What one value holds by itself, whoever sent it."""
        found: list[Finding] = []
        for form in forms:
            report = scan_report(form, leaf.place)
            found += report.findings
            self.blind_spots += report.blind_spots
            for index in self._indexes_for(leaf.place):
                found += index.search(form, leaf.place)
        if isinstance(leaf.value, np.ndarray):
            found += inspect_array(leaf.value, leaf.place)
        return found

    def _indexes_for(self, place: Place) -> Collection[Searcher]:
        own = self._indexes.get(place.site) if place.direction == TO_COORDINATOR else None
        return self._indexes.values() if own is None else (own,)


class _SaidOverTime:
    """The values of one name from one site, one after the other: a file may be cut into several of them."""

    def __init__(self) -> None:
        self._scanner = StreamScanner(Place())
        self._starts: list[int] = []
        self._places: list[Place] = []
        self._length = 0
        self._known: set[tuple[int, str]] = set()

    @property
    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """What could not be looked into, at the place of the first value."""
        return tuple(replace(each, place=self._places[0]) for each in self._scanner.blind_spots)

    def add(self, form: bytes, place: Place, known: Sequence[Finding]) -> list[Finding]:
        """The next value; `known`: what was found in it by itself."""
        self._starts.append(self._length)
        self._places.append(place)
        self._known |= {(self._length + each.place.offset, each.rule) for each in known}
        self._length += len(form)
        return self._new(self._scanner.feed(form))

    def close(self) -> list[Finding]:
        """What is left at the end."""
        return self._new(self._scanner.close())

    def _new(self, found: Sequence[Finding]) -> list[Finding]:
        """Those that no single value shows, each at the place where it begins."""
        fresh = []
        for each in found:
            if (each.place.offset, each.rule) not in self._known:
                which = bisect_right(self._starts, each.place.offset) - 1
                place = replace(self._places[which], offset=each.place.offset - self._starts[which])
                fresh.append(replace(each, place=place, message=f"{each.message}, over several messages"))
        return fresh


def _forms(value: Any) -> list[bytes]:
    """A value as the bytes in which a file could lie: a text is UTF-8 on the wire, and Latin-1 to careless programs."""
    match value:
        case np.ndarray():
            return [value.tobytes()] if value.size else []
        case bytes():
            return [value] if value else []
        case str():
            forms = {value.encode("utf-8", "surrogateescape")}
            with_bytes = all(ord(letter) < 256 for letter in value)
            return sorted(forms | {value.encode("latin-1")} if with_bytes else forms) if value else []
        case [*numbers] if numbers and all(isinstance(each, int | float) for each in numbers):
            array = np.asarray(numbers, dtype=np.float64)
            whole = bool(np.all((array >= 0) & (array <= 255) & (array == np.floor(array))))
            return [array.astype(np.uint8).tobytes() if whole else array.astype(np.float32).tobytes()]
        case [*texts]:
            return [form for each in texts for form in _forms(each)]
    return []


def _group(place: Place) -> str:
    """What separates the streams of one site: each control is a site of its own; real rounds belong together."""
    return place.round if place.site == CONTROL_SITE else ""


def _wire_session(session: Session) -> WireSession:
    return WireSession(
        id=session.id,
        site=session.site,
        client=session.client,
        server=session.server,
        opened_s=session.opened_s,
        closed_s=session.closed_s,
        client_bytes=session.client_bytes,
        server_bytes=session.server_bytes,
        version=session.version,
        suite=session.suite,
        client_certificates=session.client_certificates,
        server_certificates=session.server_certificates,
        decrypted=session.decrypted,
        control=session.site == CONTROL_SITE,
    )


def _ledger(ledger: WireLedger, sessions: Sequence[Session]) -> Ledger:
    """The decoder's pages by site; what nobody could read is not explained, whatever it is called."""
    owners = {each.id: each.site for each in sessions}
    lines: Counter[tuple[str, str, str]] = Counter()
    for (session, direction), page in ledger.pages.items():
        for category, size in page.parts.items():
            if size and not category.startswith("blind/"):
                lines[owners.get(session, ""), direction, category] += size
    explained = sum(lines.values())
    return Ledger(
        captured_bytes=ledger.captured_bytes,
        unaccounted_bytes=ledger.captured_bytes - explained,
        lines=tuple(LedgerLine(*key, size) for key, size in lines.items()),
    )


def _result(control: Control, findings: Collection[Finding]) -> ControlResult:
    shown = sorted(each for each in findings if control.shown_by(each))
    seen = f"{shown[0].rule} in {shown[0].place.path or shown[0].place.message}" if shown else "nothing"
    return ControlResult(
        name=control.name,
        polarity=Polarity.POSITIVE if control.positive else Polarity.NEGATIVE,
        sends=control.sends,
        expected=" or ".join(control.rules) or "silence",
        fired=bool(shown),
        seen=seen,
    )
