from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.config import RunConfig
from secure_fl.data import (
    describe_data,
    fingerprint_partition,
    load_root,
    load_site,
    load_test,
    open_dataset,
    partition_labels,
    site_sizes,
)
from secure_fl.data.stores import FolderStore
from secure_fl.errors import DataError
from tests.data.conftest import Files, class_tree, split_tree

LayOut = Callable[[Files], Path]


def config(**settings: Any) -> RunConfig:
    return RunConfig(**{"sites": 3, "samples": 300, **settings})


def keys(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_every_training_image_is_at_one_site_for_training_or_validation() -> None:
    c = config()
    pair = open_dataset(c)
    whole = pair.train.load(range(300), 16, skip_bad_images=False)
    parts = [load_site(c, site) for site in range(3)]
    seen = [keys(images.images) for part in parts for images in (part.train, part.validation)]
    assert set.union(*seen) == keys(whole.images)
    assert sum(len(each.train) + len(each.validation) for each in parts) == 300
    for part in parts:
        assert part.train.images.shape[1:] == (16, 16, 3) and part.train.classes == pair.train.classes
        assert not keys(part.train.images) & keys(part.validation.images)


def test_labels_stay_with_their_images() -> None:
    c = config()
    pair = open_dataset(c)
    whole = pair.train.load(range(300), 16, skip_bad_images=False)
    label_of = dict(zip((image.tobytes() for image in whole.images), whole.labels, strict=True))
    site = load_site(c, 1)
    assert [label_of[image.tobytes()] for image in site.train.images] == site.train.labels.tolist()


def test_root_images_are_taken_out_of_the_test_set_and_do_not_depend_on_the_runs_seed() -> None:
    settings = {"defense": "fltrust", "byzantine": 1, "root_samples": 50}
    root, (test, _) = load_root(config(**settings)), load_test(config(**settings))
    whole, _ = load_test(config())
    assert (len(root), len(test)) == (50, len(whole) - 50)
    assert not keys(root.images) & keys(test.images)
    assert keys(root.images) | keys(test.images) == keys(whole.images)
    assert keys(load_root(config(**settings, seed=9)).images) == keys(root.images)
    assert set(np.unique(root.labels)) == set(range(10))


def test_root_images_may_not_use_up_the_test_set() -> None:
    with pytest.raises(DataError, match="`root-samples` is 359"):
        load_test(config(defense="fltrust", byzantine=1, root_samples=359))


def test_the_coordinator_tests_on_images_that_no_site_has() -> None:
    images, normalisation = load_test(config())
    assert len(images) == 359 and normalisation == open_dataset(config()).test.normalisation
    whole = open_dataset(RunConfig()).train.load(range(1438), 16, skip_bad_images=False)
    assert not keys(images.images) & keys(whole.images)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_sizes_are_known_without_decoding(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    c = config(val_fraction=fraction)
    loaded = [len(load_site(c, site).train) for site in range(3)]
    monkeypatch.setattr("secure_fl.data.arrays.resize_arrays", lambda *_: pytest.fail("decoded"))
    assert site_sizes(c) == loaded
    assert [each["train_images"] for each in describe_data(c)["sites"]] == loaded


@pytest.mark.parametrize(
    ("size", "fraction", "kept"), [(2, 0.1, 1), (1, 0.5, 0), (10, 0.0, 0), (10, 0.25, 2), (3, 0.5, 2)]
)
def test_validation_takes_its_share_at_least_one_and_never_all(size: int, fraction: float, kept: int) -> None:
    c = RunConfig(sites=1, samples=size, min_size=1, val_fraction=fraction, partition="iid")
    site = load_site(c, 0)
    assert (len(site.train), len(site.validation)) == (size - kept, kept)


def test_validation_images_are_drawn_by_class_and_by_seed() -> None:
    site = load_site(RunConfig(sites=1, val_fraction=0.2), 0)
    assert set(np.bincount(site.validation.labels).tolist()) <= {27, 28, 29, 30}
    other = load_site(RunConfig(sites=1, val_fraction=0.2, seed=1), 0)
    assert other.validation.fingerprint() != site.validation.fingerprint()


@pytest.mark.parametrize("site", [-1, 3])
def test_a_site_that_does_not_exist_is_refused(site: int) -> None:
    with pytest.raises(DataError, match=rf"there is no site {site} \(sites are numbered 0 to 2\)"):
        load_site(config(), site)


def test_a_site_reads_its_own_files_and_no_others(lay_out: LayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    c = RunConfig(dataset=str(lay_out(split_tree(images=20))), sites=4, min_size=1, image_size=16, partition="iid")
    own = partition_labels(open_dataset(c).train.labels, config=c)[2]
    read: set[str] = set()
    original = FolderStore._read
    monkeypatch.setattr(FolderStore, "_read", lambda self, entry: read.add(entry.name) or original(self, entry))
    load_site(c, 2)
    assert len(read) == len(own) == 10


# --- fingerprints


def test_what_a_site_has_is_what_the_record_says_it_has(lay_out: LayOut) -> None:
    for dataset in ("digits", str(lay_out(split_tree(images=20)))):
        c = RunConfig(dataset=dataset, sites=3, min_size=1)
        described = describe_data(c)["sites"]
        assert [each["fingerprint"] for each in described] == [load_site(c, site).fingerprint for site in range(3)]
        assert len({each["fingerprint"] for each in described}) == 3


def test_the_description_adds_up_and_is_json() -> None:
    c = config(partition="shards", classes_per_site=5, test_samples=100)
    described = json.loads(json.dumps(describe_data(c)))
    data, pair = described["dataset"], open_dataset(c)
    assert (data["name"], data["classes"], data["image_size_px"], data["native_size_px"]) == (
        "digits",
        [*"0123456789"],
        16,
        8,
    )
    assert (data["train"]["images"], data["test"]["images"], data["train"]["left_out"]) == (300, 100, 0)
    assert data["train"]["fingerprint"] == pair.train.fingerprint()
    assert data["test"]["fingerprint"] == pair.test.fingerprint()
    assert data["normalisation"]["mean"] == list(pair.train.normalisation.mean)
    counts = np.array([site["counts"] for site in described["sites"]])
    assert counts.sum(axis=0).tolist() == data["train"]["counts"] and (counts > 0).sum(axis=1).tolist() == [5, 5, 5]
    assert counts.sum(axis=1).tolist() == [site["images"] for site in described["sites"]]
    parts = partition_labels(pair.train.labels, config=c)
    assert described["partition"] == {"kind": "shards", "seed": 0, "fingerprint": fingerprint_partition(parts)}


def test_the_seed_changes_the_partition_but_not_the_data_set() -> None:
    first, second = describe_data(RunConfig(seed=0)), describe_data(RunConfig(seed=1))
    assert first["dataset"] == second["dataset"]
    assert first["partition"]["fingerprint"] != second["partition"]["fingerprint"]


def test_partitions_are_the_same_on_every_machine() -> None:
    # A known answer; should NumPy change its streams, this says so before a resumed run does.
    assert describe_data(RunConfig())["partition"]["fingerprint"] == (
        "sha256:6a308f742f0ce76f8c4f91cac41a2852afb787c3408daa628263ae965683acee"
    )


# --- bad images


def bad_tree(lay_out: LayOut) -> str:
    files = split_tree(images=20, tests=4)
    files |= {"train/cat/03.png": b"broken", "test/dog/01.png": b"broken", "train/dog/empty.png": b""}
    return str(lay_out(files))


def test_bad_images_stop_the_site_that_has_them_and_no_other(lay_out: LayOut) -> None:
    dataset = bad_tree(lay_out)
    (Path(dataset) / "train/dog/empty.png").unlink()
    c = RunConfig(dataset=dataset, sites=2, min_size=1, partition="shards", classes_per_site=1)
    outcomes = []
    for site in range(2):
        try:
            outcomes.append(len(load_site(c, site).train))
        except DataError as error:
            outcomes.append(error.what)
    stopped, trained = sorted(map(str, outcomes))
    assert stopped.endswith("train/cat/03.png is not a JPEG, PNG, WEBP or BMP image") and trained == "18"
    with pytest.raises(DataError, match=r"test/dog/01\.png"):
        load_test(c)


def test_bad_images_are_left_out_and_named_if_wanted(lay_out: LayOut) -> None:
    c = RunConfig(dataset=bad_tree(lay_out), sites=2, min_size=1, partition="iid", skip_bad_images=True)
    parts = [load_site(c, site) for site in range(2)]
    skipped = [name for part in parts for images in (part.train, part.validation) for name in images.skipped]
    assert [Path(name).name for name in skipped] == ["03.png"]
    assert sum(len(part.train) + len(part.validation) for part in parts) == 39
    images, _ = load_test(c)
    assert len(images) == 7 and len(images.skipped) == 1
    described = describe_data(c)
    assert described["dataset"]["train"]["left_out"] == 1 and sum(site_sizes(c)) == 36


def test_a_site_whose_images_are_all_bad_is_an_error(lay_out: LayOut) -> None:
    files = dict.fromkeys(class_tree(top="train/"), b"broken") | class_tree(top="test/")
    c = RunConfig(dataset=str(lay_out(files)), sites=2, min_size=1, partition="iid", skip_bad_images=True)
    with pytest.raises(DataError, match="site 1 has no usable training image"):
        load_site(c, 1)


def test_a_test_set_whose_images_are_all_bad_is_an_error(lay_out: LayOut) -> None:
    files = class_tree(top="train/") | dict.fromkeys(class_tree(top="test/"), b"broken")
    with pytest.raises(DataError, match="has no usable test image"):
        load_test(RunConfig(dataset=str(lay_out(files)), skip_bad_images=True))
