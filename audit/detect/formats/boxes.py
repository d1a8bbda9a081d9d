"""Pictures in boxes: JPEG 2000 (JP2 files and bare code streams), JPEG XL, and HEIF's family (AVIF, HEIC).

Per offset at most 2^-56, from: JP2 and JXL the signature box 72 and 80 bits; a code stream SOC, SIZ and the high zero
of its length 32 bits, the length = 38 + 3c 16, each component's subsampling 16 and depth 3, the marker behind it 8;
HEIF `ftyp` 32 bits, one of ten brands 28, the box's size, a multiple of four, 3.
"""

from __future__ import annotations

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["HEIF", "J2K", "JP2", "JXL"]

_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def _jp2(head: Head) -> str | None:
    return "JPEG 2000" if head.confirm(0, b"\0\0\0\x0cjP  \r\n\x87\n") else None


def _jxl(head: Head) -> str | None:
    return "JPEG XL" if head.confirm(0, b"\0\0\0\x0cJXL \r\n\x87\n") else None


def _j2k(head: Head) -> str | None:
    head.confirm(0, b"\xff\x4f\xff\x51")
    length, components = head.big(4, 2), head.big(40, 2)
    width, height = head.big(8, 4), head.big(12, 4)
    if not 1 <= components <= 16 or length != 38 + 3 * components or not width or not height:
        return None
    head.bits += 16.0
    for index in range(components):
        if (head.byte(42 + 3 * index) & 0x7F) > 37 or not head.confirm(43 + 3 * index, b"\1\1"):
            return None
        head.bits += 1.0
    return f"JPEG 2000 code stream {width}x{height}" if head.confirm(4 + length, b"\xff") else None


def _heif(head: Head) -> str | None:
    head.confirm(4, b"ftyp")
    size, brand = head.big(0, 4), head.read(8, 4)
    if brand not in _BRANDS or not 16 <= size <= 256 or size % 4:
        return None
    head.bits += 28.0 + 2.0
    return "AVIF" if brand.startswith(b"av") else "HEIF"


JP2 = Format("image/jp2", "JPEG 2000", (Pattern(rb"jP  \r\n\x87\n", 8, back=4),), _jp2)
JXL = Format("image/jxl", "JPEG XL", (Pattern(rb"JXL \r\n\x87\n", 8, back=4),), _jxl)
J2K = Format("image/j2k", "JPEG 2000 code stream", (Pattern(rb"\xff\x4f\xff\x51\x00", 5),), _j2k)
HEIF = Format(
    "image/heif", "HEIF", (Pattern(rb"ftyp(?:avif|avis|heic|heix|hevc|hevx|heim|heis|mif1|msf1)", 8, back=4),), _heif
)
