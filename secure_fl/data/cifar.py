"""CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images").

Its "python version" is pickle, which we never read. The *binary version* holds the same images: files of
10,000 records, each one label byte and 3,072 pixel bytes (red plane, green plane, blue plane, row by row).
Three forms are found in the data folder: the unpacked binary version (read as memory maps), its archive
`cifar-10-binary.tar.gz`, and class folders or an archive of JPEG or PNG files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from secure_fl.data.archive import ARCHIVE_SUFFIXES
from secure_fl.data.arrays import ArraySource
from secure_fl.data.cifar_download import OFFICIAL, Download
from secure_fl.data.files import open_tree
from secure_fl.data.source import DatasetPair, Normalisation, Pixels
from secure_fl.data.tar import TarStore
from secure_fl.errors import DataError

__all__ = ["CLASSES", "is_cifar_binary", "open_cifar10", "open_cifar_binary"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NORMALISATION = Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_FOLDER, _ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
_TRAIN_FILES, _TEST_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)
_FORMS = f"{_FOLDER}/, {_ARCHIVE}, class folders train/<class>/ and test/<class>/, or an archive of these (cifar10.tar)"
_RECORDS = 10_000
_RECORD_BYTES = 1 + 3 * 32 * 32


def open_cifar10(
    data_dir: str, *, download: bool, skip_bad_images: bool, official: Download = OFFICIAL, records: int = _RECORDS
) -> DatasetPair:
    """CIFAR-10 in whatever form `data_dir` holds it; fetched into it first if it holds none and `download` is set.

    Args:
        official: where the binary version is to be had.
        records: images in each file of the binary version.

    Raises:
        DataError: no data folder, no CIFAR-10 in it, the download failed, or files are damaged.
    """
    if not data_dir:
        raise DataError("cifar10 needs the folder that holds it", fix=f"give --data-dir with {_FORMS}")
    folder = Path(data_dir).expanduser()
    if download and _found(folder) is None:
        official.into(folder)
    found = _found(folder)
    if found is None:
        raise DataError(f"no CIFAR-10 in {folder}", fix=f"put one of these there: {_FORMS}; or add --download")
    if is_cifar_binary(found):
        return open_cifar_binary(found, records=records)
    pair = open_tree(found, name="cifar10", normalisation=_NORMALISATION, skip_bad_images=skip_bad_images)
    if pair.train.classes != CLASSES:
        raise DataError(
            f"{found} is not CIFAR-10",
            why=f"its classes are {', '.join(pair.train.classes[:12])}",
            fix=f"for images of your own, give the path itself: --dataset {found}",
        )
    return pair


def _found(folder: Path) -> Path | None:
    """The most direct form of CIFAR-10 at or in `folder`, which may itself be an archive."""
    if folder.is_file():
        return folder
    candidates = [folder, folder / _FOLDER, folder / _ARCHIVE]
    binary = next((each for each in candidates if is_cifar_binary(each)), None)
    if binary or (folder / "train").is_dir():
        return binary or folder
    archives = [folder / f"cifar10{suffix}" for suffix in ARCHIVE_SUFFIXES]
    return next((each for each in archives if each.is_file()), None)


def is_cifar_binary(path: Path) -> bool:
    """Whether this is the binary version, unpacked or as its archive."""
    return (path / _TRAIN_FILES[0]).is_file() or (path.name == _ARCHIVE and path.is_file())


def open_cifar_binary(path: Path, *, records: int = _RECORDS) -> DatasetPair:
    """The binary version, a folder or `cifar-10-binary.tar.gz`.

    Raises:
        DataError: a file is missing, of a wrong size, or holds a label above 9.
    """
    read = _from_archive(path) if path.is_file() else _from_folder(path)

    def source(names: tuple[str, ...]) -> ArraySource:
        tables = [_records(read(name), f"{path}: {name}", records) for name in names]
        return ArraySource(
            name="cifar10",
            classes=CLASSES,
            labels=np.concatenate([table[:, 0] for table in tables]).astype(np.int64),
            normalisation=_NORMALISATION,
            blocks=tuple(table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for table in tables),
        )

    return DatasetPair(name="cifar10", train=source(_TRAIN_FILES), test=source(_TEST_FILES))


def _from_folder(folder: Path) -> Callable[[str], Pixels]:
    def read(name: str) -> Pixels:
        try:
            return np.memmap(folder / name, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise DataError(f"cannot read {folder / name}", why=str(error)) from error

    return read


def _from_archive(archive: Path) -> Callable[[str], Pixels]:
    store = TarStore(archive)
    where = {entry.name.rpartition("/")[2]: index for index, entry in enumerate(store.entries)}

    def read(name: str) -> Pixels:
        if name not in where:
            raise DataError(f"{archive} lacks {name}", fix=f"the binary version is {OFFICIAL.url}")
        return np.frombuffer(store.read(where[name]), dtype=np.uint8)

    return read


def _records(content: Pixels, name: str, records: int) -> Pixels:
    """(records, 3073): label and pixels, after a check of size and labels."""
    if content.size != records * _RECORD_BYTES:
        raise DataError(
            f"{name} is truncated or damaged",
            why=f"{content.size:,} bytes instead of {records * _RECORD_BYTES:,}",
        )
    table = content.reshape(records, _RECORD_BYTES)
    outside = np.flatnonzero(table[:, 0] >= len(CLASSES))
    if len(outside):
        raise DataError(f"{name}: label {table[outside[0], 0]} at record {outside[0]} is not in 0..9")
    return table
