from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fl.data.files import FileSource, open_tree
from secure_fl.data.source import DatasetPair, Normalisation
from secure_fl.errors import DataError
from tests.data.conftest import Files, class_tree, encoded, noise, split_tree

LayOut = Callable[[Files], Path]
Pack = Callable[..., Path]


def opened(path: Path, *, skip_bad_images: bool = False) -> DatasetPair:
    return open_tree(
        path, name="pets", normalisation=Normalisation((0.5,) * 3, (0.5,) * 3), skip_bad_images=skip_bad_images
    )


def everything(pair: DatasetPair, **options: bool) -> np.ndarray:
    return pair.train.load(range(len(pair.train)), 16, **{"skip_bad_images": False, **options}).images


BAD = {
    "train/dog/truncated.png": encoded(noise(9))[:700],
    "train/dog/fake.jpg": b"no image at all",
    "train/dog/animated.webp": encoded(noise(1), "WEBP", save_all=True, append_images=[noise(2)]),
}
BAD_ON_OPENING = {"train/dog/empty.png": b"", "train/dog/notes.txt": b"hello", "train/loose.png": encoded(noise(8))}


def test_labels_are_known_and_pixels_are_those_of_the_files(lay_out: LayOut) -> None:
    pair = opened(lay_out(split_tree()))
    assert pair.train.classes == pair.test.classes == ("cat", "dog")
    assert pair.train.labels.tolist() == [0] * 6 + [1] * 6 and pair.test.labels.tolist() == [0] * 3 + [1] * 3
    loaded = pair.train.load([7, 0], 32, skip_bad_images=False)
    assert np.array_equal(loaded.images, np.stack([np.asarray(noise(1001)), np.asarray(noise(0))]))
    assert loaded.labels.tolist() == [1, 0] and loaded.skipped == ()


def test_a_folder_a_tar_and_a_zip_of_the_same_pictures_are_the_same_data_set(lay_out: LayOut, pack: Pack) -> None:
    files = split_tree()
    pairs = [opened(lay_out(files)), *(opened(pack(files, name)) for name in ("x.tar", "x.tar.gz", "x.zip"))]
    assert len({pair.train.fingerprint() for pair in pairs}) == len({pair.test.fingerprint() for pair in pairs}) == 1
    first, *others = (everything(pair) for pair in pairs)
    assert all(np.array_equal(first, other) for other in others)
    assert pairs[0].train.fingerprint() != pairs[0].test.fingerprint()


def test_only_what_is_asked_for_is_decoded(lay_out: LayOut) -> None:
    files = split_tree() | BAD
    pair = opened(lay_out(files))
    assert isinstance(pair.train, FileSource)
    names = [pair.train.store.label(position) for position in pair.train.positions]
    good = [index for index, name in enumerate(names) if not name.endswith(tuple(BAD))]
    assert len(pair.train.load(good, 16, skip_bad_images=False)) == len(good) == 12 < len(names)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_stops_the_loading_with_its_name_and_a_way_on(lay_out: LayOut, name: str) -> None:
    pair = opened(lay_out(split_tree() | {name: BAD[name]}))
    with pytest.raises(DataError) as caught:
        everything(pair)
    assert name in caught.value.what and "--skip-bad-images" in caught.value.fix


def test_bad_files_are_left_out_and_counted_if_wanted(lay_out: LayOut) -> None:
    pair = opened(lay_out(split_tree() | BAD), skip_bad_images=True)
    loaded = pair.train.load(range(len(pair.train)), 16, skip_bad_images=True)
    assert len(loaded) == len(loaded.images) == 12 and np.bincount(loaded.labels).tolist() == [6, 6]
    assert sorted(Path(name).name for name in loaded.skipped) == ["animated.webp", "fake.jpg", "truncated.png"]
    assert np.array_equal(loaded.images, everything(opened(lay_out_again(lay_out))))


def lay_out_again(lay_out: LayOut) -> Path:
    folder = lay_out({})
    for name in BAD:
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("name", BAD_ON_OPENING)
def test_what_needs_no_decoding_is_found_on_opening(lay_out: LayOut, name: str) -> None:
    folder = lay_out(split_tree() | {name: BAD_ON_OPENING[name]})
    with pytest.raises(DataError) as caught:
        opened(folder)
    assert name in caught.value.what and "--skip-bad-images" in caught.value.fix
    pair = opened(folder, skip_bad_images=True)
    assert [Path(each.name).name for each in pair.train.left_out] == [Path(name).name] and len(pair.train) == 12


def test_several_bad_files_are_counted_in_the_refusal(lay_out: LayOut) -> None:
    with pytest.raises(DataError, match=r"and 2 more files: `secure-fl data check` lists them"):
        opened(lay_out(split_tree() | BAD_ON_OPENING))


def test_a_bad_member_of_an_archive_is_named_with_its_archive(pack: Pack) -> None:
    pair = opened(pack(split_tree() | {"train/cat/bad.png": b"x"}, "pets.tar"))
    with pytest.raises(DataError, match=r"pets\.tar:train/cat/bad\.png is not a"):
        everything(pair)


def test_examining_goes_through_all_images_and_says_what_is_wrong(lay_out: LayOut) -> None:
    pair = opened(lay_out(split_tree() | BAD), skip_bad_images=True)
    verdicts = [*pair.train.examine(range(len(pair.train)))]
    problems = {Path(each.name).name: each.problem for each in verdicts if each}
    assert len(verdicts) == 15 and problems.keys() == {"truncated.png", "fake.jpg", "animated.webp"}
    assert problems["fake.jpg"] == "is not a JPEG, PNG, WEBP or BMP image"
    assert problems["truncated.png"].startswith("is truncated or damaged (")


def test_the_native_size_is_the_median_of_the_shorter_sides(lay_out: LayOut) -> None:
    files = {f"{name}/{at}.png": encoded(noise(at, 40 + at, 100)) for name in ("a", "b") for at in range(3)}
    assert 40 <= opened(lay_out(files)).train.native_size_px <= 42


def test_unreadable_files_do_not_hide_the_native_size(lay_out: LayOut) -> None:
    some = {f"{name}/0{at}.png": b"broken" for name in ("cat", "dog") for at in range(2)}
    assert opened(lay_out(class_tree() | some)).train.native_size_px == 32
    none = opened(lay_out(dict.fromkeys(class_tree(), b"broken")))
    assert none.train.native_size_px == 64


def test_a_change_of_one_byte_in_one_file_changes_the_fingerprint(lay_out: LayOut) -> None:
    before = opened(lay_out(split_tree())).train.fingerprint()
    assert opened(lay_out(split_tree())).train.fingerprint() == before
    assert opened(lay_out({"train/cat/03.png": encoded(noise(99))})).train.fingerprint() != before


def test_a_subset_is_a_source_of_its_own(lay_out: LayOut) -> None:
    train = opened(lay_out(split_tree())).train
    part = train.subset([1, 8, 9])
    deeper = part.subset([2, 0])
    assert part.labels.tolist() == [0, 1, 1] and deeper.labels.tolist() == [1, 0] and len(deeper) == 2
    assert np.array_equal(
        deeper.load([0, 1], 16, skip_bad_images=False).images, train.load([9, 1], 16, skip_bad_images=False).images
    )
    assert deeper.digests([0]) == train.digests([9]) and [*deeper.examine([0])] == [None]
    assert deeper.native_size_px == train.native_size_px and part.fingerprint() != train.fingerprint()
