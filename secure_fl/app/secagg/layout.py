"""What the words of a masked vector are: the encoded update, and behind it counters for what the site measured.

Both ends compute the layout from the run's settings and the group's size, and the terms of a sum hold its length and
a digest of all settings, so that a site never takes the coordinator's word for what its numbers will mean.

What a site measures would tell it from others if it left in the clear, so it rides along as sums: losses times images,
correct answers, images, and whether the update had to be clipped. Under DP-SGD nothing measured on images leaves a
site, and in distributed differential privacy nothing at all that depends on its data beside the noised update.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from secure_fl.app.distributed_privacy import codec_of
from secure_fl.config import RunConfig
from secure_fl.protection import threshold_of
from secure_fl.secagg.counters import Counters
from secure_fl.secagg.ring import FixedPoint, Ring, Vector, Words
from secure_fl.secagg.rotation import RotatedFixedPoint, Rotation

__all__ = ["Codec", "Layout", "Tally", "averages", "digest_of", "largest_weight"]

_VERSION = "secure-fl/secagg-settings/1"
_MICRO = 1_000_000
# A loss beyond this says that training has diverged; the sum must have room for it.
_LARGEST_LOSS = 1e4
_MEASURED = (
    "images",
    "train_loss",
    "validation_images",
    "validation_correct",
    "validation_loss",
    "received_correct",
    "received_loss",
)


class Codec(Protocol):
    """An encoding of updates in the ring: `FixedPoint` and its kin."""

    @property
    def scale(self) -> float:
        """Steps per unit of weight times update."""

    def encode(self, update: Vector, weight: int, out: Words, *, rounding: bytes) -> float:
        """Write (d,) words; the factor, at most 1, by which the update was clipped."""

    def decode(self, words: Words, total_weight: int) -> Vector:
        """The weighted mean, (d,)."""


@dataclass(frozen=True)
class Tally:
    """What a site measured. images, validation_images: how many it was measured on."""

    images: int
    validation_images: int
    metrics: Mapping[str, Any]

    def counts(self) -> dict[str, int]:
        """As whole numbers that can be added up; losses in millionths."""
        correct = {
            name: round(self.validation_images * self._number(f"{metric}-accuracy"))
            for name, metric in (("validation_correct", "validation"), ("received_correct", "received-validation"))
        }
        return {
            "images": self.images,
            "train_loss": self._total("train-loss", self.images),
            "validation_images": self.validation_images,
            "validation_loss": self._total("validation-loss", self.validation_images),
            "received_loss": self._total("received-validation-loss", self.validation_images),
            **correct,
        }

    def _number(self, name: str) -> float:
        value = self.metrics.get(name, 0.0)
        return min(max(float(value), 0.0), _LARGEST_LOSS) if math.isfinite(value) else _LARGEST_LOSS

    def _total(self, name: str, images: int) -> int:
        return round(_MICRO * images * self._number(name))


@dataclass(frozen=True)
class Layout:
    """The words of one masked vector: those of an update (d,), then those of the counters."""

    size: int
    codec: Codec
    counters: Counters

    @classmethod
    def of(cls, config: RunConfig, *, size: int, members: int, max_weight: int, model_sha256: str) -> Layout:
        """The layout that the settings call for; the model's digest seeds the rotation that goes with 16 bits.

        Raises:
            BudgetTooSmall: so many members do not fit the ring.
            ConfigError: the noise of distributed differential privacy does not.
        """
        ring = Ring(int(config.secagg_bits))
        names: tuple[str, ...] = ("weight",)
        if not config.dp_distributed:
            names = ("weight", "clipped") if config.dp_at_sites else ("weight", "clipped", *_MEASURED)
        numbers = ring, members, config.secagg_clip, max_weight
        codec: Codec | None = codec_of(config, members=members, quorum=threshold_of(members), parameters=size)
        if codec is None and ring.bits == 32:
            codec = FixedPoint(*numbers)
        elif codec is None:  # too few steps for updates as they are
            codec = RotatedFixedPoint(*numbers, Rotation(size, bytes.fromhex(model_sha256)))
        return cls(size, codec, Counters(names, members, ring))

    @property
    def words(self) -> int:
        """How many words there are."""
        return self.size + self.counters.words

    def encode(self, update: Vector, weight: int, tally: Tally, *, rounding: bytes) -> Words:
        """One site's words, (words,), unmasked.

        Raises:
            NonFinite: the update holds NaN or an infinity.
            OutOfRange: the weight is not one that the layout was made for.
        """
        words = np.empty(self.words, self.counters.ring.dtype)
        factor = self.codec.encode(update, weight, words[: self.size], rounding=rounding)
        counts = {"weight": weight, "clipped": int(factor < 1), **tally.counts()}
        words[self.size :] = self.counters.encode({name: counts[name] for name in self.counters.names})
        return words

    def decode(self, words: Words, total_weight: int | None = None) -> tuple[Vector, int, dict[str, int]]:
        """Mean (d,), total weight and sums of the counters, of a sum of encodings.

        total_weight: where it is public; else the sites' masked weights tell it. Raises OutOfRange where it cannot be.
        """
        counts = self.counters.decode(words[self.size :])
        total = counts["weight"] if total_weight is None else total_weight
        return self.codec.decode(words[: self.size], total), total, counts


def averages(counts: Mapping[str, int]) -> dict[str, float | None]:
    """What the sums of the counters say about all sites together; None where nothing was measured."""

    def mean(name: str, images: str, unit: int = 1) -> float | None:
        among = counts.get(images, 0)
        return counts[name] / (unit * among) if among else None

    return {
        "train_loss": mean("train_loss", "images", _MICRO),
        "validation_loss": mean("validation_loss", "validation_images", _MICRO),
        "validation_accuracy": mean("validation_correct", "validation_images"),
        "received_validation_loss": mean("received_loss", "validation_images", _MICRO),
        "received_validation_accuracy": mean("received_correct", "validation_images"),
    }


def largest_weight(config: RunConfig, declared: Sequence[int]) -> int:
    """The weight that the encoding leaves room for; declared: by member, 0 where the site's own count is taken."""
    if config.dp_distributed:
        return 1
    return max(*declared, *([config.sample_cap] if 0 in declared else []), 1)


def digest_of(config: RunConfig, declared: Sequence[int], groups: bytes) -> str:
    """SHA-256 (hex) of all that is agreed on beside the terms: sites that were told different things stop."""
    parts = [_VERSION, config.digest(), list(declared), hashlib.sha256(groups).hexdigest()]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
