"""The gate against what strangers send: each refusal has its status, and nothing is decoded before it is judged."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from webui.security.uploads import MAX_UPLOAD_BYTES, UploadError, admit


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def claiming_png(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes whose header announces `width` by `height` one-bit pixels, and holds them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + bytes((width + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG with 60 MB of compressed text in it."""
    data = picture()
    body = b"Comment\0\1\0\0\0" + zlib.compress(bytes(60_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return data[:33] + chunk + data[33:]


def animation(frames: int) -> bytes:
    out = io.BytesIO()
    first, *others = (Image.new("RGB", (16, 16), (i % 256, i // 256, 0)) for i in range(frames))
    first.save(out, "PNG", save_all=True, append_images=others)
    return out.getvalue()


HOSTILE: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "88 million pixels in ten kilobytes": ("bomb.png", lambda: claiming_png(9408, 9408), 413),
    "179 million pixels": ("bomb.png", lambda: claiming_png(13_376, 13_376), 413),
    "401 million pixels": ("bomb.png", lambda: claiming_png(20_032, 20_032), 413),
    "sixty megabytes of text in a chunk": ("text.png", text_bomb, 422),
    "an SVG": ("image.svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "an SVG that is called PNG": ("image.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "a GIF": ("image.gif", lambda: picture("GIF"), 415),
    "a GIF that is called PNG": ("image.png", lambda: picture("GIF"), 415),
    "HTML that is called JPEG": ("page.jpg", lambda: b"<html><script>alert(1)</script>", 415),
    "a PNG that is called JPEG": ("image.jpg", picture, 415),
    "a truncated JPEG": ("cut.jpg", lambda: picture("JPEG", (640, 480))[:9000], 422),
    "nothing": ("empty.png", lambda: b"", 422),
    "a path as name": ("../../etc/passwd.png", picture, 422),
    "a NUL in the name": ("a\0.png", picture, 422),
    "a name that is read backwards": ("a\u202egnp.exe.png", picture, 422),
    "a name without an ending": ("picture", picture, 415),
    "no name": ("", picture, 422),
    "five hundred frames": ("film.png", lambda: animation(500), 422),
    "one pixel": ("dot.png", lambda: picture(size=(1, 1)), 422),
    "too many bytes": ("big.png", lambda: b"\x89PNG\r\n\x1a\n" + bytes(MAX_UPLOAD_BYTES), 413),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_upload_is_refused_at_once_with_its_status_and_without_memory(what: str) -> None:
    name, make, status = HOSTILE[what]
    data = make()
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(UploadError) as refused:
            admit(name, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.http_status == status
    assert refused.value.what
    assert time.process_time() - started < 0.3
    assert peak < 64 * 2**20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "1"])
def test_every_kind_of_png_becomes_upright_rgb(mode: str) -> None:
    out = io.BytesIO()
    grey = Image.new("L", (40, 30), 128)
    (Image.new("I;16", (40, 30), 30_000) if mode == "I;16" else grey.convert(mode)).save(out, "PNG")
    admitted = admit("image.png", out.getvalue())
    assert admitted.image.mode == "RGB"
    assert admitted.square(32).shape == (32, 32, 3)
    assert (admitted.width_px, admitted.height_px) == (40, 30)


@pytest.mark.parametrize(
    ("kind", "name"), [("JPEG", "a.JPG"), ("JPEG", "a.jpeg"), ("WEBP", "a.webp"), ("PNG", "a.png")]
)
def test_the_formats_that_people_have_are_admitted(kind: str, name: str) -> None:
    assert admit(name, picture(kind)).square(16).shape == (16, 16, 3)


def test_a_cmyk_photograph_is_admitted() -> None:
    assert admit("print.jpg", picture("JPEG", mode="CMYK")).image.mode == "RGB"


def test_a_script_behind_a_jpeg_is_gone_from_what_is_shown_again() -> None:
    polyglot = picture("JPEG") + b"<script>alert('still here')</script>"
    preview = admit("photo.jpg", polyglot).preview()
    assert preview.startswith(b"\x89PNG") and b"script" not in preview


def test_metadata_does_not_reach_what_is_shown_again() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG", exif=exif)
    assert b"taken at home" in out.getvalue()
    assert b"taken at home" not in admit("photo.jpg", out.getvalue()).preview()
