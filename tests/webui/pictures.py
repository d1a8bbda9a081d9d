"""Pictures that browsers send: one that is meant well, and one that is not."""

from __future__ import annotations

import io
import zlib

from PIL import Image

__all__ = ["bomb", "jpeg"]


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def bomb(side_px: int) -> bytes:
    """A PNG of a few kilobytes that announces, and holds, side_px² black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side_px.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    pixels = zlib.compress(bytes((side_px + 7) // 8 + 1) * side_px, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
