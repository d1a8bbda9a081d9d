"""Kinds of files that must not cross the wire, each told by its structure and not by its magic alone."""

from __future__ import annotations

from audit.detect.formats.bitmaps import BMP, TIFF
from audit.detect.formats.boxes import HEIF, J2K, JP2, JXL
from audit.detect.formats.containers import NPY, ZIP
from audit.detect.formats.evidence import ENOUGH_BITS, LOOKAHEAD, Format, Head, Match, Short, judge
from audit.detect.formats.jpeg import JPEG
from audit.detect.formats.medical import DICOM, NIFTI
from audit.detect.formats.web import GIF, PNG, WEBP

__all__ = ["ENOUGH_BITS", "FORMATS", "LOOKAHEAD", "Format", "Head", "Match", "Short", "judge"]

FORMATS: tuple[Format, ...] = (
    JPEG, PNG, GIF, WEBP, BMP, TIFF, JP2, JXL, J2K, HEIF, NPY, ZIP, DICOM, NIFTI,
)  # fmt: skip
