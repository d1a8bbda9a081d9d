"""Trees of image files, where the name of a folder is the label: torchvision's `ImageFolder` layout.

Two forms are understood, in a folder or an archive, also below one common top folder:

    train/<class>/…  test/<class>/…      the split that somebody made; without test/, val/ is the test set
    <class>/…                            no split: every fifth image, by class, becomes the test set

Classes are the folder names in sorted order; folders without files are not classes. The 80/20 split is
drawn with a seed of its own, never with the run's, so that two runs are tested on the same images. A
validation set beside train/ and test/ stays unused. Every file in a class folder must be an image; only
hidden files and what desktops leave behind (`.DS_Store`, `Thumbs.db`, `__MACOSX/`) are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_fl.data.sampling import SPLIT_SEED, TEST_SHARE, complement, stratified_pick
from secure_fl.data.source import Labels
from secure_fl.data.stores import Entry, Store
from secure_fl.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "Layout", "Split", "arrange"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_TRAIN, _TESTS = "train", ("test", "val", "valid", "validation")  # the first test folder that is there counts
_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})

_Path = tuple[int, tuple[str, ...]]  # position in the store, parts of the name


@dataclass(frozen=True, eq=False)
class Split:
    """positions: (n,) int64 in the store; labels: (n,) int64 in the classes; bad: position and reason of
    each file that cannot be an image, or that lies in no class folder."""

    positions: Labels
    labels: Labels
    bad: tuple[tuple[int, str], ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """The classes of a tree and its two splits."""

    classes: tuple[str, ...]
    train: Split
    test: Split


def arrange(store: Store) -> Layout:
    """Find the splits and the classes by the names of the files; nothing is read.

    Raises:
        DataError: no images, fewer than two classes, train/ without a test set, or unequal classes.
    """
    paths = _below_common_top(_visible(store.entries))
    tops = {parts[0] for _, parts in paths if len(parts) > 1}
    test = next((name for name in _TESTS if name in tops), None)
    nested = any(parts[0] == _TRAIN and len(parts) > 2 for _, parts in paths)
    if _TRAIN not in tops or not (test or nested):  # `train` beside `car` and `ship` is a class
        return _flat(store, paths)
    if test is None:
        raise DataError(
            f"{store.location} has train/ but no test/ (or val/)",
            fix="add test/<class>/…, or move the class folders to the top: a fifth then becomes the test set",
        )
    stray = [each for each in paths if len(each[1]) == 1]
    return _split(store, _inside(paths, _TRAIN) + stray, _inside(paths, test))


def _flat(store: Store, paths: list[_Path]) -> Layout:
    good, bad = _labelled(store.entries, paths)
    classes = _classes(store, good)
    positions, labels = _numbered(good, classes)
    picked = stratified_pick(labels, round(TEST_SHARE * len(labels)), np.random.default_rng(SPLIT_SEED))
    kept = complement(len(labels), picked)
    return Layout(
        classes,
        train=Split(positions[kept], labels[kept], tuple(bad)),
        test=Split(positions[picked], labels[picked], ()),
    )


def _split(store: Store, train: list[_Path], test: list[_Path]) -> Layout:
    train_good, train_bad = _labelled(store.entries, train)
    test_good, test_bad = _labelled(store.entries, test)
    classes = _classes(store, train_good)
    unknown = sorted({label for _, label in test_good} - set(classes))
    if unknown:
        raise DataError(
            f"{store.location}: class `{unknown[0]}` is in the test set but not in train/",
            fix="the test set may hold classes of train/ only",
        )
    if not test_good:
        raise DataError(f"{store.location} has no test images")
    return Layout(
        classes,
        train=Split(*_numbered(train_good, classes), tuple(train_bad)),
        test=Split(*_numbered(test_good, classes), tuple(test_bad)),
    )


def _visible(entries: list[Entry]) -> list[_Path]:
    """The files that count, sorted by name; `.` and empty parts of a name say nothing and are dropped."""
    paths = []
    for index, entry in enumerate(entries):
        parts = tuple(entry.name.split("/"))
        if "" in parts or "." in parts:
            parts = tuple(part for part in parts if part not in ("", "."))
        hidden = "." in entry.name[:1] or "/." in entry.name
        if hidden and any(part[0] == "." and part != ".." for part in parts):
            continue
        if parts and _LITTER.isdisjoint(parts):
            paths.append((index, parts))
    return sorted(paths, key=lambda path: path[1])


def _below_common_top(paths: list[_Path]) -> list[_Path]:
    """`pets/cat/1.jpg`, `pets/dog/2.jpg` → `cat/1.jpg`, `dog/2.jpg`, as often as it goes."""
    while True:
        tops = {parts[0] for _, parts in paths if len(parts) > 1}
        if len(tops) != 1 or tops & {_TRAIN, ".."} or any(len(p) == 2 and _has_image_name(p) for _, p in paths):
            return paths
        paths = [(index, parts[1:] if len(parts) > 1 else parts) for index, parts in paths]


def _inside(paths: list[_Path], folder: str) -> list[_Path]:
    return [(index, parts[1:]) for index, parts in paths if len(parts) > 1 and parts[0] == folder]


def _labelled(entries: list[Entry], paths: list[_Path]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """(position, class) of the usable files and (position, reason) of the others."""
    good, bad = [], []
    for index, parts in paths:
        if problem := _problem(entries[index], parts):
            bad.append((index, problem))
        elif len(parts) > 1:
            good.append((index, parts[0]))
    return good, bad


def _problem(entry: Entry, parts: tuple[str, ...]) -> str:
    if len(parts) == 1:  # a README beside the class folders is no problem; a picture is
        return "lies in no class folder, so it has no label" if _has_image_name(parts) else ""
    if ".." in parts:
        return "has a name that points out of its archive"
    if entry.problem:
        return entry.problem
    if not _has_image_name(parts):
        return f"is not an image by its name ({', '.join(IMAGE_SUFFIXES)})"
    return "" if entry.size_bytes else "is empty (0 bytes)"


def _has_image_name(parts: tuple[str, ...]) -> bool:
    return parts[-1].lower().endswith(IMAGE_SUFFIXES)


def _classes(store: Store, good: list[tuple[int, str]]) -> tuple[str, ...]:
    classes = tuple(sorted({label for _, label in good}))
    if len(classes) < 2:
        found = f"only one class, `{classes[0]}`" if classes else "no images in class folders"
        raise DataError(
            f"{store.location} holds {found}",
            fix="lay the images out as <class>/<image>, or as train/<class>/<image> and test/<class>/<image>",
        )
    return classes


def _numbered(good: list[tuple[int, str]], classes: tuple[str, ...]) -> tuple[Labels, Labels]:
    number = {name: position for position, name in enumerate(classes)}
    positions = np.array([index for index, _ in good], dtype=np.int64)
    return positions, np.array([number[label] for _, label in good], dtype=np.int64)
