from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.config import RunConfig
from secure_fl.data import IMAGENET, DatasetPair, open_dataset, resolved_image_size
from secure_fl.data.registry import DATASETS
from secure_fl.errors import DataError
from tests.data.conftest import Files, class_tree, encoded, noise, split_tree
from tests.data.test_cifar import binary_version
from tests.data.test_idx import NAMES, idx
from tests.data.test_npz import MEMBERS

LayOut = Callable[[Files], Path]


def opened(dataset: str | Path = "digits", **settings: Any) -> DatasetPair:
    return open_dataset(RunConfig(dataset=str(dataset), **settings))


def size_of(dataset: str | Path, **settings: Any) -> int:
    return resolved_image_size(RunConfig(dataset=str(dataset), **settings), opened(dataset))


# --- names and paths


def test_a_name_may_be_written_with_an_underscore() -> None:
    for name in ("fashion_mnist", "fashion-mnist"):
        with pytest.raises(DataError, match="Fashion-MNIST is not in"):
            opened(name, data_dir="nowhere")


@pytest.mark.parametrize("name", ["cifar10", "cifar-10"])
def test_cifar10_asks_for_its_folder(name: str) -> None:
    with pytest.raises(DataError, match="cifar10 needs the folder"):
        opened(name)


def test_every_kind_of_path_is_known(lay_out: LayOut, pack: Callable[..., Path], tmp_path: Path) -> None:
    assert opened(lay_out(split_tree())).train.classes == ("cat", "dog")
    assert opened(pack(split_tree(), "pets.tar.gz")).name == "pets.tar.gz"
    np.savez(tmp_path / "own.npz", **MEMBERS)
    assert opened(tmp_path / "own.npz").name == "own"
    four = tmp_path / "kuzushiji"
    four.mkdir()
    for name, array in NAMES.items():
        (four / name).write_bytes(idx(array))
    pair = opened(four)
    assert (pair.name, pair.train.classes, len(pair.train)) == ("kuzushiji", tuple("0123456789"), 20)


def test_the_binary_version_of_cifar10_is_known_by_its_files(lay_out: LayOut) -> None:
    with pytest.raises(DataError, match=r"data_batch_1\.bin is truncated or damaged"):  # the official size is larger
        opened(lay_out(binary_version()))


def test_the_current_folder_has_a_name_too(lay_out: LayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lay_out(split_tree()))
    assert opened(".").name == "pictures"


def test_a_home_folder_is_understood(lay_out: LayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(lay_out(split_tree()).parent))
    assert len(opened("~/pictures").train) == 12


@pytest.mark.parametrize(("name", "hint"), [("digitz", "did you mean digits?"), ("no/such/place", "or the path of")])
def test_what_is_neither_name_nor_path_is_refused_with_what_there_is(name: str, hint: str) -> None:
    with pytest.raises(DataError, match=f"no data set `{name}`") as caught:
        opened(name)
    assert hint in caught.value.fix and all(each in caught.value.fix for each in DATASETS)


def test_bad_images_are_left_out_if_the_config_says_so(lay_out: LayOut) -> None:
    folder = lay_out(split_tree() | {"train/cat/empty.png": b""})
    with pytest.raises(DataError, match=r"empty\.png"):
        opened(folder)
    assert len(opened(folder, skip_bad_images=True).train.left_out) == 1


# --- subsets


def test_samples_are_drawn_by_class_with_the_seed_of_the_run() -> None:
    pair = opened(samples=200, seed=1)
    assert len(pair.train) == 200 and len(pair.test) == 359
    assert set(np.bincount(pair.train.labels).tolist()) <= {19, 20, 21}
    same, other = opened(samples=200, seed=1), opened(samples=200, seed=2)
    assert same.train.fingerprint() == pair.train.fingerprint() != other.train.fingerprint()


def test_test_samples_do_not_depend_on_the_seed_of_the_run() -> None:
    first, second = opened(test_samples=100, seed=1), opened(test_samples=100, seed=2)
    assert len(first.test) == 100
    assert first.test.fingerprint() == second.test.fingerprint()


@pytest.mark.parametrize("key", ["samples", "test_samples"])
def test_more_images_than_there_are_is_refused(key: str) -> None:
    with pytest.raises(DataError, match=f"`{key.replace('_', '-')}` is 2,000, but digits has"):
        opened(**{key: 2000})


# --- normalisation and size


def test_pretrained_weights_get_the_inputs_that_they_were_trained_with() -> None:
    assert opened().train.normalisation != IMAGENET
    pair = opened(weights="model.safetensors", samples=100, test_samples=50)
    assert pair.train.normalisation == pair.test.normalisation == IMAGENET


@pytest.mark.parametrize(("native", "wanted"), [(8, 16), (16, 16), (28, 32), (32, 32), (50, 64), (64, 64), (300, 64)])
def test_the_default_size_follows_the_data(lay_out: LayOut, native: int, wanted: int) -> None:
    image = encoded(noise(0, native, native))
    assert size_of(lay_out(dict.fromkeys(class_tree(images=3), image))) == wanted


def test_a_given_size_wins() -> None:
    assert size_of("digits") == 16 and size_of("digits", image_size=24) == 24


def test_a_subset_keeps_the_default_size(lay_out: LayOut) -> None:
    small, large = encoded(noise(0, 20, 20)), encoded(noise(1, 90, 90))
    files = {name: small if number % 5 else large for number, name in enumerate(class_tree(images=20))}
    folder = lay_out(files)
    assert {size_of(folder, samples=count, seed=count) for count in (0, 2, 3, 4)} == {32}
