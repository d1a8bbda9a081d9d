"""A PNG writer that gives the same bytes on every machine, so that a verifier can draw a page again and compare.

The pixels are stored and not compressed: what deflate makes of them depends on the version of zlib. A picture of
32 × 32 takes 3 kB. PNG specification (3rd edition), sections 5 and 11; RFC 1950 and RFC 1951, 3.2.4.
"""

from __future__ import annotations

import base64
import struct
import zlib

from audit.report.measurements import Picture

__all__ = ["data_uri", "png"]

_STORED = 65_535  # bytes that a stored block can hold


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, 8 bits a channel, grey or RGB."""
    stride = picture.width * picture.channels
    pixels = picture.bytes()
    rows = b"".join(b"\0" + pixels[at : at + stride] for at in range(0, len(pixels), stride))
    color = 2 if picture.channels == 3 else 0
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", _stored(rows)) + _chunk(b"IEND", b"")


def data_uri(picture: Picture) -> str:
    """The picture as the value of an image's `src`."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def _stored(data: bytes) -> bytes:
    blocks = [data[at : at + _STORED] for at in range(0, len(data), _STORED)]
    body = b"".join(
        struct.pack("<BHH", at == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for at, block in enumerate(blocks)
    )
    return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
