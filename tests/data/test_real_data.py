"""The same code on real data sets: 60,000 JPEG files in one tar, medical .npz files, Debian's Fashion-MNIST."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secure_fl.config import RunConfig
from secure_fl.data import DatasetPair, load_site, open_dataset, partition_labels, resolved_image_size
from secure_fl.data.cifar import CLASSES
from secure_fl.data.files import FileSource
from secure_fl.data.images import decode_square


@pytest.fixture(scope="module")
def cifar(shared_data: Path) -> Path:
    return shared_data / "cifar10" / "cifar10.tar"


@pytest.fixture(scope="module")
def pair(cifar: Path) -> DatasetPair:
    return open_dataset(RunConfig(dataset=str(cifar)))


def test_the_tar_of_cifar10_lists_as_python_lists_it(cifar: Path, pair: DatasetPair) -> None:
    assert isinstance(pair.train, FileSource)
    ours = {(entry.name, entry.size_bytes, entry.offset) for entry in pair.train.store.entries}
    with tarfile.open(cifar) as archive:
        theirs = {(each.name, each.size, each.offset_data) for each in archive if each.isfile()}
    assert ours == theirs and len(ours) == 60_000


def test_opening_60000_files_costs_about_a_second(cifar: Path) -> None:
    began = time.process_time()  # of this process alone: other work on the machine does not count
    opened = open_dataset(RunConfig(dataset=str(cifar)))
    assert time.process_time() - began < 2.5  # measured: 0.7 s
    assert (len(opened.train), len(opened.test), opened.train.classes) == (50_000, 10_000, CLASSES)
    assert np.bincount(opened.train.labels).tolist() == [5000] * 10


def test_a_site_of_cifar10_gets_its_own_images(cifar: Path, pair: DatasetPair) -> None:
    config = RunConfig(dataset="cifar10", data_dir=str(cifar.parent), samples=500, test_samples=10)
    site = load_site(config, 0)
    assert len(site.train) + len(site.validation) == len(
        partition_labels(_drawn_labels(config, pair), config=config)[0]
    )
    assert site.train.images.shape[1:] == (32, 32, 3) and site.train.images.std() > 40
    assert site.normalisation.mean == (0.4914, 0.4822, 0.4465)


def _drawn_labels(config: RunConfig, pair: DatasetPair) -> np.ndarray:
    """Labels of the 500 images: 50 of each class, in the order of the classes."""
    return np.repeat(np.arange(len(pair.train.classes)), config.samples // len(pair.train.classes))


def test_decoded_pixels_are_those_that_pillow_gives(cifar: Path, pair: DatasetPair) -> None:
    assert isinstance(pair.train, FileSource)
    data = pair.train.store.read(pair.train.positions[2])
    assert pair.train.store.label(pair.train.positions[2]) == f"{cifar}:train/airplane/0002.jpg"
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(pair.train.load([2], 32, skip_bad_images=False).images[0], expected)


def test_sample_pictures_are_lossless_copies_of_test_images(pair: DatasetPair, shared_data: Path) -> None:
    for path in sorted((shared_data / "cifar10-sample").glob("*.png")):
        name, _, number = path.stem.partition("_")
        index = CLASSES.index(name) * 1000 + int(number)
        theirs = pair.test.load([index], 32, skip_bad_images=False)
        assert np.array_equal(decode_square(path.read_bytes(), 32, name=path.name), theirs.images[0])
        assert theirs.labels.tolist() == [CLASSES.index(name)]


@pytest.mark.parametrize(
    ("name", "counts", "classes"),
    [
        ("breastmnist_unofficial.npz", ([147, 399], [42, 114]), ("malignant", "normal or benign")),
        ("pneumoniamnist_unofficial.npz", ([1214, 3494], [234, 390]), ("normal", "pneumonia")),
    ],
)
def test_medical_images_have_the_counts_of_their_readme(
    shared_data: Path, name: str, counts: tuple[list[int], list[int]], classes: tuple[str, str]
) -> None:
    config = RunConfig(dataset=str(shared_data / "medmnist" / name), sites=3)
    pair = open_dataset(config)
    assert pair.train.classes == classes and resolved_image_size(config, pair) == 32
    assert tuple(np.bincount(each.labels).tolist() for each in (pair.train, pair.test)) == counts
    site = load_site(config, 0)
    assert np.array_equal(site.train.images[..., 0], site.train.images[..., 2])


def test_fashion_mnist_of_the_debian_package_is_found() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    pair = open_dataset(RunConfig(dataset="fashion-mnist"))
    assert (len(pair.train), len(pair.test)) == (60_000, 10_000)
    assert np.bincount(pair.train.labels).tolist() == [6000] * 10
    pixels = pair.train.load(range(0, 60_000, 6), 28, skip_bad_images=False).images / 255
    assert pixels.mean() == pytest.approx(pair.train.normalisation.mean[0], abs=0.005)
    assert pixels.std() == pytest.approx(pair.train.normalisation.std[0], abs=0.005)
