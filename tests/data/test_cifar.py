from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fl.data.cifar import CLASSES, open_cifar10, open_cifar_binary
from secure_fl.data.source import DatasetPair
from secure_fl.errors import DataError
from tests.data.conftest import Files, class_tree

RECORDS = 20
TRAIN = np.random.default_rng(0).integers(0, 256, (5 * RECORDS, 3, 32, 32), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, (RECORDS, 3, 32, 32), dtype=np.uint8)


def records(planes: np.ndarray, labels: np.ndarray) -> bytes:
    return np.concatenate([labels[:, None].astype(np.uint8), planes.reshape(len(planes), -1)], axis=1).tobytes()


def binary_version() -> Files:
    labels = np.arange(5 * RECORDS) % 10
    batches = {
        f"data_batch_{number + 1}.bin": records(*(each[number * RECORDS :][:RECORDS] for each in (TRAIN, labels)))
        for number in range(5)
    }
    return batches | {
        "test_batch.bin": records(TEST, np.arange(RECORDS) % 10),
        "readme.html": b"",
        "batches.meta.txt": b"",
    }


def inside(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def opened(data_dir: Path | str) -> DatasetPair:
    return open_cifar10(str(data_dir), download=False, skip_bad_images=False, records=RECORDS)


def refusal(data_dir: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        opened(data_dir)
    return f"{caught.value} {caught.value.fix}"


def check_binary(pair: DatasetPair) -> None:
    assert pair.train.classes == CLASSES and pair.name == "cifar10"
    assert (len(pair.train), len(pair.test), pair.train.native_size_px) == (5 * RECORDS, RECORDS, 32)
    loaded = pair.train.load([0, 33, 99], 32, skip_bad_images=False)
    assert np.array_equal(loaded.images, TRAIN[[0, 33, 99]].transpose(0, 2, 3, 1)) and loaded.labels.tolist() == [
        0,
        3,
        9,
    ]
    assert np.array_equal(pair.test.load([7], 32, skip_bad_images=False).images[0], TEST[7].transpose(1, 2, 0))


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-bin"])
def test_the_unpacked_binary_version_is_found(lay_out: Callable[[Files], Path], folder: str) -> None:
    check_binary(opened(lay_out(inside(folder, binary_version()))))


def test_the_packed_binary_version_is_read_without_unpacking(pack: Callable[..., Path]) -> None:
    archive = pack(inside("cifar-10-batches-bin", binary_version()), "cifar-10-binary.tar.gz")
    check_binary(opened(archive.parent))
    check_binary(opened(archive))
    assert [each.name for each in archive.parent.iterdir()] == [archive.name]


def test_packed_and_unpacked_have_the_same_fingerprint(
    pack: Callable[..., Path], lay_out: Callable[[Files], Path]
) -> None:
    files = inside("cifar-10-batches-bin", binary_version())
    assert (
        opened(pack(files, "cifar-10-binary.tar.gz")).train.fingerprint() == opened(lay_out(files)).train.fingerprint()
    )


def tree() -> Files:
    return class_tree(CLASSES, images=2, top="train/") | class_tree(CLASSES, images=1, top="test/")


@pytest.mark.parametrize("name", ["cifar10.tar", "cifar10.zip", "cifar10.tgz"])
def test_an_archive_of_class_folders_is_found(pack: Callable[..., Path], name: str) -> None:
    archive = pack(tree(), name)
    for place in (archive, archive.parent):
        pair = opened(place)
        assert pair.name == "cifar10" and pair.train.classes == CLASSES and len(pair.train) == 20
        assert pair.train.normalisation.mean == (0.4914, 0.4822, 0.4465)


def test_class_folders_are_found(lay_out: Callable[[Files], Path]) -> None:
    assert len(opened(lay_out(tree())).test) == 10


def test_other_classes_are_not_cifar10(lay_out: Callable[[Files], Path]) -> None:
    message = refusal(lay_out(class_tree(top="train/") | class_tree(top="test/")))
    assert "is not CIFAR-10" in message and "cat, dog" in message and "--dataset" in message


def test_without_a_folder_or_files_the_error_says_what_would_do(tmp_path: Path) -> None:
    for message in (refusal(tmp_path), refusal("")):
        assert all(each in message for each in ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", "cifar10.tar"))
    assert "--download" in refusal(tmp_path) and "--data-dir" in refusal("")


# --- damage


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_file_is_named(
    lay_out: Callable[[Files], Path], pack: Callable[..., Path], name: str, packed: bool
) -> None:
    files = binary_version()
    del files[name]
    assert name in refusal(pack(files, "cifar-10-binary.tar.gz") if packed else lay_out(files))


@pytest.mark.parametrize("change", [slice(None, -1), slice(None, -3073), slice(None, 0)])
def test_a_truncated_file_is_refused(lay_out: Callable[[Files], Path], change: slice) -> None:
    files = binary_version()
    files["data_batch_2.bin"] = files["data_batch_2.bin"][change]
    assert "data_batch_2.bin" in refusal(lay_out(files))


def test_the_official_size_is_demanded_by_default(lay_out: Callable[[Files], Path]) -> None:
    with pytest.raises(DataError, match=r"61,460 bytes instead of 30,730,000"):
        open_cifar_binary(lay_out(binary_version()))


def test_a_label_above_nine_is_named_with_its_place(lay_out: Callable[[Files], Path]) -> None:
    files = binary_version()
    content = bytearray(files["data_batch_4.bin"])
    content[5 * 3073] = 10
    message = refusal(lay_out(files | {"data_batch_4.bin": bytes(content)}))
    assert "data_batch_4.bin: label 10 at record 5 is not in 0..9" in message


def test_a_truncated_archive_is_refused(pack: Callable[..., Path]) -> None:
    archive = pack(binary_version(), "cifar-10-binary.tar.gz")
    archive.write_bytes(archive.read_bytes()[:1000])
    assert "truncated or damaged" in refusal(archive)


def test_the_python_version_is_never_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    assert "no CIFAR-10 in" in refusal(tmp_path)
