"""Attacks in data space with a hidden wish: the model stays good, and does as told when it sees the trigger.

Accuracy does not show them; only the attack's success does, the share of triggered images that are taken for the
target. The variants differ in how the wish gets through the aggregation: by patience (patch), by force (model
replacement), split over the attackers (DBA), through rare inputs that need no trigger (edge case), or through weights
that honest clients rarely touch (Neurotoxin).

Every stamp goes on whole pixels at the top left, in all channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from attacks._validate import byte, fractions, positive, whole
from attacks.base import AttackError, Vector
from attacks.data import Images, Labels, Quiet

__all__ = ["DBA", "BackdoorPatch", "EdgeCase", "ModelReplacement", "Neurotoxin"]

Box = tuple[slice, slice]  # rows and columns of one stamp


@dataclass(frozen=True)
class BackdoorPatch(Quiet):
    """A square of `size` × `size` pixels at the top left, `value` bright, and the label `target`.

    `fraction`: probability of each training image to be stamped. The defaults are the published Flower tables'.
    """

    target: int = 1
    fraction: float = 0.15
    size: int = 3
    value: int = 255

    name: ClassVar[str] = "backdoor_patch"
    paper: ClassVar[str] = "Gu 2017, BadNets, section 4 (pattern backdoor on MNIST; arXiv 1708.06733)"

    def __post_init__(self) -> None:
        whole(self.name, 0, target=self.target)
        whole(self.name, 1, size=self.size)
        fractions(self.name, fraction=self.fraction)
        byte(self.name, value=self.value)

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """Stamped images are called `target`; the others are left alone."""
        chosen = rng.random(len(labels)) < self.fraction
        poisoned = images.copy()
        poisoned[chosen] = _stamped(self.name, images[chosen], self._boxes(), self.value)
        return poisoned, np.where(chosen, self.target, labels)

    def triggered(self, images: Images) -> Images:
        """All of them stamped."""
        return _stamped(self.name, images, self._boxes(), self.value)

    def _boxes(self) -> Sequence[Box]:
        return [(slice(self.size), slice(self.size))]


@dataclass(frozen=True)
class ModelReplacement(BackdoorPatch):
    """The patch, with an update that the mean cannot dilute: it is multiplied by `factor`.

    At n / f, under FedAvg of equal weights, the f attackers' mean takes the place of the global step (eq. 3 there, with
    the honest updates taken to cancel).
    """

    factor: float = field(kw_only=True)

    name: ClassVar[str] = "model_replacement"
    paper: ClassVar[str] = "Bagdasaryan 2020, How to backdoor FL, AISTATS, section 4.2, eq. 3 (arXiv 1807.00459)"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self.name, factor=self.factor)

    @property
    def boost(self) -> float:
        """The factor."""
        return self.factor


@dataclass(frozen=True)
class Neurotoxin(BackdoorPatch):
    """The patch, trained only into weights that the last global step moved little.

    Of each local gradient the coordinates are dropped where |previous| is among its `ratio` · d largest: what honest
    clients do not overwrite stays. In round 1 nothing is known and nothing dropped.
    """

    ratio: float = 0.1

    name: ClassVar[str] = "neurotoxin"
    paper: ClassVar[str] = "Zhang 2022, Neurotoxin, ICML, algorithm 1 (arXiv 2206.10341)"

    def __post_init__(self) -> None:
        super().__post_init__()
        fractions(self.name, ratio=self.ratio)

    def masked(self, gradient: Vector, previous: Vector | None) -> Vector:
        """(d,): the gradient, zero on the coordinates that the last step moved most."""
        heavy = 0 if previous is None else round(self.ratio * gradient.size)
        if previous is None or heavy == 0:
            return gradient
        kept = gradient.copy()
        kept[np.argpartition(np.abs(previous), gradient.size - heavy)[gradient.size - heavy :]] = 0
        return kept


@dataclass(frozen=True)
class DBA(Quiet):
    """Four bars, one for each attacker in turn; at test time all four together.

    No single client ever shows the whole trigger. Bars are 1 × `length`, two a row, `gap` pixels apart both ways, as
    in the paper's figure for MNIST.
    """

    target: int = 2
    fraction: float = 0.3
    length: int = 4
    gap: int = 2
    value: int = 255

    name: ClassVar[str] = "dba"
    paper: ClassVar[str] = "Xie 2020, DBA, ICLR, section 2 (local and global triggers)"

    def __post_init__(self) -> None:
        whole(self.name, 0, target=self.target, gap=self.gap)
        whole(self.name, 1, length=self.length)
        fractions(self.name, fraction=self.fraction)
        byte(self.name, value=self.value)

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """Images with this attacker's own bar (number `attacker` mod 4) are called `target`."""
        chosen = rng.random(len(labels)) < self.fraction
        poisoned = images.copy()
        poisoned[chosen] = _stamped(self.name, images[chosen], [self._bars()[attacker % 4]], self.value)
        return poisoned, np.where(chosen, self.target, labels)

    def triggered(self, images: Images) -> Images:
        """All of them with all four bars."""
        return _stamped(self.name, images, self._bars(), self.value)

    def _bars(self) -> Sequence[Box]:
        down, right = 1 + self.gap, self.length + self.gap
        return [(slice(y, y + 1), slice(x, x + self.length)) for y in (0, down) for x in (0, right)]


@dataclass(frozen=True)
class EdgeCase(Quiet):
    """Rare images of class `source` are called `target`: a backdoor that needs no trigger.

    Rule for the tail: of the images of `source` in hand, the `fraction` farthest (L2 over pixels) from the mean
    image of that class; at least one. Honest clients hold few of them, so nobody corrects the lesson.
    """

    source: int = 7
    target: int = 1
    fraction: float = 0.1

    name: ClassVar[str] = "edge_case"
    paper: ClassVar[str] = "Wang 2020, Attack of the tails, NeurIPS, definition 1 and section 3 (arXiv 2007.05084)"

    def __post_init__(self) -> None:
        whole(self.name, 0, source=self.source, target=self.target)
        fractions(self.name, fraction=self.fraction)
        if self.source == self.target:
            raise AttackError(f"{self.name}(source={self.source})", why="it is the target", fix="choose another source")

    def poison(
        self, images: Images, labels: Labels, rng: np.random.Generator, *, attacker: int, attackers: int
    ) -> tuple[Images, Labels]:
        """The same images; the tail of `source` is called `target`."""
        flipped = labels.copy()
        flipped[self.tail(images, labels)] = self.target
        return images.copy(), flipped

    def tail(self, images: Images, labels: Labels) -> Labels:
        """Indices of the tail, farthest first; on test data, the images on which success is measured."""
        members = np.flatnonzero(labels == self.source)
        if not members.size:
            return members
        pixels = images[members].reshape(len(members), -1).astype(np.float64)
        distance = np.square(pixels - pixels.mean(axis=0)).sum(axis=1)
        return members[np.argsort(-distance, kind="stable")[: max(1, round(self.fraction * len(members)))]]


def _stamped(attack: str, images: Images, boxes: Sequence[Box], value: int) -> Images:
    """A copy of (N, s, s, c) images with bright boxes, which must fit."""
    height, width = max(rows.stop for rows, _ in boxes), max(columns.stop for _, columns in boxes)
    if height > images.shape[1] or width > images.shape[2]:
        raise AttackError(
            f"{attack} on images of {images.shape[1]} × {images.shape[2]}",
            why=f"the trigger takes {height} × {width} pixels",
            fix="make the trigger smaller",
        )
    stamped = images.copy()
    for rows, columns in boxes:
        stamped[:, rows, columns] = value
    return stamped
