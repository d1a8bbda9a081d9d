"""Arrays of numbers that are pictures: smooth like a photograph, and on a ladder of at most 256 evenly spaced rungs.

Pixels are 8-bit levels, so that a picture sent as floats, raw, in [0, 1] or standardised by channel, takes values
a + b·k with whole k in 0..255; neighbouring pixels resemble each other. A window of 512 values is a picture's when both
hold: an autocorrelation of at least 0.6 at lag 1 (planes) or 3 (interleaved colours), and the ladder. Either alone has
innocent owners: gradients of wide layers are smooth, weights that were once quantised to int8 lie on ladders.

False flags: 512 values of a continuous distribution are never on 256 rungs (two would have to be equal), 171 of
them, a colour of interleaved pixels, with probability (1 − 170/255)^171 < e^-180. What is left are quantised numbers in
a smooth order, which is measured on real checkpoints (benchmarks/pixel_calibration.py) and not derived.
Not found: pictures that were resized, noised or compressed after they became floats, or whose pixels are shuffled.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.findings import Finding, Place

__all__ = ["WINDOW", "inspect_array", "picture_windows"]

WINDOW = 512
_SMOOTH = 0.6
_LAGS = (1, 3)
_LEVELS = 256
_MIN_LEVELS = 12  # fewer different values are a constant, a mask or padding, and no photograph
_OFF_RUNG = 0.15  # of the space between two rungs: rounding of float16
_PIECE = 2048  # windows that are looked at together


def picture_windows(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Numbers of the windows of the flattened array (in C order) that look like parts of a picture.

    Raises:
        ValueError: the array does not hold real numbers.
    """
    if array.dtype.kind not in "fiu":
        raise ValueError(f"no picture is made of {array.dtype}")
    flat = array.reshape(-1)
    count = len(flat) // WINDOW
    found = []
    for start in range(0, count, _PIECE):
        stop = min(count, start + _PIECE)
        windows = flat[start * WINDOW : stop * WINDOW].reshape(-1, WINDOW).astype(np.float64)
        for number, lag in _smooth(windows):
            if all(_on_ladder(windows[number, colour::lag]) for colour in range(lag)):
                found.append(start + number)
    return np.unique(np.asarray(found, np.int64))


def inspect_array(array: npt.NDArray[Any], place: Place | None = None) -> list[Finding]:
    """Each stretch of the array that looks like a picture. `place`: of the array's first byte."""
    place = place or Place()
    if array.dtype.kind not in "fiu" or not array.size:
        return []
    windows = picture_windows(array)
    rule = "pixels/u8" if array.dtype == np.uint8 else f"pixels/{array.dtype.kind}{8 * array.dtype.itemsize}"
    found = []
    for stretch in np.split(windows, np.flatnonzero(np.diff(windows) > 1) + 1):
        if len(stretch):
            first, stop = int(stretch[0]) * WINDOW, (int(stretch[-1]) + 1) * WINDOW
            octets = array.reshape(-1)[first:stop].tobytes()
            where = replace(place, offset=place.offset + first * array.dtype.itemsize)
            message = f"{stop - first} values of {array.dtype} that are smooth and on 8-bit levels, as pixels are"
            found.append(Finding(rule, message, where, len(octets), hashlib.sha256(octets).hexdigest()))
    return found


def _smooth(windows: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """(window, lag) of those whose autocorrelation at a lag is high; windows with NaN or infinities are none."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        centred = windows - windows.mean(axis=1, keepdims=True)
        power = np.einsum("ij,ij->i", centred, centred)
        found = []
        for lag in _LAGS:
            product = np.einsum("ij,ij->i", centred[:, lag:], centred[:, :-lag])
            high = np.flatnonzero((power > 0) & np.isfinite(power) & (product >= _SMOOTH * power))
            found += [(number, lag) for number in high.tolist()]
    return found


def _on_ladder(values: npt.NDArray[np.float64]) -> bool:
    """Whether the values are a + b·k for whole k in 0..255, up to rounding."""
    levels = np.unique(values)
    # Pixels of one level are one float; steps that are a rounding error apart would be two levels of it.
    if not _MIN_LEVELS <= len(levels) <= _LEVELS:
        return False
    spread, gaps = levels[-1] - levels[0], np.diff(levels)
    # The gaps of one rung, averaged: by itself each is off by the rounding of float16.
    unit = gaps[gaps < 1.5 * gaps.min()].mean()
    # Where no two levels are neighbours, the smallest gap is two rungs.
    for step in (unit, unit / 2):
        rungs = np.rint(gaps / step).sum()
        if rungs < _LEVELS:
            at = (levels - levels[0]) / (spread / rungs)
            if np.abs(at - np.rint(at)).max() <= _OFF_RUNG:
                return True
    return False
