"""Search files for pictures: captures are decoded first, all else is searched as it is.

A capture is a file that begins as one (pcap or pcapng). Its TCP streams are put together; TLS in it is opened where
the session's secrets are given, and is a blind spot where they are not: ciphertext was never searched by anyone who
knew what it was, and a search of it that finds nothing means nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from audit.capture.pcap import CAPTURE_HEADS, CaptureFormatError, read_packets
from audit.decode.conversation import RawChunk, WireMessage
from audit.decode.packets import ACK, SYN, Segment, read_segment
from audit.decode.reader import Decoder
from audit.detect.scan import StreamScanner, scan_report
from audit.findings import BlindSpot, Finding, Place

__all__ = ["FileScan", "scan_files"]

_CHUNK = 1 << 20
_UNSEEN = ("capture/", "packet/", "tcp/", "tls/")
_CARRIER = frozenset({"array/npy"})  # Flower carries arrays as `.npy`

Secrets = Mapping[bytes, Mapping[str, bytes]]


@dataclass(frozen=True)
class FileScan:
    """What one file held. `kind`: "capture" or "bytes"."""

    path: Path
    kind: str
    bytes: int
    findings: tuple[Finding, ...]
    blind_spots: tuple[BlindSpot, ...]


def scan_files(root: Path, *, secrets: Secrets, port: int) -> Iterator[FileScan]:
    """Search a file, or each file below a folder in order of name; links are not followed.

    secrets: of TLS sessions, by client random; port: of the server, in captures; 0: any.

    Raises:
        OSError: `root` itself cannot be read. A file below it that cannot is a blind spot.
    """
    if not root.is_dir():
        yield _scan(root, secrets, port)
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        for path in (Path(folder) / name for name in sorted([*names, *linked])):
            if path.is_symlink() or not path.is_file():
                yield _unread(path, "a link, device or socket is not followed")
                continue
            try:
                yield _scan(path, secrets, port)
            except OSError as error:
                yield _unread(path, f"cannot be read: {error.strerror or error}")


def _scan(path: Path, secrets: Secrets, port: int) -> FileScan:
    with path.open("rb") as file:
        head = file.read(4)
    return _scan_capture(path, secrets, port) if head in CAPTURE_HEADS else _scan_bytes(path)


def _scan_bytes(path: Path) -> FileScan:
    scanner, length = StreamScanner(Place(path=str(path), unit="file")), 0
    findings: list[Finding] = []
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            length += len(piece)
            findings += scanner.feed(piece)
    findings += scanner.close()
    return FileScan(path, "bytes", length, tuple(sorted(findings)), scanner.blind_spots)


def _scan_capture(path: Path, secrets: Secrets, port: int) -> FileScan:
    findings: list[Finding] = []
    blind_spots: list[BlindSpot] = []
    for each in [port] if port else _server_ports(path):
        found, unseen = _scan_port(path, secrets, each)
        findings += found
        blind_spots += unseen
    return FileScan(path, "capture", path.stat().st_size, tuple(sorted(set(findings))), tuple(blind_spots))


def _scan_port(path: Path, secrets: Secrets, port: int) -> tuple[list[Finding], list[BlindSpot]]:
    """What the streams of one port hold. That they are no federation's is no matter here, so only files count."""
    streams: dict[tuple[str, str, str], StreamScanner] = {}
    findings: list[Finding] = []
    with TemporaryDirectory(prefix="secure-fl-scan-") as spool:
        decoder = Decoder(secrets, port=port, spool=Path(spool))
        for item in decoder.read(read_packets(path)):
            if isinstance(item, RawChunk):
                key = (item.session, item.direction, item.layer)
                place = Place(session=item.session, direction=item.direction, path=str(path), unit=item.layer)
                findings += streams.setdefault(key, StreamScanner(place, ignore=_CARRIER)).feed(item.data)
            elif isinstance(item, WireMessage):
                for leaf in item.leaves:
                    if leaf.kind == "array":
                        findings += scan_report(leaf.value.tobytes(), leaf.place).findings
        blind_spots = [each for each in decoder.finish().blind_spots if each.rule.startswith(_UNSEEN)]
    for scanner in streams.values():
        findings += scanner.close()
        blind_spots += scanner.blind_spots
    return findings, blind_spots


def _server_ports(path: Path) -> list[int]:
    """Ports to which somebody opened a connection; a capture that shows no opening is read by its lower ports."""
    opened, seen = set(), set()
    try:
        for packet in read_packets(path):
            segment = read_segment(packet.link_type, packet.data, packet.wire_length)
            if isinstance(segment, Segment):
                seen.add(min(segment.source_port, segment.target_port))
                if segment.flags & (SYN | ACK) == SYN:
                    opened.add(segment.target_port)
    except CaptureFormatError:
        pass  # it is read again, and then counts as a blind spot
    return sorted(opened or seen) or [0]


def _unread(path: Path, why: str) -> FileScan:
    return FileScan(path, "bytes", 0, (), (BlindSpot("file/unread", why, Place(path=str(path))),))
