from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_fl.data.npz import open_npz
from secure_fl.errors import DataError

rng = np.random.default_rng(0)
MEMBERS: dict[str, np.ndarray] = {
    "train_images": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
    "val_images": rng.integers(0, 256, (4, 28, 28), dtype=np.uint8),
    "test_images": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
    "train_labels": (np.arange(20) % 2).astype(np.uint8)[:, None],
    "val_labels": np.zeros((4, 1), dtype=np.uint8),
    "test_labels": (np.arange(6) % 2).astype(np.uint8)[:, None],
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def npz(name: str = "breastmnist.npz", **replaced: Any) -> Path:
        members = {key: value for key, value in {**MEMBERS, **replaced}.items() if value is not None}
        np.savez_compressed(tmp_path / name, **members)
        return tmp_path / name

    return npz


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_npz(path)
    assert str(path) in caught.value.what
    return str(caught.value)


def test_a_file_is_a_data_set_with_its_class_names(write: Write) -> None:
    pair = open_npz(write())
    assert pair.train.classes == ("malignant", "normal or benign") and pair.name == "breastmnist"
    assert (len(pair.train), len(pair.test), pair.train.native_size_px) == (20, 6, 28)
    loaded = pair.train.load([3], 28, skip_bad_images=False)
    assert np.array_equal(loaded.images[0, ..., 2], MEMBERS["train_images"][3]) and loaded.labels.tolist() == [1]


def test_the_validation_images_are_neither_trained_nor_tested_on(write: Write) -> None:
    pair = open_npz(write())
    assert open_npz(write(val_images=None, val_labels=None)).train.fingerprint() == pair.train.fingerprint()


def test_colour_images_and_flat_labels_of_any_whole_type_are_understood(write: Write) -> None:
    colour = rng.integers(0, 256, (20, 28, 28, 3), dtype=np.uint8)
    pair = open_npz(write("mine.npz", train_images=colour, train_labels=np.arange(20) % 5))
    assert pair.train.classes == ("0", "1", "2", "3", "4")
    assert np.array_equal(pair.train.load(range(20), 28, skip_bad_images=False).images, colour)


@pytest.mark.parametrize(("name", "count"), [("pathmnist.npz", 9), ("bloodmnist_64.npz", 8), ("OrganSMNIST.npz", 11)])
def test_the_names_of_the_classes_follow_from_the_name_of_the_file(write: Write, name: str, count: int) -> None:
    assert len(open_npz(write(name)).train.classes) == count


@pytest.mark.parametrize(
    ("replaced", "complaint"),
    [
        ({"train_images": None}, "lacks `train_images` (it holds val_images.npy"),
        ({"test_labels": None}, "lacks `test_labels`"),
        ({"train_images": MEMBERS["train_images"][:19]}, "train has 19 images but 20 labels"),
        ({"test_labels": MEMBERS["test_labels"][:5]}, "test has 6 images but 5 labels"),
        ({"train_images": MEMBERS["train_images"].astype(np.float32)}, "train_images is float32 of shape (20, 28, 28)"),
        ({"train_images": MEMBERS["train_images"][0]}, "uint8 of shape (28, 28)"),
        ({"train_images": np.zeros((20, 28, 28, 28), dtype=np.uint8)}, "uint8 of shape (20, 28, 28, 28)"),
        ({"train_labels": np.zeros((20, 14), dtype=np.uint8)}, "train_labels holds 14 labels an image"),
        ({"train_labels": np.zeros(20)}, "train_labels is float64 of shape (20,)"),
        ({"train_labels": np.zeros((0, 1), dtype=np.uint8)}, "train_labels is uint8 of shape (0, 1)"),
        ({"train_labels": np.full(20, -1)}, "train_labels holds the label -1"),
        (
            {"test_labels": np.full((6, 1), 2, dtype=np.uint8)},
            "label 2 is out of range (breastmnist.npz has 2 classes)",
        ),
    ],
)
def test_a_wrong_member_is_refused_with_the_reason(write: Write, replaced: dict[str, Any], complaint: str) -> None:
    assert complaint in refusal(write(**replaced))


class Explosive:
    """Unpickling it would be seen."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("pickle was read",))


def test_pickled_objects_are_refused_unread(write: Write) -> None:
    assert "train_images holds pickled objects" in refusal(write(train_images=np.array([Explosive()], dtype=object)))


def test_a_header_that_announces_terabytes_is_refused_before_memory_is_taken(write: Write, tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**4, 10**4)}
    )
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(write("small.npz")) as small, zipfile.ZipFile(path, "w") as archive:
        for name in small.namelist():
            archive.writestr(name, header.getvalue() if name == "train_images.npy" else small.read(name))
    assert "train_images announces 100,000,000,000,000 bytes" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert "is not a .npz archive, or is damaged" in refusal(path)


def test_a_truncated_archive_is_refused(write: Write) -> None:
    path = write()
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in refusal(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path / "nowhere.npz")


SMALL = {key: value[:2, :2, :2] if "images" in key else value[:2] for key, value in MEMBERS.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_whatever_byte_is_wrong_there_is_data_or_a_data_error(write: Write, share: float, value: int) -> None:
    path = write(**SMALL)
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] = value
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        open_npz(path)
