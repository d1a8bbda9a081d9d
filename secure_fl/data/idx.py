"""MNIST's idx format (LeCun, Cortes, Burges: "THE IDX FILE FORMAT"), plain or gzip-compressed.

Big-endian header: two zero bytes, the element type (8: unsigned byte), the number of dimensions, then
each dimension as 32 bits; the elements follow. Fashion-MNIST comes as four such files.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from secure_fl.data.arrays import ArraySource
from secure_fl.data.source import DatasetPair, Normalisation, Pixels
from secure_fl.errors import DataError

__all__ = ["FASHION_CLASSES", "find_fashion_mnist", "is_idx_folder", "open_fashion_mnist", "open_idx", "read_idx"]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_FASHION_NORMALISATION = Normalisation((0.2860,) * 3, (0.3530,) * 3)
# Where Debian's package dataset-fashion-mnist puts the four files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTE = 8
_MAX_BYTES = 4 * 2**30


def open_fashion_mnist(data_dir: str) -> DatasetPair:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 60,000 and 10,000 grey 28x28 images."""
    folder = find_fashion_mnist(data_dir)
    return open_idx(folder, name="fashion-mnist", classes=FASHION_CLASSES, normalisation=_FASHION_NORMALISATION)


def find_fashion_mnist(data_dir: str, *, fallback: Path = _DEBIAN) -> Path:
    """The folder with the files: `data_dir`, or if that is empty the one of the Debian package.

    Raises:
        DataError: the files are in neither.
    """
    folder = Path(data_dir).expanduser() if data_dir else fallback
    if not is_idx_folder(folder):
        raise DataError(
            f"Fashion-MNIST is not in {folder}",
            why="train-images-idx3-ubyte and its three companions (or the same with .gz) are looked for",
            fix="give their folder with --data-dir, or install Debian's package dataset-fashion-mnist",
        )
    return folder


def is_idx_folder(folder: Path) -> bool:
    """Whether the folder holds a training set in MNIST's four-file form."""
    return _find(folder, "train-images-idx3-ubyte") is not None


def open_idx(folder: Path, *, name: str, classes: tuple[str, ...], normalisation: Normalisation) -> DatasetPair:
    """A folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-…, t10k-labels-….

    Raises:
        DataError: a file is missing, truncated, not idx, or does not fit its companion.
    """

    def source(prefix: str) -> ArraySource:
        images_file = _required(folder, f"{prefix}-images-idx3-ubyte")
        labels_file = _required(folder, f"{prefix}-labels-idx1-ubyte")
        images, labels = read_idx(images_file, dimensions=3), read_idx(labels_file, dimensions=1)
        if len(images) != len(labels):
            raise DataError(f"{images_file} has {len(images):,} images but {labels_file} {len(labels):,} labels")
        if not images.size:
            raise DataError(f"{images_file} holds no images")
        if labels.max() >= len(classes):
            first = int(np.argmax(labels >= len(classes)))
            raise DataError(f"{labels_file}: label {labels[first]} at position {first} is not below {len(classes)}")
        return ArraySource(
            name=name, classes=classes, labels=labels.astype(np.int64), normalisation=normalisation, blocks=(images,)
        )

    return DatasetPair(name=name, train=source("train"), test=source("t10k"))


def read_idx(path: Path, *, dimensions: int) -> Pixels:
    """The array of one idx file of unsigned bytes.

    Raises:
        DataError: unreadable, truncated, too long, or of another type or number of dimensions.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(header, dimensions, path)
            wanted = math.prod(shape)
            body = file.read(wanted + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged", why=str(error)) from error
    except OSError as error:
        raise DataError(f"cannot read {path}", why=error.strerror or str(error)) from error
    if len(body) != wanted:
        held = f"{len(body):,}" if len(body) < wanted else "more"
        raise DataError(f"{path} is damaged", why=f"its header announces {wanted:,} bytes, it holds {held}")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _shape(header: bytes, dimensions: int, path: Path) -> tuple[int, ...]:
    if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]) or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path} is not an idx file of unsigned bytes in {dimensions} dimensions",
            why=f"it begins with {header[:4].hex(' ') or 'nothing'}, not 00 00 08 {dimensions:02x}",
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if math.prod(shape) > _MAX_BYTES:
        raise DataError(f"{path} is too large", why=f"its header announces {math.prod(shape):,} bytes")
    return shape


def _find(folder: Path, name: str) -> Path | None:
    return next((each for each in (folder / name, folder / f"{name}.gz") if each.is_file()), None)


def _required(folder: Path, name: str) -> Path:
    found = _find(folder, name)
    if found is None:
        raise DataError(f"{folder} lacks {name} (or {name}.gz)")
    return found
