"""Medical pictures: DICOM (PS3.10) and NIfTI-1, NIfTI-2, whose magic stands behind a preamble or at the end of a head.

Per offset at most 2^-56, from: DICOM `DICM` 32 bits and its first two elements of group 2, at least 13 bits each; NIfTI
the magic 24 or 64 bits, the size of the header 16, a data type that agrees with its bits per voxel 13, dimensions 5.
"""

from __future__ import annotations

import math

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["DICOM", "NIFTI"]

_PREAMBLE = 128
_REPRESENTATIONS = (b"UL", b"OB", b"UI", b"SH", b"AE", b"LO", b"CS", b"ST", b"LT", b"DA", b"TM", b"US", b"UR")
_LONG = (b"OB", b"UR")  # their length has four bytes behind two unused ones
_VOXELS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64, 2304: 32}


def _dicom(head: Head) -> str | None:
    head.confirm(_PREAMBLE, b"DICM")
    at = _PREAMBLE + 4
    for _ in range(2):
        kind = head.read(at + 4, 2)
        if not head.confirm(at, b"\2\0") or kind not in _REPRESENTATIONS:
            return None
        head.bits += 16.0 - math.log2(len(_REPRESENTATIONS))
        long = kind in _LONG
        length = head.little(at + 8, 4) if long else head.little(at + 6, 2)
        if length > 1024:
            return None
        at += (12 if long else 8) + length
    return "DICOM"


def _nifti(head: Head) -> str | None:
    if head.read(4, 2) in (b"n+", b"ni"):
        return _nifti2(head)
    head.confirm(345, b"+") or head.confirm(345, b"i")
    head.confirm(344, b"n")
    head.confirm(346, b"1\0")
    head.bits -= 1.0  # one of two
    return _agrees(head, size=348, rank=40, width=2, kind=70)


def _nifti2(head: Head) -> str | None:
    head.confirm(4, b"n+2\0\r\n\x1a\n") or head.confirm(4, b"ni2\0\r\n\x1a\n")
    return _agrees(head, size=540, rank=16, width=8, kind=12)


def _agrees(head: Head, *, size: int, rank: int, width: int, kind: int) -> str | None:
    """The header's own fields, in either byte order. `rank`, `kind`: offsets; `width`: bytes of a dimension."""
    little = head.confirm(0, size.to_bytes(4, "little"))
    if not little and not head.confirm(0, size.to_bytes(4, "big")):
        return None
    number = head.little if little else head.big
    axes = number(rank, width)
    if not 1 <= axes <= 7 or _VOXELS.get(number(kind, 2)) != number(kind + 2, 2):
        return None
    sides = [number(rank + width * (1 + axis), width) for axis in range(axes)]
    if not all(sides):
        return None
    head.bits += 5.0 + 8.0 + 5.0
    return "NIfTI " + "x".join(map(str, sides))


DICOM = Format("image/dicom", "DICOM", (Pattern(rb"DICM\x02\x00", 6, back=_PREAMBLE),), _dicom)
NIFTI = Format(
    "image/nifti",
    "NIfTI",
    (Pattern(rb"n[+i]1\x00", 4, back=344), Pattern(rb"n[+i]2\x00\r\n\x1a\n", 8, back=4)),
    _nifti,
)
