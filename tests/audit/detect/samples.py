"""Small real files of every kind that the scan knows, and every way that it knows of wrapping them."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import zstandard
from PIL import Image

__all__ = ["FILES", "RULES", "WRAPS", "noise", "picture"]


def picture(side: int = 32, seed: int = 0) -> Image.Image:
    """A smooth colour picture with some grain, as photographs are."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((side, side))
    grain = generator.integers(-6, 7, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def noise(count: int, seed: int = 1) -> bytes:
    """Bytes of float32 weights, for files to hide in."""
    weights = np.random.default_rng(seed).standard_normal((count + 3) // 4, dtype=np.float32) * np.float32(0.05)
    return weights.tobytes()[:count]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _exif() -> bytes:
    made = Image.Exif()
    made[0x010F] = "Camera"
    return _saved(picture(), "JPEG", exif=made)


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, pixels=np.asarray(picture()))
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(picture()))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes", noise(400, 5))
    return file.getvalue()


def _dicom() -> bytes:
    group = b"\2\0\1\0OB\0\0\2\0\0\0\0\1" + b"\2\0\2\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0"
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + struct.pack("<I", len(group)) + group + bytes(200)


def _nifti(order: str = "<") -> bytes:
    head = bytearray(352)
    struct.pack_into(order + "i", head, 0, 348)
    struct.pack_into(order + "8h", head, 40, 3, 64, 64, 20, 1, 1, 1, 1)
    struct.pack_into(order + "hh", head, 70, 4, 16)
    struct.pack_into(order + "f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head) + bytes(64)


def _nifti2() -> bytes:
    head = bytearray(544)
    struct.pack_into("<i8s", head, 0, 540, b"n+2\0\r\n\x1a\n")
    struct.pack_into("<hh8q", head, 12, 16, 32, 3, 64, 64, 20, 1, 1, 1, 1)
    return bytes(head)


def _tiff_at_end() -> bytes:
    """A big-endian TIFF whose directory stands behind its pixels."""
    pixels = np.asarray(picture().convert("L")).tobytes()
    entries = [(256, 4, 1, 32), (257, 4, 1, 32), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1), (273, 4, 1, 8)]
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHII", *each) for each in entries) + bytes(4)
    return b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory


FILES: dict[str, bytes] = {
    "jpeg": _saved(picture(96), "JPEG"),
    "jpeg-progressive": _saved(picture(), "JPEG", progressive=True),
    "jpeg-exif": _exif(),
    "jpeg-q5": _saved(picture(), "JPEG", quality=5),
    "jpeg-32x32": _saved(picture(), "JPEG"),
    "jpeg-grey": _saved(picture().convert("L"), "JPEG"),
    "png": _saved(picture(), "PNG"),
    "gif": _saved(picture(), "GIF"),
    "webp": _saved(picture(), "WEBP"),
    "webp-lossless": _saved(picture(), "WEBP", lossless=True),
    "bmp": _saved(picture(), "BMP"),
    "tiff": _saved(picture(), "TIFF"),
    "tiff-at-end": _tiff_at_end(),
    "jp2": _saved(picture(), "JPEG2000"),
    "j2k": _saved(picture(), "JPEG2000", no_jp2=True),
    "avif": _saved(picture(), "AVIF"),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise(600, 9),
    "jxl": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + noise(600, 9),
    "npy": _npy(),
    "npz": _npz(),
    "zip": _zip(),
    "dicom": _dicom(),
    "nifti": _nifti(),
    "nifti-big-endian": _nifti(">"),
    "nifti2": _nifti2(),
}

RULES: dict[str, str] = {
    name: {
        "jpeg": "image/jpeg", "npy": "array/npy", "npz": "archive/zip", "zip": "archive/zip", "avif": "image/heif",
        "heic": "image/heif", "nifti2": "image/nifti",
    }.get(name.partition("-")[0], f"image/{name.partition('-')[0]}")
    for name in FILES
}  # fmt: skip


def _deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(6, wbits=-15)
    return stream.compress(data) + stream.flush()


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", data)
    return file.getvalue()


# By name, as it stands in `via`, then what tells variants apart.
WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "zlib/4 KiB": lambda data: (stream := zlib.compressobj(9, wbits=12)).compress(data) + stream.flush(),
    "deflate": _deflate,
    "zip": _zipped,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "base64": base64.b64encode,
    "base64/1": lambda data: base64.b64encode(b"x" + data),
    "base64/2": lambda data: base64.b64encode(b"xy" + data),
    "base64/letter": lambda data: b"a" + base64.b64encode(data),
    "base64/url-safe": base64.urlsafe_b64encode,
    "base64/lines": base64.encodebytes,
    "hex": lambda data: data.hex().encode(),
    "hex/shifted": lambda data: b"f" + data.hex().upper().encode(),
}
