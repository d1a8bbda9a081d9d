"""The gate: the one place where bytes from outside become pixels.

An image file is an attack surface: a 10 KB PNG can claim 88 million pixels, and Pillow by default only
warns at 89 million. So the gate admits an allow-list of formats, judges the size by the header before
any pixel is decoded, checks PNG checksums, turns every Pillow warning into an error, and gives back
nothing but upright RGB pixels: no metadata, no palette, no transparency.

Every refusal is a `DataError` that names the image. Data sets, `classify` and uploads all come through here.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from secure_fl.data.names import printable
from secure_fl.data.source import Pixels
from secure_fl.errors import DataError

__all__ = ["FORMATS", "MAX_FILE_BYTES", "MAX_PIXELS", "decode_image", "decode_square", "fit_square", "header_size_px"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 24_000_000
MAX_FILE_BYTES = 64 * 2**20

# Everything that Pillow's decoders are known to raise on damaged bytes.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Warning,
)
# Warning filters and LOAD_TRUNCATED_IMAGES belong to the whole process: one thread at a time changes them.
_process_wide = threading.RLock()


def decode_image(data: bytes, *, name: str, enough_px: int = 0) -> Image.Image:
    """Decode one image to upright RGB; transparent parts become white.

    Args:
        data: the whole file.
        name: what to call it in an error.
        enough_px: a JPEG may be decoded at a half, quarter or eighth of its size as long as both sides
            stay at least this long (much faster for photographs); 0: always at full size.

    Raises:
        DataError: empty, too large, not one of `FORMATS`, animated, truncated or damaged.
    """
    with _strict_pillow(name):
        image = _opened(data, name)
        if image.format == "PNG":
            image.verify()  # the checksums of all chunks, which loading does not look at
            image = _opened(data, name)
        if enough_px:
            image.draft(None, (enough_px, enough_px))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image)


def decode_square(data: bytes, size_px: int, *, name: str) -> Pixels:
    """Decode one image and fit it to a square: (size_px, size_px, 3) uint8; refuses as `decode_image`."""
    # Twice the size leaves the detail to the bilinear filter, not to the JPEG decoder's coarser one.
    return fit_square(decode_image(data, name=name, enough_px=2 * size_px), size_px)


def fit_square(image: Image.Image, size_px: int) -> Pixels:
    """The centre square of an RGB image, resized with Pillow's (deterministic) bilinear filter."""
    if image.size != (size_px, size_px):
        image = ImageOps.fit(image, (size_px, size_px), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def header_size_px(data: bytes, *, name: str) -> tuple[int, int]:
    """Width and height from the header, nothing decoded; refuses as `decode_image` where the header tells."""
    with _strict_pillow(name):
        return _opened(data, name).size


def _opened(data: bytes, name: str) -> Image.Image:
    """Header parsed and judged, pixels not yet decoded."""
    if not data:
        raise DataError(f"{printable(name)} is empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(name, f"{len(data):,} bytes, and at most {MAX_FILE_BYTES:,} are read")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        megapixels = width * height / 1e6
        raise _too_large(name, f"{megapixels:.1f} megapixels ({width} x {height}); the limit is {MAX_PIXELS / 1e6:g}")
    # A JPEG may carry a thumbnail or a second view as further frames: the first is the photograph.
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{printable(name)} is an animation", why="which of its pictures is meant is not clear")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert() would clip 16-bit grey instead of scaling it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _strict_pillow(name: str) -> Iterator[None]:
    """Pillow at its strictest; what it raises or warns of becomes a `DataError` about `name`."""
    with _process_wide, warnings.catch_warnings():
        warnings.simplefilter("error")
        lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large(name, str(error)) from error
        except UnidentifiedImageError as error:
            raise DataError(f"{printable(name)} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
        except _DECODER_ERRORS as error:
            raise DataError(f"{printable(name)} is truncated or damaged", why=printable(str(error))) from error
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _too_large(name: str, why: str) -> DataError:
    return DataError(f"{printable(name)} is too large", why=why)
