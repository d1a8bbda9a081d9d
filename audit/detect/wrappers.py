"""Compressed streams, undone piece by piece: gzip, zlib, bare deflate, zstd, bzip2, xz, and the entries of a ZIP.

gzip, zlib and ZIP entries are all inflated without their trailer: a wrong checksum must not hide what was packed.
Pieces grow from 64 bytes on, so that a stream that breaks off loses little of what came before the break, and so that
the thousands of random offsets which look like a header cost next to nothing.
No output is ever larger than 64 KiB a piece (zstd: 8 MiB), whatever the stream asks for; the caller stops asking.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from audit.detect.formats import Head
from audit.detect.prefilter import Pattern

__all__ = ["WRAPPERS", "Bzip2", "Decoder", "Inflate", "Opened", "Wrapper", "Xz", "Zstd"]

_FIRST, _LARGEST, _PROBE = 64, 64 << 10, 256
_ZSTD_SLICE = 256  # 64 blocks of 128 KiB at most come out of it
_WINDOW = 128 << 20
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_NAME_LIMIT = 4096


class Decoder(Protocol):
    """Undoes one wrapper. Ends by itself, or by running into bytes that are none of its own."""

    ended: bool

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data`, the next bytes of the stream, hold. Sets `ended` when nothing can follow."""
        ...

    def rest(self) -> bytes:
        """What was held back for more of the stream, now that there is none."""
        ...


class _Eager:
    """Decoders that hold nothing back."""

    def __init__(self) -> None:
        self.ended = False

    def rest(self) -> bytes:
        """As in `Decoder`."""
        return b""


class Inflate(_Eager):
    """Deflate, RFC 1951, without any header."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = zlib.decompressobj(-15)
        self._limit = _FIRST

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """As in `Decoder`."""
        while not self.ended:
            try:
                piece = self._stream.decompress(data, self._limit)
            except zlib.error:
                self.ended = True
                return
            data = self._stream.unconsumed_tail
            self.ended = self._stream.eof
            full = len(piece) == self._limit
            self._limit = min(4 * self._limit, _LARGEST)
            if piece:
                yield piece
            if not data and not full:
                return


class _Fed(_Eager):
    """bzip2 and xz: the two decompressors of the standard library with one interface."""

    def __init__(self, stream: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        super().__init__()
        self._stream = stream

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """As in `Decoder`."""
        while not self.ended:
            try:
                piece = self._stream.decompress(data, _LARGEST)
            except (OSError, EOFError, lzma.LZMAError, MemoryError):
                self.ended = True
                return
            data = b""
            self.ended = self._stream.eof
            if piece:
                yield piece
            if self._stream.needs_input:
                return


class Bzip2(_Fed):
    """bzip2."""

    def __init__(self) -> None:
        super().__init__(bz2.BZ2Decompressor())


class Xz(_Fed):
    """xz, with at most 128 MiB of memory."""

    def __init__(self) -> None:
        super().__init__(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW))


class Zstd(_Eager):
    """Zstandard, RFC 8878, with a window of at most 128 MiB, which is all that its own tool takes unasked."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """As in `Decoder`."""
        for start in range(0, len(data), _ZSTD_SLICE):
            try:
                piece = self._stream.decompress(data[start : start + _ZSTD_SLICE])
            except zstandard.ZstdError:
                self.ended = True
                return
            if piece:
                yield piece
            if self._stream.eof:
                self.ended = True
                return


@dataclass(frozen=True)
class Opened:
    """A wrapper's header was read. `body`: offset from its start of what `decoder` is to be fed."""

    body: int
    decoder: Decoder


@dataclass(frozen=True)
class Wrapper:
    """One kind of compressed stream with a header. `open` gives None where the header contradicts itself."""

    name: str
    patterns: tuple[Pattern, ...]
    open: Callable[[Head], Opened | None]


def _gzip(head: Head) -> Opened | None:
    flags, at = head.byte(3), 10
    if flags & _FEXTRA:
        at += 2 + head.little(at, 2)
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag:
            stop = at + _NAME_LIMIT
            while head.byte(at):
                at += 1
                if at > stop:
                    return None
            at += 1
    body = at + (2 if flags & _FHCRC else 0)
    head.byte(body)
    return Opened(body, Inflate())


def _zip(head: Head) -> Opened | None:
    if head.little(8, 2) != 8:  # stored entries are seen without our help
        return None
    body = 30 + head.little(26, 2) + head.little(28, 2)
    head.byte(body)
    return Opened(body, Inflate())


def _zlib(head: Head) -> Opened | None:
    # Two bytes are a header at one random offset in 4,096: most are turned away here, by what `Inflate` tries first.
    head.byte(2)
    try:
        zlib.decompressobj(-15).decompress(head.some(2, _PROBE), _FIRST)
    except zlib.error:
        return None
    return Opened(2, Inflate())


def _whole(decoder: Callable[[], Decoder]) -> Callable[[Head], Opened | None]:
    """For streams whose decoder reads the header itself."""
    return lambda _head: Opened(0, decoder())


# CMF and FLG of RFC 1950 for windows of 32 KiB and down to 4 KiB, without a preset dictionary.
_ZLIB_HEADER = rb"(?:\x78[\x01\x5e\x9c\xda]|\x68[\x05\x43\x81\xde]|\x58[\x09\x47\x85\xc3]|\x48[\x0d\x4b\x89\xc7])"
# The first byte of a block that deflate has: stored, by the fixed code, or with at most 286 literals and lengths.
_BLOCK_STARTS = [b for b in range(256) if (b < 2, True, b >> 3 <= 29, False)[b >> 1 & 3]]
_BLOCK_START = b"[" + b"".join(rb"\x%02x" % each for each in _BLOCK_STARTS) + b"]"

WRAPPERS: tuple[Wrapper, ...] = (
    Wrapper("gzip", (Pattern(rb"\x1f\x8b\x08[\x00-\x1f]", 4),), _gzip),
    Wrapper("zlib", (Pattern(_ZLIB_HEADER + _BLOCK_START, 3),), _zlib),
    Wrapper("zip", (Pattern(rb"PK\x03\x04", 4),), _zip),
    Wrapper("zstd", (Pattern(rb"\x28\xb5\x2f\xfd", 4),), _whole(Zstd)),
    Wrapper("bzip2", (Pattern(rb"BZh[1-9]1AY&SY", 10),), _whole(Bzip2)),
    Wrapper("xz", (Pattern(rb"\xfd7zXZ\x00", 6),), _whole(Xz)),
)
