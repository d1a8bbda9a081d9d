"""From `config.dataset` to an open data set: the one place that knows names and kinds of files.

A name (`digits`, `cifar10`, `fashion-mnist`) or a path: class folders, an archive of them, a MedMNIST
`.npz`, a folder of idx files, CIFAR-10's binary version. What is opened looks the same from then on.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import numpy as np

from secure_fl.config import RunConfig
from secure_fl.data.cifar import is_cifar_binary, open_cifar10, open_cifar_binary
from secure_fl.data.digits import open_digits
from secure_fl.data.files import open_tree
from secure_fl.data.idx import is_idx_folder, open_fashion_mnist, open_idx
from secure_fl.data.npz import open_npz
from secure_fl.data.sampling import SPLIT_SEED, stratified_pick
from secure_fl.data.source import DatasetPair, ImageSource, Normalisation
from secure_fl.errors import DataError

__all__ = ["DATASETS", "IMAGENET", "open_dataset", "resolved_image_size"]

DATASETS = ("digits", "cifar10", "fashion-mnist")
# What torchvision's pretrained networks were trained with.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# For images that nobody measured: 0..1 becomes -1..1.
_PLAIN = Normalisation((0.5,) * 3, (0.5,) * 3)
_LARGEST_DEFAULT_PX = 64
_STEP_PX = 16
_SUBSET = 2  # purpose of the generator that picks `samples`


def open_dataset(config: RunConfig) -> DatasetPair:
    """Open the data set of a run; pixels are decoded later.

    `samples` training images are drawn with the run's seed; `test_samples` always the same ones. With
    `weights` set, inputs are normalised as those weights expect.

    Raises:
        DataError: no such data set, its files are missing or damaged, or it has fewer images than wanted.
    """
    pair = _opened(config)
    train, test = pair.train, pair.test
    if config.weights:
        train, test = replace(train, normalisation=IMAGENET), replace(test, normalisation=IMAGENET)
    return DatasetPair(
        name=pair.name,
        train=_drawn(train, config.samples, "samples", np.random.default_rng([config.seed, _SUBSET])),
        test=_drawn(test, config.test_samples, "test-samples", np.random.default_rng(SPLIT_SEED)),
    )


def resolved_image_size(config: RunConfig, pair: DatasetPair) -> int:
    """Side in px of the square that a model sees: `config.image_size`, or by the data.

    The default is the images' own shorter side, up to the next multiple of 16 and at most 64: digits
    8 → 16, MNIST and MedMNIST 28 → 32, CIFAR-10 32, photographs 64.
    """
    if config.image_size:
        return config.image_size
    return min(_LARGEST_DEFAULT_PX, -(-pair.train.native_size_px // _STEP_PX) * _STEP_PX)


def _opened(config: RunConfig) -> DatasetPair:
    match config.dataset.replace("_", "-"):
        case "digits":
            return open_digits()
        case "cifar10" | "cifar-10":
            return open_cifar10(config.data_dir, download=config.download, skip_bad_images=config.skip_bad_images)
        case "fashion-mnist":
            return open_fashion_mnist(config.data_dir)
    return _opened_path(Path(config.dataset).expanduser(), config.skip_bad_images)


def _opened_path(path: Path, skip_bad_images: bool) -> DatasetPair:
    if not path.exists():
        raise _no_dataset(path)
    if is_cifar_binary(path):
        return open_cifar_binary(path)
    if is_idx_folder(path):
        return open_idx(path, name=path.resolve().name, classes=tuple("0123456789"), normalisation=_PLAIN)
    if path.suffix.lower() == ".npz":
        return open_npz(path)
    return open_tree(path, name=path.resolve().name, normalisation=_PLAIN, skip_bad_images=skip_bad_images)


def _no_dataset(path: Path) -> DataError:
    near = difflib.get_close_matches(str(path), DATASETS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return DataError(
        f"no data set `{path}`",
        why="it is neither a name nor a file or folder that exists",
        fix=f"{hint}give {', '.join(DATASETS)}, or the path of class folders, an archive of them, or a MedMNIST .npz",
    )


def _drawn(source: ImageSource, count: int, key: str, rng: np.random.Generator) -> ImageSource:
    if count == 0:
        return source
    if count > len(source):
        raise DataError(f"`{key}` is {count:,}, but {source.name} has {len(source):,} images", fix="give 0 for all")
    return source.subset(stratified_pick(source.labels, count, rng))
