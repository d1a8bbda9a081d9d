from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_fl.data.stores import Entry, Store
from secure_fl.data.tree import Layout, Split, arrange
from secure_fl.errors import DataError


class Names(Store):
    """A store of names; none of them is ever read."""

    def __init__(self, *names: str, empty: tuple[str, ...] = (), problem: str = "") -> None:
        entries = [Entry(name, 0 if name in empty else 9, problem=problem) for name in names]
        super().__init__(Path("pets"), entries)

    def label(self, index: int) -> str:
        return self.entries[index].name

    def _read(self, entry: Entry) -> bytes:
        raise AssertionError(f"{entry.name} was read")


def flat(classes: str = "abc", each: int = 10, top: str = "") -> list[str]:
    return [f"{top}{name}/{number:03}.png" for name in classes for number in range(each)]


def split() -> list[str]:
    return flat(top="train/") + flat(top="test/", each=2)


def content(store: Store, part: Split, layout: Layout) -> set[tuple[str, str]]:
    """(file, class) of one split."""
    return {
        (store.entries[position].name, layout.classes[label])
        for position, label in zip(part.positions, part.labels, strict=True)
    }


def bad(store: Store) -> dict[str, str]:
    layout = arrange(store)
    return {store.entries[index].name: problem for part in (layout.train, layout.test) for index, problem in part.bad}


def refusal(store: Store) -> str:
    with pytest.raises(DataError) as caught:
        arrange(store)
    assert "pets" in caught.value.what
    return f"{caught.value} {caught.value.fix}"


def test_a_split_that_somebody_made_is_kept() -> None:
    store = Names(*split())
    layout = arrange(store)
    assert layout.classes == ("a", "b", "c")
    assert content(store, layout.train, layout) == {(name, name[6]) for name in flat(top="train/")}
    assert content(store, layout.test, layout) == {(name, name[5]) for name in flat(top="test/", each=2)}


def test_without_a_split_a_fifth_of_each_class_is_for_testing() -> None:
    store = Names(*flat(each=20))
    layout = arrange(store)
    assert np.bincount(layout.train.labels).tolist() == [16, 16, 16]
    assert np.bincount(layout.test.labels).tolist() == [4, 4, 4]
    assert content(store, layout.train, layout) | content(store, layout.test, layout) == {
        (n, n[0]) for n in flat(each=20)
    }


def test_the_order_in_which_a_store_lists_its_files_does_not_count() -> None:
    names = flat(each=20)
    forward, backward = Names(*names), Names(*names[::-1])
    first, second = arrange(forward), arrange(backward)
    assert [forward.entries[at].name for at in first.train.positions] == [
        backward.entries[at].name for at in second.train.positions
    ]


@pytest.mark.parametrize("top", ["pets/", "./", "/abs/path/", "a/b/c/"])
@pytest.mark.parametrize("names", [flat(), split()], ids=["flat", "split"])
def test_a_common_top_folder_says_nothing(top: str, names: list[str]) -> None:
    plain, topped = (
        arrange(Names(*names)),
        arrange(Names(*[top + name for name in names], f"{top}README.md", "LICENSE")),
    )
    assert plain.classes == topped.classes
    assert np.array_equal(plain.train.positions, topped.train.positions)
    assert topped.train.bad == topped.test.bad == ()


def test_deeper_folders_belong_to_the_class_above_them() -> None:
    layout = arrange(Names("train/cat/2024/may/1.png", "train/dog/1.png", "test/cat/x/1.png"))
    assert layout.classes == ("cat", "dog") and layout.train.labels.tolist() == [0, 1]


def test_classes_are_sorted_as_torchvision_sorts_them() -> None:
    assert arrange(Names(*flat("bZa"))).classes == ("Z", "a", "b")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_set_stands_in_for_a_missing_test_set_and_is_unused_beside_one(name: str) -> None:
    alone = arrange(Names(*flat(top="train/"), *flat(top=f"{name}/", each=3)))
    assert len(alone.test.labels) == 9
    beside = arrange(Names(*split(), *flat(top=f"{name}/", each=3)))
    assert len(beside.test.labels) == 6 and len(beside.train.labels) == 30


def test_a_test_class_need_not_have_images_but_must_be_known() -> None:
    layout = arrange(Names(*flat(top="train/"), *flat("ac", top="test/")))
    assert layout.classes == ("a", "b", "c") and set(layout.test.labels.tolist()) == {0, 2}
    assert "class `d` is in the test set but not in train/" in refusal(Names(*split(), "test/d/1.png"))


def test_trains_may_be_a_class_beside_cars_and_ships() -> None:
    names = [f"{name}/{number}.png" for name in ("car", "ship", "train") for number in range(5)]
    assert arrange(Names(*names)).classes == ("car", "ship", "train")


@pytest.mark.parametrize(
    "litter", [".DS_Store", "a/.hidden.png", "a/Thumbs.db", "__MACOSX/a/._1.png", "a/desktop.ini", ".git/x.png"]
)
def test_what_desktops_leave_behind_is_passed_over(litter: str) -> None:
    layout = arrange(Names(*flat(), litter))
    assert layout.train.bad == () and len(layout.train.labels) + len(layout.test.labels) == 30


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("loose.png", "lies in no class folder, so it has no label"),
        ("a/notes.txt", "is not an image by its name"),
        ("a/film.gif", "is not an image by its name"),
        ("a/noname", "is not an image by its name"),
        ("a/../../../etc/passwd.png", "points out of its archive"),
        ("../a/1.png", "points out of its archive"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(name: str, problem: str) -> None:
    assert problem in bad(Names(*flat(), name))[name]


@pytest.mark.parametrize("name", ["train/loose.png", "loose.png", "test/loose.png"])
def test_an_image_beside_the_class_folders_of_a_split_has_no_label(name: str) -> None:
    assert "has no label" in bad(Names(*split(), name))[name]


def test_empty_files_and_links_are_bad_before_anything_is_read() -> None:
    assert "is empty" in bad(Names(*flat(), "a/x.png", empty=("a/x.png",)))["a/x.png"]
    with pytest.raises(DataError, match="no images in class folders"):
        arrange(Names(*flat(), problem="is a link"))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".WebP", ".bmp"])
def test_image_names_are_known_in_any_case(suffix: str) -> None:
    assert not bad(Names(*flat(), f"a/x{suffix}"))


def test_files_of_text_beside_the_class_folders_are_nobodys_concern() -> None:
    assert not bad(Names(*flat(), "README.md", "labels.csv"))
    assert not bad(Names(*split(), "README.md", "docs/guide/page.png"))


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "no images in class folders"),
        (["README.md"], "no images in class folders"),
        (["1.png", "2.png"], "no images in class folders"),
        (flat("a"), "only one class, `a`"),
        (flat(top="train/"), "has train/ but no test/"),
        ([*flat(top="train/"), "test/a/notes.txt"], "has no test images"),
        ([*flat(top="test/"), "train/1.png"], "no images in class folders"),
    ],
)
def test_a_tree_that_cannot_be_used_is_refused_with_a_way_out(names: list[str], complaint: str) -> None:
    assert complaint in refusal(Names(*names))
