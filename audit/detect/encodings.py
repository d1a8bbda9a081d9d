"""The ways in which training code holds a picture's pixels in memory, and so would send them: twelve of them.

uint8 as rows of pixels, as planes, and as BGR (OpenCV); float32 in [0, 1], in [-1, 1] and standardised by channel;
float16 of both; each standardisation in the two orders of arithmetic, ((x / 255) − m) / s as torchvision and
x · (1 / 255s) − m / s as this project does it, which differ in the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Encodings"]

_Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Encodings:
    """The encodings for one standardisation; mean and standard deviation by channel, of pixels in [0, 1]."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(each > 0 for each in self.std):
            raise ValueError("one mean and one positive deviation are needed for each channel")

    def names(self) -> tuple[str, ...]:
        """In the order in which an index numbers them."""
        return tuple(self._table())

    def encode(self, image: _Images, name: str) -> bytes:
        """One picture, (s, s, c) uint8, as the bytes of an encoding."""
        return np.ascontiguousarray(self._table()[name](image)).tobytes()

    def _table(self) -> Mapping[str, Callable[[_Images], npt.NDArray[np.generic]]]:
        return {
            "u8-hwc": lambda x: x,
            "u8-chw": _planes,
            "u8-bgr": lambda x: x[..., ::-1],
            "f32-unit-hwc": _unit,
            "f32-unit-chw": lambda x: _planes(_unit(x)),
            "f16-unit-chw": lambda x: _planes(_unit(x)).astype(np.float16),
            "f32-signed-chw": lambda x: _planes(_unit(x) * np.float32(2) - np.float32(1)),
            "f32-standard-hwc": self._standard,
            "f32-standard-chw": lambda x: _planes(self._standard(x)),
            "f16-standard-chw": lambda x: _planes(self._standard(x)).astype(np.float16),
            "f32-affine-hwc": self._affine,
            "f32-affine-chw": lambda x: _planes(self._affine(x)),
        }

    def _standard(self, image: _Images) -> npt.NDArray[np.float32]:
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (_unit(image) - mean) / std

    def _affine(self, image: _Images) -> npt.NDArray[np.float32]:
        scale = np.asarray([1 / (255 * each) for each in self.std], np.float32)
        offset = np.asarray([-m / s for m, s in zip(self.mean, self.std, strict=True)], np.float32)
        return image.astype(np.float32) * scale + offset


def _unit(image: _Images) -> npt.NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def _planes(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image.transpose(2, 0, 1)
