"""PNG (RFC 2083), GIF (89a specification) and WebP (RIFF): pictures of the web.

Per offset at most 2^-56, from: PNG the signature's 8 bytes 64 bits, then `IHDR` 40; GIF the signature 47 bits, then the
block that must stand behind the colour table 7 or more, with what it says 5 to 32 more; WebP `RIFF` and `WEBPVP8` 88.
A wrong CRC in a PNG does not acquit it: the picture can be repaired.
"""

from __future__ import annotations

import zlib

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["GIF", "PNG", "WEBP"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _png(head: Head) -> str | None:
    head.confirm(0, _SIGNATURE)
    if not head.confirm(8, b"\0\0\0\x0dIHDR"):
        return None
    width, height = head.big(16, 4), head.big(20, 4)
    intact = zlib.crc32(head.read(12, 17)) == head.big(29, 4)
    return f"PNG {width}x{height}" + ("" if intact else ", header with a wrong checksum")


def _gif(head: Head) -> str | None:
    head.confirm(0, b"GIF8")
    head.confirm_one_of(4, b"79")
    head.confirm(5, b"a")
    width, height, packed = head.little(6, 2), head.little(8, 2), head.byte(10)
    if not width or not height:
        return None
    at = 13 + _colours(packed)
    if not head.confirm_one_of(at, b"\x21\x2c"):
        return None
    if head.byte(at) == 0x21:  # an extension: graphic control, application, comment or text
        return f"GIF {width}x{height}" if head.confirm_one_of(at + 1, b"\xf9\xff\xfe\x01") else None
    if not head.little(at + 5, 2) or not head.little(at + 7, 2):
        return None
    start = at + 10 + _colours(head.byte(at + 9))
    return f"GIF {width}x{height}" if head.confirm_one_of(start, bytes(range(2, 9))) else None  # LZW's code size


def _colours(packed: int) -> int:
    """Bytes of the colour table that a descriptor's packed field announces."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _webp(head: Head) -> str | None:
    head.confirm(0, b"RIFF")
    head.confirm(8, b"WEBPVP8")
    return "WebP" if head.confirm_one_of(15, b" LX") else None


PNG = Format("image/png", "PNG", (Pattern(rb"\x89PNG\r\n\x1a\n", 8),), _png)
GIF = Format("image/gif", "GIF", (Pattern(rb"GIF8[79]a", 6),), _gif)
WEBP = Format("image/webp", "WebP", (Pattern(rb"RIFF.{4}WEBPVP8", 15),), _webp)
