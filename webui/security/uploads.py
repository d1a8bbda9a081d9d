"""The gate for pictures that come over the web: from bytes of a stranger to upright RGB, or one clear refusal.

Threat: whoever may open the page may send anything. The order matters (OWASP ASVS 5.0, chapter V5): the size of the
request is bounded by Flask before we are called; then come the name, the first bytes, the header (side lengths,
frames), and only then the pixels, all by `secure_fl.data.images`, the one gate of the house. So a file of ten kilobytes
that announces 88 million pixels is refused before any memory is taken for them, and at most 72 MB are ever decoded at
once by one request. Of the file itself nothing is kept: what is shown again is a new PNG made of pixels.

Not done: a picture is not searched for what it depicts, and Pillow's decoders are trusted with formats that pass.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from secure_fl.data.images import decode_image, fit_square, header_size_px
from secure_fl.data.names import printable
from secure_fl.data.source import Pixels
from secure_fl.errors import DataError

__all__ = ["FILE_TYPES", "MAX_UPLOAD_BYTES", "Upload", "UploadError", "admit"]

MAX_UPLOAD_BYTES = 8 * 2**20
_SHORTEST_SIDE_PX = 8
_PREVIEW_PX = 320
_LONGEST_NAME = 120

FILE_TYPES = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
# What a file of each kind begins with, and what follows at byte 8.
_FIRST_BYTES = {
    "JPEG": (b"\xff\xd8\xff", b""),
    "PNG": (b"\x89PNG\r\n\x1a\n", b""),
    "WEBP": (b"RIFF", b"WEBP"),
}


class UploadError(DataError):
    """An upload that is refused, with the HTTP status that says how: 413 too large, 415 not a picture, 422 unusable."""

    code = "UPLOAD_REFUSED"

    def __init__(self, what: str, *, http_status: int, why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.http_status = http_status


@dataclass(frozen=True)
class Upload:
    """An admitted picture. `width_px`, `height_px`: as its header says."""

    name: str
    width_px: int
    height_px: int
    image: Image.Image

    def square(self, side_px: int) -> Pixels:
        """What a model reads: (side_px, side_px, 3) uint8, the centre of the picture."""
        return fit_square(self.image, side_px)

    def preview(self) -> bytes:
        """The picture again as a small PNG of our own, without a byte of the original file."""
        small = self.image.copy()
        small.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
        out = io.BytesIO()
        small.save(out, "PNG", optimize=False, compress_level=6)
        return out.getvalue()


def admit(name: str, data: bytes, *, enough_px: int = 2 * _PREVIEW_PX) -> Upload:
    """The picture in `data`, which the browser called `name`; its sides need be no longer than `enough_px`.

    Raises:
        UploadError: 413: too many bytes or pixels; 415: not a JPEG, PNG or WebP, or another than its name says;
            422: empty, tiny, animated, truncated or damaged, or a name that hides something.
    """
    shown = _checked_name(name)
    if len(data) > MAX_UPLOAD_BYTES:
        raise UploadError(
            f"{shown} is {len(data) / 2**20:.1f} MiB; the limit is {MAX_UPLOAD_BYTES // 2**20}", http_status=413
        )
    if not data:
        raise UploadError(f"{shown} is empty (0 bytes)", http_status=422)
    _check_type(shown, data)
    try:
        width, height = header_size_px(data, name=shown)
        if min(width, height) < _SHORTEST_SIDE_PX:
            raise UploadError(
                f"{shown} is {width} x {height} px; the shortest side must be {_SHORTEST_SIDE_PX}", http_status=422
            )
        return Upload(shown, width, height, decode_image(data, name=shown, enough_px=enough_px))
    except UploadError:
        raise
    except DataError as error:
        http_status = 413 if "too large" in error.what else 422
        raise UploadError(error.what, http_status=http_status, why=error.why, fix=error.fix) from None


def _checked_name(name: str) -> str:
    """The name as it may be shown. It is never used as a path, and one that tries to be one is refused."""
    hidden = any(not character.isprintable() for character in name)
    if hidden or "/" in name or "\\" in name or not 0 < len(name) <= _LONGEST_NAME:
        raise UploadError(
            f"the file name `{printable(name[:_LONGEST_NAME])}` is not acceptable",
            http_status=422,
            why="it is empty, too long, a path, or holds characters that do not show",
            fix="rename the file",
        )
    return name


def _check_type(name: str, data: bytes) -> None:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    kind = FILE_TYPES.get(ending)
    fitting = (
        each for each, (first, eighth) in _FIRST_BYTES.items() if data.startswith(first) and data[8:].startswith(eighth)
    )
    found = next(fitting, None)
    if kind is None or found != kind:
        why = (
            f"its first bytes are those of {found}" if found else "its first bytes are of no picture that is read here"
        )
        raise UploadError(
            f"{name} is not a JPEG, PNG or WebP picture",
            http_status=415,
            why=f"{why}, its name ends in .{ending}" if ending else f"{why}, its name has no ending",
            fix="send a .jpg, .png or .webp file",
        )
