"""Containers of arrays: NumPy's NPY, and ZIP (PKWARE's APPNOTE), which is what an NPZ is.

Per offset at most 2^-56, from: NPY the magic 48 bits, the version 6, the words of its header up to 70; ZIP the
signature 32 bits and then the version 5, the method 5, a known ending of the entry's name 24 to 32, or the signature
of the next entry where the sizes say that it stands 32, or the two markers of a zip64 entry 64.
Flower sends its arrays as NPY. Who scans such a value says so (`carries` in audit/detect/scan.py).
"""

from __future__ import annotations

from audit.detect.formats.evidence import Format, Head
from audit.detect.prefilter import Pattern

__all__ = ["NPY", "ZIP"]

_VERSIONS = b"\x0a\x0b\x14\x15\x19\x1b\x2d\x2e\x2f\x32\x33\x34\x3d\x3e\x3f"
_METHODS = b"\0\x08\x09\x0c\x0e\x14\x5d\x5f\x62"
_ENDINGS = (b".npy", b".npz", b".png", b".jpg", b"jpeg", b".gif", b".bmp", b".tif", b"tiff", b".dcm", b".txt", b".csv")
_MORE_ENDINGS = (b".pkl", b".xml", b"json", b"toml", b".bin", b".dat", b".nii", b".pth", b".mat", b".md", b".py")
_DEFERRED = 0x08  # the sizes stand behind the entry
_ZIP64 = b"\xff" * 8


def _npy(head: Head) -> str | None:
    head.confirm(0, b"\x93NUMPY")
    if not head.confirm_one_of(6, b"\1\2\3"):
        return None
    start = 10 if head.byte(6) == 1 else 12
    return "NumPy array" if head.confirm(start, b"{'descr'") or head.confirm(start, b'{"descr"') else None


def _zip(head: Head) -> str | None:
    head.confirm(0, b"PK\3\4")
    if not head.confirm_one_of(4, _VERSIONS) or head.byte(5) > 20 or not head.confirm_one_of(8, _METHODS):
        return None
    size, length, extra = head.little(18, 4), head.little(26, 2), head.little(28, 2)
    if head.byte(9) or not 1 <= length <= 1024:
        return None
    name = head.read(30, length)
    for ending in (*_ENDINGS, *_MORE_ENDINGS):
        if name.endswith(ending):
            head.bits += 8.0 * len(ending) - 5.0  # one of 23
    if head.read(18, 8) == _ZIP64:
        head.bits += 64.0
    elif not head.little(6, 2) & _DEFERRED:
        following = 30 + length + extra + size
        head.confirm(following, b"PK\1\2") or head.confirm(following, b"PK\3\4")
    return "ZIP archive"


NPY = Format("array/npy", "NumPy array", (Pattern(rb"\x93NUMPY", 6),), _npy)
ZIP = Format("archive/zip", "ZIP archive", (Pattern(rb"PK\x03\x04", 4),), _zip)
