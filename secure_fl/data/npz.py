"""MedMNIST's `.npz` files (Yang et al. 2023, Scientific Data 10, 41), read without pickle.

Members `train_images`, `test_images` (n, S, S) grey or (n, S, S, 3) RGB uint8 and `train_labels`,
`test_labels` (n, 1) or (n,). The validation members stay unused: neither trained nor tested on, so that
figures compare with published ones. Multi-label sets (chestmnist) and volumes (…mnist3d) are refused.

Each array's header is judged before its data is read: a few bytes can claim terabytes.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from secure_fl.data.arrays import ArraySource
from secure_fl.data.names import printable
from secure_fl.data.source import DatasetPair, Labels, Normalisation, Pixels
from secure_fl.errors import DataError

__all__ = ["open_npz"]

_MAX_BYTES = 8 * 2**30
# MedMNIST's own preprocessing.
_NORMALISATION = Normalisation((0.5,) * 3, (0.5,) * 3)
_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
    "lung-right", "pancreas", "spleen",
)  # fmt: skip
# As the medmnist package (3.0.2) names them, shortened where it explains.
_CLASSES = {
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "dermamnist": (
        "actinic keratoses", "basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma", "melanoma",
        "melanocytic nevi", "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "breastmnist": ("malignant", "normal or benign"),
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells",
        "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb",
    ),
    "organamnist": _ORGANS, "organcmnist": _ORGANS, "organsmnist": _ORGANS,
}  # fmt: skip


def open_npz(path: Path) -> DatasetPair:
    """Open one MedMNIST file; class names come with its file name, else classes are numbered.

    Raises:
        DataError: not such a file, a member is missing or of a wrong form, or labels do not fit.
    """
    train_labels, test_labels = _labels(path, "train_labels"), _labels(path, "test_labels")
    highest = int(max(train_labels.max(), test_labels.max()))
    classes = next((names for stem, names in _CLASSES.items() if path.name.lower().startswith(stem)), None)
    if classes is None:
        classes = tuple(str(number) for number in range(highest + 1))
    if highest >= len(classes):
        raise DataError(f"{path}: label {highest} is out of range", why=f"{path.name} has {len(classes)} classes")

    def source(split: str, labels: Labels) -> ArraySource:
        images = _images(path, f"{split}_images")
        if len(images) != len(labels):
            raise DataError(f"{path}: {split} has {len(images):,} images but {len(labels):,} labels")
        return ArraySource(
            name=path.stem, classes=classes, labels=labels, normalisation=_NORMALISATION, blocks=(images,)
        )

    return DatasetPair(name=path.stem, train=source("train", train_labels), test=source("test", test_labels))


def _labels(path: Path, member: str) -> Labels:
    array = _member(path, member)
    if array.ndim == 2 and array.shape[1] > 1:
        raise DataError(f"{path}: {member} holds {array.shape[1]} labels an image", why="one label each is needed")
    if array.ndim not in (1, 2) or array.dtype.kind not in "ui" or not array.size:
        raise DataError(f"{path}: {member} is {_form(array)}", why="whole numbers of shape (n, 1) or (n,) are needed")
    if array.min() < 0:
        raise DataError(f"{path}: {member} holds the label {array.min()}", why="labels count from 0")
    return array.reshape(-1).astype(np.int64)


def _images(path: Path, member: str) -> Pixels:
    array = _member(path, member)
    if array.dtype != np.uint8 or not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)):
        raise DataError(f"{path}: {member} is {_form(array)}", why="uint8 of shape (n, S, S) or (n, S, S, 3) is needed")
    return array


def _member(path: Path, member: str) -> npt.NDArray[Any]:
    """One array of the archive, its header judged first; object arrays (pickle) are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{member}.npy" not in archive.namelist():
                raise DataError(
                    f"{path} lacks `{member}`", why=f"it holds {printable(', '.join(archive.namelist()) or 'nothing')}"
                )
            with archive.open(f"{member}.npy") as stream:
                _judge_header(stream, path, member)
            with archive.open(f"{member}.npy") as stream:
                array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
                stream.read()  # to the end, where the checksum is compared
                return array
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a .npz archive, or is damaged", why=printable(str(error))) from error
    except OSError as error:
        raise DataError(f"cannot read {path}", why=error.strerror or str(error)) from error


def _judge_header(stream: IO[bytes], path: Path, member: str) -> None:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(f"{path}: {member} holds pickled objects", why="reading pickle can run any code")
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > _MAX_BYTES:
        raise DataError(
            f"{path}: {member} announces {size_bytes:,} bytes",
            why=f"at most {_MAX_BYTES:,} are read",
            fix="lay larger sets out as a folder of image files",
        )


def _form(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
