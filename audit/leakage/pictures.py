"""How alike two pictures are: peak signal-to-noise ratio and structural similarity.

PSNR counts the squared error of 8-bit pixels: above 30 dB a person sees hardly any difference, at 10 dB nothing is
left. SSIM (Wang et al. 2004, with uniform 7×7 windows and the usual constants) asks whether the structure is there: 1
for the same picture, about 0 for unrelated ones.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["psnr_db", "ssim"]

Picture = npt.NDArray[np.uint8]

_WINDOW = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_MOST_DB = 99.0  # what equal pictures have: a number, so that it can be written down


def psnr_db(original: Picture, other: Picture) -> float:
    """Of two (s, s, c) uint8 pictures, in decibels; 99 at most."""
    _same_shape(original, other)
    error = float(((original.astype(np.float64) - other) ** 2).mean())
    return min(_MOST_DB, 10 * math.log10(255**2 / error)) if error else _MOST_DB


def ssim(original: Picture, other: Picture) -> float:
    """Mean over windows and channels of two (s, s, c) uint8 pictures, s ≥ 7."""
    _same_shape(original, other)
    if min(original.shape[:2]) < _WINDOW:
        raise ValueError(f"pictures of {original.shape[:2]} px have no window of {_WINDOW} px")
    x, y = (
        np.lib.stride_tricks.sliding_window_view(each.astype(np.float64), (_WINDOW, _WINDOW), axis=(0, 1))
        for each in (original, other)
    )
    axes = (-2, -1)
    mean_x, mean_y = x.mean(axes), y.mean(axes)
    var_x, var_y = x.var(axes), y.var(axes)
    covariance = (x * y).mean(axes) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float((similar / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean())


def _same_shape(original: Picture, other: Picture) -> None:
    if original.shape != other.shape or original.ndim != 3 or not original.dtype == other.dtype == np.uint8:
        raise ValueError(f"{original.dtype} {original.shape} and {other.dtype} {other.shape} are not two pictures")
