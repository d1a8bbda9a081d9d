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

from audit.capture.pcap import CaptureFormatError, is_capture, read_capture
from audit.decode.conversation import WireMessage
from audit.decode.reader import Decoder, RawChunk
from audit.detect.scan import StreamScanner, scan_report
from audit.findings import BlindSpot, Finding, Place

__all__ = ["FileScan", "scan_files"]

_CHUNK = 1 << 20
_CARRIER = frozenset({"file/npy"})  # Flower carries arrays as `.npy`

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
        for path in (Path(folder) / name for name in sorted(names)):
            if path.is_symlink() or not path.is_file():
                yield _unread(path, "a link, device or socket is not followed")
                continue
            try:
                yield _scan(path, secrets, port)
            except OSError as error:
                yield _unread(path, f"cannot be read: {error.strerror or error}")


def _scan(path: Path, secrets: Secrets, port: int) -> FileScan:
    return _scan_capture(path, secrets, port) if is_capture(path) else _scan_bytes(path)


def _scan_bytes(path: Path) -> FileScan:
    scanner, length = StreamScanner(Place(path=str(path), unit="file")), 0
    findings: list[Finding] = []
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            length += len(piece)
            findings += scanner.feed(piece)
    end = scanner.close()
    return FileScan(path, "bytes", length, tuple(sorted({*findings, *end.findings})), tuple(end.blind_spots))


def _scan_capture(path: Path, secrets: Secrets, port: int) -> FileScan:
    streams: dict[tuple[str, str], StreamScanner] = {}
    findings: list[Finding] = []
    blind_spots: list[BlindSpot] = []
    with TemporaryDirectory(prefix="secure-fl-scan-") as spool:
        decoder = Decoder(secrets, port=port, spool=Path(spool))
        try:
            for item in decoder.read(read_capture(path)):
                if isinstance(item, RawChunk):
                    key = (item.session, item.direction)
                    if key not in streams:
                        streams[key] = StreamScanner(item.place, ignore=_CARRIER)
                    findings += streams[key].feed(item.data)
                elif isinstance(item, WireMessage):
                    for leaf in item.leaves:
                        if leaf.kind == "array":
                            findings += scan_report(leaf.value.tobytes(), leaf.place).findings
        except CaptureFormatError as error:
            blind_spots.append(BlindSpot("capture/format", str(error), Place(path=str(path))))
        accounts = decoder.finish()
    for scanner in streams.values():
        end = scanner.close()
        findings += end.findings
        blind_spots += end.blind_spots
    found = sorted({*findings, *accounts.findings})
    return FileScan(path, "capture", path.stat().st_size, tuple(found), (*blind_spots, *accounts.blind_spots))


def _unread(path: Path, why: str) -> FileScan:
    return FileScan(path, "bytes", 0, (), (BlindSpot("file/unread", why, Place(path=str(path))),))
