from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fl.data.idx import FASHION_CLASSES, find_fashion_mnist, is_idx_folder, open_fashion_mnist, read_idx
from secure_fl.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
LABELS = (np.arange(20) % 10).astype(np.uint8)
NAMES = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:5],
    "t10k-labels-idx1-ubyte": LABELS[:5],
}
Write = Callable[..., Path]


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the four files, some of them replaced."""

    def files(*, packed: bool = False, **replaced: bytes) -> Path:
        for name, array in NAMES.items():
            content = replaced.get(name.split("-idx")[0].replace("-", "_"), idx(array))
            (tmp_path / f"{name}.gz" if packed else tmp_path / name).write_bytes(
                gzip.compress(content) if packed else content
            )
        return tmp_path

    return files


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_fashion_mnist(str(folder))
    assert str(folder) in caught.value.what
    return f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize("packed", [False, True])
def test_the_four_files_are_a_data_set(write: Write, packed: bool) -> None:
    pair = open_fashion_mnist(str(write(packed=packed)))
    assert pair.name == "fashion-mnist" and pair.train.classes == FASHION_CLASSES and len(FASHION_CLASSES) == 10
    assert (len(pair.train), len(pair.test), pair.train.native_size_px) == (20, 5, 28)
    loaded = pair.train.load(range(20), 28, skip_bad_images=False)
    assert np.array_equal(loaded.images[..., 1], IMAGES) and np.array_equal(loaded.labels, LABELS)


def test_plain_and_packed_have_the_same_fingerprint(write: Write) -> None:
    plain = open_fashion_mnist(str(write())).train.fingerprint()
    folder = write(packed=True)
    for name in NAMES:
        (folder / name).unlink()
    assert open_fashion_mnist(str(folder)).train.fingerprint() == plain


def test_the_files_of_the_debian_package_are_the_fallback(write: Write, tmp_path: Path) -> None:
    folder = write()
    assert find_fashion_mnist("", fallback=folder) == folder
    assert find_fashion_mnist(str(folder), fallback=tmp_path / "nowhere") == folder


def test_without_files_the_error_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Fashion-MNIST is not in") as caught:
        find_fashion_mnist("", fallback=tmp_path)
    assert "dataset-fashion-mnist" in caught.value.fix and "--data-dir" in caught.value.fix
    assert not is_idx_folder(tmp_path)


@pytest.mark.parametrize("missing", list(NAMES)[1:])
def test_a_missing_companion_is_named(write: Write, missing: str) -> None:
    folder = write()
    (folder / missing).unlink()
    assert f"lacks {missing}" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it begins with nothing, not 00 00 08 03"),
        (b"\x00\x00\x08\x03\x00", "is not an idx file"),
        (idx(LABELS), "it begins with 00 00 08 01, not 00 00 08 03"),
        (b"\x00\x00\x0d\x03" + bytes(12), "it begins with 00 00 0d 03"),
        (b"\x89PNG" + bytes(100), "is not an idx file"),
        (idx(IMAGES)[:-1], "announces 15,680 bytes, it holds 15,679"),
        (idx(IMAGES) + b"x", "announces 15,680 bytes, it holds more"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**31, 28), "is too large"),
        (idx(IMAGES[:7]), "has 7 images but"),
        (idx(IMAGES[:0]), "images but"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_broken_images_are_refused_with_the_reason(write: Write, content: bytes, complaint: str, packed: bool) -> None:
    assert complaint in refusal(write(packed=packed, train_images=content))


def test_a_label_out_of_range_is_named_with_its_place(write: Write) -> None:
    labels = LABELS.copy()
    labels[3] = 11
    assert "label 11 at position 3 is not below 10" in refusal(write(train_labels=idx(labels)))


def test_an_empty_set_is_refused(write: Write) -> None:
    assert "holds no images" in refusal(write(train_images=idx(IMAGES[:0]), train_labels=idx(LABELS[:0])))


def test_truncated_or_wrong_gzip_is_refused(write: Write) -> None:
    folder = write(packed=True)
    file = folder / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"no gzip", whole[:-3] + b"xyz"):
        file.write_bytes(content)
        assert "is truncated or damaged" in refusal(folder)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_idx(tmp_path, dimensions=1)
