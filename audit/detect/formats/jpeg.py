"""JPEG (ITU-T T.81): the chain of marker segments from SOI to the frame header, for base, progressive and Exif files.

Evidence: SOI with the first marker's FF 24 bits; each further FF at the place that the length before it gives 8, a
marker code 8 − log2(38); identifiers of APP segments up to 80; lengths of tables 8 or more; the frame's length = 8 + 3c
and its precision 16. A chain that breaks off counts for what was confirmed of it. The shortest real chain, one table
and a grey frame, has 68 bits: at most 2^-56 per offset.
"""

from __future__ import annotations

import math

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["JPEG"]

_SEGMENTS = 64
_MARKERS = frozenset([*range(0xC0, 0xD0), 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE])
_FRAMES = frozenset([0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
_MARKER_BITS = 8.0 - math.log2(len(_MARKERS))
_IDENTIFIERS = (b"JFIF\0", b"JFXX\0", b"Exif\0\0", b"Adobe", b"ICC_PROFILE\0", b"http://ns.", b"Photoshop ", b"AVI1")


def _validate(head: Head) -> str | None:
    head.confirm(0, b"\xff\xd8\xff")
    at, found = 2, "JPEG"
    for segment in range(_SEGMENTS):
        if segment and not head.confirm(at, b"\xff"):
            return found
        if head.byte(at + 1) == 0xFF:  # a fill byte; more of them than one are not written by anybody
            at += 1
        marker, length = head.byte(at + 1), head.big(at + 2, 2)
        if marker not in _MARKERS or length < 2:
            return found
        head.bits += _MARKER_BITS
        if marker in _FRAMES:
            return _frame(head, at + 4, length) or found
        _weigh(head, marker, at + 4, length)
        at += 2 + length
    return found


def _weigh(head: Head, marker: int, at: int, length: int) -> None:
    """Evidence from a segment's own structure."""
    if 0xE0 <= marker <= 0xEF:
        for identifier in _IDENTIFIERS:
            if length >= 2 + len(identifier) and head.confirm(at, identifier):
                return
    elif marker == 0xDB and length - 2 in (65, 129, 130, 195, 260):
        head.bits += 16.0 - math.log2(5)
    elif marker == 0xC4 and length >= 19 and length - 2 >= 17 + sum(head.read(at + 1, 16)):
        head.bits += 8.0


def _frame(head: Head, at: int, length: int) -> str | None:
    """The frame header's description, None where it is none."""
    precision, height, width, components = (head.byte(at), head.big(at + 1, 2), head.big(at + 3, 2), head.byte(at + 5))
    if precision not in (8, 12, 16) or not width or components not in (1, 3, 4) or length != 8 + 3 * components:
        return None
    head.bits += 8.0 + (8.0 - math.log2(3)) + (8.0 - math.log2(3))
    for index in range(components):
        sampling = head.byte(at + 7 + 3 * index)
        if not (1 <= sampling >> 4 <= 4 and 1 <= sampling & 15 <= 4):
            return None
        head.bits += 4.0
    return f"JPEG {width}x{height}, {components} components"


JPEG = Format("image/jpeg", "JPEG", (Pattern(rb"\xff\xd8\xff[\xc0-\xcf\xdb-\xdf\xe0-\xef\xfe\xff]", 4),), _validate)
