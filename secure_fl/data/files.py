"""Image files in a folder or archive as a data set: labels by `tree`, bytes by a store, pixels by the gate.

A file that cannot be used stops the run with its name, unless bad images are to be left out; then it is
counted. Files that need no decoding to be found out (no label, not an image by its name, empty, a link)
are judged on opening and never reach a partition; all others when they are decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secure_fl.data.archive import open_store
from secure_fl.data.images import decode_square, header_size_px
from secure_fl.data.source import BadImage, DatasetPair, ImageSet, ImageSource, Labels, Normalisation, Pixels
from secure_fl.data.stores import Store
from secure_fl.data.tree import Split, arrange
from secure_fl.errors import DataError

__all__ = ["FileSource", "open_tree"]

_SAMPLED_FILES = 9
_UNKNOWN_SIZE_PX = 64
_GO_ON = "repair or remove it, or leave bad images out with --skip-bad-images"


@dataclass(frozen=True, eq=False, kw_only=True)
class FileSource(ImageSource):
    """Image files of a store. positions: (N,) int64, the files in the store."""

    store: Store
    positions: Labels

    @cached_property
    def native_size_px(self) -> int:
        """The median shorter side of a few files spread over the set; unreadable ones do not count."""
        spread = np.linspace(0, len(self) - 1, min(_SAMPLED_FILES, len(self))).astype(int)
        sides = []
        for position in self.positions[spread]:
            try:
                sides.append(min(header_size_px(self.store.read(position), name=self.store.label(position))))
            except DataError:  # reported when the image itself is loaded
                continue
        return sorted(sides)[len(sides) // 2] if sides else _UNKNOWN_SIZE_PX

    def load(self, indices: npt.ArrayLike, image_size_px: int, *, skip_bad_images: bool) -> ImageSet:
        chosen = np.asarray(indices, dtype=np.int64)
        images = np.empty((len(chosen), image_size_px, image_size_px, 3), dtype=np.uint8)
        good: list[int] = []
        skipped: list[str] = []
        for index in chosen:
            try:
                images[len(good)] = self._decoded(index, image_size_px)
            except DataError as error:
                if not skip_bad_images:
                    raise DataError(error.what, why=error.why, fix=_GO_ON) from error
                skipped.append(self.store.label(self.positions[index]))
            else:
                good.append(index)
        labels = self.labels[np.array(good, dtype=np.int64)]
        return ImageSet(images=images[: len(good)], labels=labels, classes=self.classes, skipped=tuple(skipped))

    def examine(self, indices: npt.ArrayLike) -> Iterator[BadImage | None]:
        for index in np.asarray(indices, dtype=np.int64):
            try:
                self._decoded(index, _UNKNOWN_SIZE_PX)
            except DataError as error:
                name = self.store.label(self.positions[index])
                yield BadImage(name, str(error).removeprefix(name).strip())
            else:
                yield None

    def _decoded(self, index: int, size_px: int) -> Pixels:
        position = self.positions[index]
        return decode_square(self.store.read(position), size_px, name=self.store.label(position))

    def digests(self, indices: npt.ArrayLike) -> list[bytes]:
        return [hashlib.sha256(self.store.read(each)).digest() for each in self.positions[np.asarray(indices)]]


def open_tree(path: Path, *, name: str, normalisation: Normalisation, skip_bad_images: bool) -> DatasetPair:
    """Open a folder or archive of class folders; nothing is decoded yet.

    Raises:
        DataError: the tree is of neither form (see `tree`), or has a file that cannot be used and
            `skip_bad_images` is false.
    """
    store = open_store(path)
    layout = arrange(store)

    def source(split: Split) -> FileSource:
        return FileSource(
            name=name,
            classes=layout.classes,
            labels=split.labels,
            normalisation=normalisation,
            left_out=_left_out(store, split, skip_bad_images),
            store=store,
            positions=split.positions,
        )

    return DatasetPair(name=name, train=source(layout.train), test=source(layout.test))


def _left_out(store: Store, split: Split, skip_bad_images: bool) -> tuple[BadImage, ...]:
    bad = tuple(BadImage(store.label(index), problem) for index, problem in split.bad)
    if bad and not skip_bad_images:
        more = f"and {len(bad) - 1} more files: `secure-fl data check` lists them" if len(bad) > 1 else ""
        raise DataError(f"{bad[0].name} {bad[0].problem}", why=more, fix=_GO_ON)
    return bad
