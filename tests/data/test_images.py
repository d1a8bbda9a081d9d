from __future__ import annotations

import io
import struct
import threading
import tracemalloc
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from secure_fl.data.images import MAX_FILE_BYTES, MAX_PIXELS, decode_image, decode_square, fit_square, header_size_px
from secure_fl.errors import DataError
from tests.data.conftest import encoded, noise


def refusal(data: bytes, name: str = "cat/7.png") -> DataError:
    with pytest.raises(DataError) as caught:
        decode_image(data, name=name)
    assert name in caught.value.what
    return caught.value


def huge_png(width: int, height: int) -> bytes:
    """A sound PNG of one-bit pixels: a few kilobytes that decode to width x height."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# --- what comes in


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_lossless_formats_decode_to_the_same_pixels(format: str) -> None:
    image = noise(1)
    decoded = decode_image(encoded(image, format), name="x")
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(image))


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_formats_decode_to_nearly_the_same_pixels(format: str, options: dict[str, Any]) -> None:
    image = noise(1, 8, 8).resize((64, 64), Image.Resampling.BICUBIC)
    decoded = decode_image(encoded(image, format, **options), name="x")
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(image, dtype=int))
    assert difference.mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("L", (8, 8), 255).convert(mode) if mode != "I;16" else Image.new("I;16", (8, 8), 65535)
    decoded = decode_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), name="x")
    assert decoded.mode == "RGB"
    assert np.asarray(decoded).min() >= 250


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    image = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode_image(encoded(image), name="x").getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    if mode == "P":
        image, options = Image.new("P", (4, 4), 0), {"transparency": 0}
    else:
        image, options = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode), {}
    assert decode_image(encoded(image, **options), name="x").getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_is_turned_upright_by_its_exif_orientation() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to view
    upright = decode_image(encoded(image, "JPEG", exif=exif), name="x")
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) > (200, 200, 200)  # the left half is on top


def test_metadata_does_not_come_through() -> None:
    exif = Image.Exif()
    exif[0x010E] = "canary"
    decoded = decode_image(encoded(noise(1), "JPEG", exif=exif), name="x")
    assert b"canary" not in encoded(decoded, "PNG")


def test_a_jpeg_with_a_second_picture_gives_the_first() -> None:
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    several = encoded(first, "MPO", save_all=True, append_images=[second])
    red, _, blue = decode_image(several, name="x").getpixel((8, 8))
    assert red > 240 and blue < 15


def test_script_behind_a_jpeg_does_not_survive() -> None:
    decoded = decode_image(encoded(noise(1), "JPEG") + b"<script>alert(1)</script>", name="x")
    assert b"script" not in encoded(decoded, "PNG")


# --- what stays out


@pytest.mark.parametrize("format", ["GIF", "TIFF", "ICO", "PPM", "PDF"])
def test_a_format_that_is_not_on_the_list_is_refused(format: str) -> None:
    assert "is not a JPEG, PNG, WEBP or BMP image" in refusal(encoded(noise(1), format)).what


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html></html>", b"\0" * 100]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert "is not a" in refusal(data).what


def test_an_empty_file_is_refused() -> None:
    assert "is empty" in refusal(b"").what


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused(format: str, share: float) -> None:
    data = encoded(noise(1, 64, 64), format)
    assert refusal(data[: int(share * len(data))]).code == "DATA_INVALID"


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    data = bytearray(encoded(noise(1)))
    data[len(data) // 2] ^= 1
    assert "damaged" in refusal(bytes(data)).what


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:
    animated = encoded(noise(1), format, save_all=True, append_images=[noise(2)])
    assert "is an animation" in refusal(animated).what


@pytest.mark.parametrize("side", [9408, 13376, 20_000])  # Pillow itself is silent, warns, and raises at these
def test_a_small_file_that_claims_many_pixels_is_refused_unread(side: int) -> None:
    data = huge_png(side, side)
    assert len(data) < 100_000
    tracemalloc.start()
    assert "is too large" in refusal(data).what
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_the_largest_allowed_image_is_decoded() -> None:
    assert MAX_PIXELS == 6000 * 4000
    assert decode_image(huge_png(6000, 4000), name="x").size == (6000, 4000)
    refusal(huge_png(6001, 4000))


def test_a_file_of_too_many_bytes_is_refused() -> None:
    assert "is too large" in refusal(encoded(noise(1)) + bytes(MAX_FILE_BYTES)).what


def test_pillow_is_as_strict_as_we_say_even_where_others_have_relaxed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(1), "JPEG")
    refusal(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # given back as it was found


def test_the_warning_filters_are_given_back() -> None:
    before = list(warnings.filters)
    decode_image(encoded(noise(1)), name="x")
    refusal(b"nothing")
    assert list(warnings.filters) == before


def test_many_threads_may_decode_at_once() -> None:
    sound, broken = encoded(noise(1)), encoded(noise(1))[:500]
    outcomes: list[str] = []

    def work() -> None:
        for _ in range(20):
            decode_image(sound, name="x")
            try:
                decode_image(broken, name="y")
            except DataError as error:
                outcomes.append(error.what)

    before = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 80 and all("y is truncated or damaged" in each for each in outcomes)
    assert list(warnings.filters) == before


def test_a_name_is_shown_without_control_characters() -> None:
    with pytest.raises(DataError, match=r"\\x1b"):
        decode_image(b"", name="\x1b[31mred")


SAMPLES = {format: encoded(noise(3, 16, 16), format) for format in ("JPEG", "PNG", "WEBP", "BMP")}


@settings(max_examples=300)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_whatever_the_damage_there_is_a_picture_or_a_data_error(format: str, data: st.DataObject) -> None:
    damaged = bytearray(SAMPLES[format])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(1, len(damaged))) :]
    try:
        image = decode_image(bytes(damaged), name="x")
    except DataError as error:
        assert error.what.startswith("x ")
    else:
        assert image.mode == "RGB" and image.width * image.height <= MAX_PIXELS


# --- size


def test_the_header_tells_the_size_without_decoding() -> None:
    data = encoded(noise(1, 40, 30))
    assert header_size_px(data, name="x") == (40, 30)
    assert header_size_px(data[:60], name="x") == (40, 30)


def test_an_image_that_fits_keeps_its_pixels() -> None:
    assert np.array_equal(decode_square(encoded(noise(1)), 32, name="x"), np.asarray(noise(1)))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 50), (50, 100), (7, 9)])
def test_every_shape_becomes_a_square(width: int, height: int) -> None:
    square = decode_square(encoded(noise(1, width, height)), 24, name="x")
    assert square.shape == (24, 24, 3) and square.dtype == np.uint8


def test_the_centre_is_kept() -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    assert (fit_square(wide, 30) == (0, 0, 255)).all()


def test_a_photograph_is_decoded_at_a_fraction_of_its_size_and_looks_the_same() -> None:
    smooth = noise(1, 8, 8).resize((1024, 1024), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    assert decode_image(data, name="x", enough_px=128).size == (128, 128)
    quick, thorough = decode_square(data, 64, name="x"), fit_square(decode_image(data, name="x"), 64)
    assert np.abs(quick.astype(int) - thorough.astype(int)).mean() < 1


def test_a_truncated_photograph_is_refused_at_a_fraction_of_its_size_too() -> None:
    data = encoded(noise(1, 512, 512), "JPEG")
    with pytest.raises(DataError, match="truncated"):
        decode_square(data[: len(data) // 2], 32, name="x")


def test_decoding_does_not_change_from_call_to_call() -> None:
    data = encoded(noise(1, 100, 80), "JPEG")
    assert np.array_equal(decode_square(data, 32, name="x"), decode_square(io.BytesIO(data).read(), 32, name="x"))
