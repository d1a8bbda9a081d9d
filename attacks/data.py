"""Attacks in data space: the client trains honestly on dishonest labels.

The hardest kind to see from updates, since each of them is a real gradient of some data. Three maps of labels are in
use in the literature; all of them keep the images. Attacks with a trigger are in `attacks.backdoors`.

`poison` is a pure function of images and labels, so it may be applied to a whole data set once or, as some papers do,
to each batch after augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from attacks._validate import fractions, whole
from attacks.base import AttackError, Vector

__all__ = ["AllToOne", "DataAttack", "Images", "Labels", "Pairwise", "Quiet", "Reverse"]

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class DataAttack(Protocol):
    """What a Byzantine client does to its training data, and to the update that comes of it.

    target: the class that the attack wants to see; None when it wants mere confusion.
    boost: what the update is multiplied with before it is sent; 1.0 unless the attack replaces the model.
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    @property
    def target(self) -> int | None: ...
    @property
    def boost(self) -> float: ...

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, /, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """Copies of (N, s, s, c) images and (N,) labels as client `attacker` (from 0) of `attackers` trains on them."""

    def triggered(self, images: Images, /) -> Images | None:
        """Test images (N, s, s, c) with the trigger, to measure the attack's success; None without a trigger.

        Success is the share of images not of class `target` that are taken for it.
        """

    def masked(self, gradient: Vector, previous: Vector | None, /) -> Vector:
        """(d,): what is left of a local gradient, given the last global step."""


class Quiet:
    """What most data attacks do not do: no trigger, no boost, no mask."""

    @property
    def boost(self) -> float:
        """1: the update goes out as it is."""
        return 1.0

    def triggered(self, images: Images) -> Images | None:
        """None: there is no trigger."""
        return None

    def masked(self, gradient: Vector, previous: Vector | None) -> Vector:
        """The gradient itself."""
        return gradient


@dataclass(frozen=True)
class Pairwise(Quiet):
    """Each class is called by the next one's name: c becomes (c + 1) mod C."""

    classes: int = 10

    name: ClassVar[str] = "label_flip"
    paper: ClassVar[str] = (
        "Tolpegin 2020, Data poisoning attacks against FL, ESORICS (label flipping; arXiv 2007.08432)"
    )
    target: ClassVar[None] = None

    def __post_init__(self) -> None:
        whole(self.name, 2, classes=self.classes)

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """The same images; labels (c + 1) mod C."""
        return images.copy(), (_known(self.name, labels, self.classes) + 1) % self.classes


@dataclass(frozen=True)
class Reverse(Quiet):
    """The classes in reverse order: c becomes C − 1 − c, which is 9 − c for ten digits."""

    classes: int = 10

    name: ClassVar[str] = "label_flip_reverse"
    paper: ClassVar[str] = (
        "Fang 2020, Local model poisoning, USENIX Security, section 5.1 (label flipping; arXiv 1911.11815)"
    )
    target: ClassVar[None] = None

    def __post_init__(self) -> None:
        whole(self.name, 2, classes=self.classes)

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """The same images; labels C − 1 − c."""
        return images.copy(), self.classes - 1 - _known(self.name, labels, self.classes)


@dataclass(frozen=True)
class AllToOne(Quiet):
    """Every class is called `target`, with probability `fraction` for each image.

    `spare`: a class that keeps its name. The published Flower tables flip every class but 9 to 2.
    """

    target: int = 2
    fraction: float = 1.0
    spare: int | None = None

    name: ClassVar[str] = "label_flip_all_to_one"
    paper: ClassVar[str] = (
        "Tolpegin 2020, Data poisoning attacks against FL, ESORICS (label flipping; arXiv 2007.08432)"
    )

    def __post_init__(self) -> None:
        whole(self.name, 0, target=self.target)
        fractions(self.name, fraction=self.fraction)
        if self.spare is not None:
            whole(self.name, 0, spare=self.spare)

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """The same images; `target` where the coin says so and the class is not spared."""
        flipped = rng.random(len(labels)) < self.fraction
        if self.spare is not None:
            flipped &= labels != self.spare
        return images.copy(), np.where(flipped, self.target, labels)


def _known(attack: str, labels: Labels, classes: int) -> Labels:
    """The labels, all of which lie below `classes`."""
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise AttackError(
            f"{attack}(classes={classes})",
            why=f"the labels run from {labels.min()} to {labels.max()}",
            fix="set classes to the number of classes of the data",
        )
    return labels
