from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secure_fl.data.arrays import ArraySource, resize_arrays
from secure_fl.data.images import fit_square
from secure_fl.data.source import Normalisation

PLAIN = Normalisation((0.5,) * 3, (0.5,) * 3)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def source(*blocks: np.ndarray) -> ArraySource:
    count = sum(len(block) for block in blocks)
    labels = np.arange(count, dtype=np.int64) % 3
    return ArraySource(name="x", classes=("a", "b", "c"), labels=labels, normalisation=PLAIN, blocks=blocks)


@given(side=st.integers(1, 20), size=st.integers(1, 40), grey=st.booleans())
def test_resizing_all_at_once_equals_pillow_one_by_one_bit_for_bit(side: int, size: int, grey: bool) -> None:
    images = pixels(5, side, side) if grey else pixels(5, side, side, 3)
    expected = [Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR) for each in images]
    assert np.array_equal(resize_arrays(images, size), np.stack([np.asarray(each) for each in expected]))


@pytest.mark.parametrize(("height", "width"), [(10, 16), (16, 10)])
def test_of_oblong_images_the_centre_square_is_kept(height: int, width: int) -> None:
    images = pixels(3, height, width, 3)
    expected = np.stack([fit_square(Image.fromarray(each), 10) for each in images])
    assert np.array_equal(resize_arrays(images, 10), expected)


def test_no_images_stay_no_images() -> None:
    assert resize_arrays(pixels(0, 8, 8), 16).shape[0] == 0
    assert source(pixels(3, 8, 8)).load([], 16, skip_bad_images=False).images.shape == (0, 16, 16, 3)


def test_grey_becomes_rgb_with_three_equal_channels() -> None:
    loaded = source(pixels(4, 8, 8)).load([2, 0], 8, skip_bad_images=False)
    assert np.array_equal(loaded.images[..., 0], loaded.images[..., 2])
    assert np.array_equal(loaded.images[..., 1], pixels(4, 8, 8)[[2, 0]])
    assert loaded.labels.tolist() == [2, 0]


def test_blocks_are_one_list_in_order() -> None:
    whole = pixels(10, 8, 8, 3)
    parts = source(whole[:4], whole[4:5], whole[5:])
    order = [9, 0, 4, 3, 5, 4]
    assert np.array_equal(parts.load(order, 8, skip_bad_images=False).images, whole[order])
    assert parts.digests(order) == [hashlib.sha256(whole[each].tobytes()).digest() for each in order]


def test_more_images_than_one_chunk_load_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_fl.data.arrays._CHUNK", 3)
    whole = pixels(10, 4, 4, 3)
    assert np.array_equal(source(whole).load(range(10), 4, skip_bad_images=False).images, whole)


def test_planar_memory_reads_like_any_other() -> None:
    planar = pixels(6, 3, 8, 8)
    view = planar.transpose(0, 2, 3, 1)
    copied = source(np.ascontiguousarray(view))
    assert source(view).fingerprint() == copied.fingerprint()
    assert source(view).native_size_px == 8


def test_arrays_hold_no_bad_images() -> None:
    assert list(source(pixels(5, 4, 4)).examine(range(5))) == [None] * 5
