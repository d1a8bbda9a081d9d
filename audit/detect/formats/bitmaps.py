"""BMP (Microsoft's DIB) and TIFF 6.0, BigTIFF: uncompressed pictures whose magic is as short as two letters.

Per offset at most 2^-56, from: BMP the letters 16 bits, the file's size equal to what its own fields add up to 8 for
each byte of it that is not zero, pixel offset, header size, planes and depth 5 to 8 each; TIFF the magic 16 or 24 bits,
then 12 or more for each entry of a directory whose tags ascend, and no fewer than four of them with the picture's size.
"""

from __future__ import annotations

import math

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["BMP", "TIFF"]

_HEADERS = b"\x0c\x28\x34\x38\x40\x6c\x7c"
_WIDTH, _HEIGHT = 256, 257
# Baseline tags of TIFF 6.0 and those that cameras and libraries add, between 254 and 342, and the later ranges.
_LOW_TAGS = range(254, 348)
_HIGH_TAGS = (700, *range(32768, 51000))


def _bmp(head: Head) -> str | None:
    head.confirm(0, b"BM")
    size, offset, header = head.little(2, 4), head.little(10, 4), head.byte(14)
    if not head.confirm_one_of(14, _HEADERS):
        return None
    old = header == 12
    width, height = (head.little(18, 2), head.little(20, 2)) if old else (head.little(18, 4), head.little(22, 4))
    planes, depth = (22, 24) if old else (26, 28)
    if not head.confirm(planes, b"\1\0") or not head.confirm_one_of(depth, b"\1\4\x08\x10\x18\x20"):
        return None
    if height >= 1 << 31:
        height = (1 << 32) - height  # written top down
    if not width or not height or head.byte(depth + 1) or not 14 + header <= offset <= 14 + header + 16 + 4 * 256:
        return None
    head.bits += 8.0
    compression = 0 if old else head.little(30, 4)
    rows = (width * head.byte(depth) + 31) // 32 * 4 * height
    # Some writers pad the file, or leave the sizes out; then other fields have to carry the evidence.
    if not compression and rows + offset <= size <= rows + offset + 3:
        head.bits += 8.0 * (4 - size.to_bytes(4, "little").count(0)) - 2.0
    image_size = 0 if old else head.little(34, 4)
    if image_size and rows <= image_size <= rows + 3:
        head.bits += 8.0 * (4 - image_size.to_bytes(4, "little").count(0)) - 2.0
    return f"BMP {width}x{height}"


def _tiff(head: Head) -> str | None:
    order = head.read(0, 2)
    number = head.little if order == b"II" else head.big
    big = number(2, 2) == 43
    head.bits += 24.0 if not big else 32.0
    directory = number(8, 8) if big else number(4, 4)
    if directory < (16 if big else 8):
        return None
    count = number(directory, 8 if big else 2)
    if not 4 <= count <= 200:
        return None
    entry, first = (20, directory + 8) if big else (12, directory + 2)
    size: dict[int, int] = {}
    before = 0
    for index in range(count):
        at = first + index * entry
        tag, kind = number(at, 2), number(at + 2, 2)
        if tag <= before or not 1 <= kind <= 18 or not (tag in _LOW_TAGS or tag in _HIGH_TAGS):
            return None
        before = tag
        # Low tags: 94 of 65,536 values; the type has one byte that counts, of 18 values.
        head.bits += (16.0 - math.log2(94) if tag in _LOW_TAGS else 1.8) + (8.0 - math.log2(18))
        if tag in (_WIDTH, _HEIGHT):
            size[tag] = number(at + entry - (8 if big else 4), 2 if kind == 3 else 4)
    return f"TIFF {size[_WIDTH]}x{size[_HEIGHT]}" if size.keys() >= {_WIDTH, _HEIGHT} else None


BMP = Format("image/bmp", "BMP", (Pattern(rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", 18),), _bmp)
TIFF = Format(
    "image/tiff",
    "TIFF",
    (Pattern(rb"II[\x2a\x2b]\x00", 4), Pattern(rb"MM\x00[\x2a\x2b]", 4)),
    _tiff,
)
