"""What the rest of the product sees of a data set: labels at once, pixels on demand.

Partitions, counts and fingerprints need only the labels, so an `ImageSource` knows those as soon as it
is opened and decodes an image only in `load`. Five sites that share one archive thus each decode their
own images and nobody else's. What `load` gives is an `ImageSet`: plain arrays, all of one size.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from secure_fl.data.fingerprint import array_bytes, fingerprint

__all__ = [
    "BadImage",
    "DatasetPair",
    "ImageSet",
    "ImageSource",
    "Labels",
    "Normalisation",
    "Pixels",
    "fingerprint_stored",
]

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of images scaled to 0..1, in the order R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class BadImage(NamedTuple):
    """A file that cannot be used, and what speaks against it."""

    name: str
    problem: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images in memory.

    images: (N, S, S, 3) uint8, RGB; labels: (N,) int64, positions in `classes`;
    skipped: names of the files that `skip_bad_images` left out.
    """

    images: Pixels
    labels: Labels
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """`sha256:<hex>` over shape, classes, labels and pixels."""
        return fingerprint(
            b"secure-fl image set 1", _class_bytes(self.classes), array_bytes(self.labels), array_bytes(self.images)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSource(ABC):
    """Labelled images that are decoded only when they are asked for.

    labels: (N,) int64; normalisation: what a model's input should be scaled with;
    left_out: files that were passed over when the source was opened, because nothing need be decoded to
    see that they are bad.
    """

    name: str
    classes: tuple[str, ...]
    labels: Labels
    normalisation: Normalisation
    left_out: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def native_size_px(self) -> int:
        """The shorter side of the images as they are stored (of files: the median of a few)."""

    @abstractmethod
    def load(self, indices: npt.ArrayLike, image_size_px: int, *, skip_bad_images: bool) -> ImageSet:
        """Decode the images at `indices` (n,) and resize them to `image_size_px` squares.

        Raises:
            DataError: an image cannot be used and `skip_bad_images` is false; the message names it.
        """

    @abstractmethod
    def examine(self, indices: npt.ArrayLike) -> Iterator[BadImage | None]:
        """Decode the images at `indices` one after the other; for each, what is wrong with it, if anything."""

    @abstractmethod
    def digests(self, indices: npt.ArrayLike) -> list[bytes]:
        """SHA-256 of each image as it is stored, without decoding it."""

    def fingerprint(self) -> str:
        """`sha256:<hex>` over classes, labels and the stored bytes of all images, in order."""
        return fingerprint_stored(self.classes, self.labels, self.digests(np.arange(len(self))))

    def subset(self, indices: npt.ArrayLike) -> ImageSource:
        """The images at `indices` alone, as a source of their own."""
        chosen = np.asarray(indices, dtype=np.int64)
        return _Subset(
            name=self.name,
            classes=self.classes,
            labels=self.labels[chosen],
            normalisation=self.normalisation,
            left_out=self.left_out,
            base=self,
            indices=chosen,
        )


@dataclass(frozen=True)
class DatasetPair:
    """A data set: images to train on, which sites share, and images that only the coordinator tests on."""

    name: str
    train: ImageSource
    test: ImageSource


def fingerprint_stored(classes: Sequence[str], labels: Labels, digests: Sequence[bytes]) -> str:
    """The fingerprint of stored images; file names and containers do not enter, so a folder, a tar and
    a zip of the same pictures have the same one."""
    return fingerprint(b"secure-fl stored images 1", _class_bytes(classes), array_bytes(labels), b"".join(digests))


def _class_bytes(classes: Sequence[str]) -> bytes:
    return json.dumps(list(classes)).encode()


@dataclass(frozen=True, eq=False, kw_only=True)
class _Subset(ImageSource):
    base: ImageSource
    indices: Labels

    @property
    def native_size_px(self) -> int:
        return self.base.native_size_px  # of the whole, so that the default size does not hang on the subset

    def load(self, indices: npt.ArrayLike, image_size_px: int, *, skip_bad_images: bool) -> ImageSet:
        return self.base.load(self.indices[np.asarray(indices)], image_size_px, skip_bad_images=skip_bad_images)

    def examine(self, indices: npt.ArrayLike) -> Iterator[BadImage | None]:
        return self.base.examine(self.indices[np.asarray(indices)])

    def digests(self, indices: npt.ArrayLike) -> list[bytes]:
        return self.base.digests(self.indices[np.asarray(indices)])
