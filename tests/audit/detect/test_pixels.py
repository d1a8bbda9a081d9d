"""Pictures among floats are flagged in every layout, weights and their innocent likenesses are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from audit.detect.pixels import WINDOW, inspect_array, picture_windows
from audit.findings import Place
from tests.audit.detect.samples import picture

MEAN, STD = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
LEVELS = np.asarray(picture(32, 3))
UNIT = LEVELS.astype(np.float32) / 255
STANDARD = (UNIT - MEAN) / STD
WEIGHTS = np.random.default_rng(0).standard_normal(40_000).astype(np.float32) * np.float32(0.05)


@pytest.mark.parametrize(
    "pixels",
    [
        LEVELS,
        LEVELS.astype(np.float32),
        LEVELS.astype(np.int64),
        LEVELS.astype(np.float64),
        UNIT,
        UNIT.transpose(2, 0, 1),
        STANDARD,
        STANDARD.transpose(2, 0, 1),
        STANDARD.astype(np.float16),
        STANDARD * np.float32(1e-4),
        -STANDARD,
    ],
)
def test_a_picture_by_itself_is_flagged(pixels: npt.NDArray[np.generic]) -> None:
    findings = inspect_array(np.ascontiguousarray(pixels))
    assert findings
    assert all(each.rule.startswith("pixels/") for each in findings)


@pytest.mark.parametrize("at", [0, 1, 700, 12_345])
@pytest.mark.parametrize("pixels", [STANDARD, STANDARD.transpose(2, 0, 1), LEVELS.astype(np.float32)])
def test_a_picture_inside_an_update_is_flagged_where_it_is(pixels: npt.NDArray[np.float32], at: int) -> None:
    update = WEIGHTS.copy()
    update[at : at + 3072] = pixels.ravel()
    findings = inspect_array(update, Place(unit="array", offset=128))
    assert findings
    for each in findings:
        first = (each.place.offset - 128) // 4
        assert at - WINDOW < first < at + 3072


def test_weights_are_not_flagged_in_any_order_of_size() -> None:
    for array in (WEIGHTS, np.sort(WEIGHTS), np.cumsum(WEIGHTS), WEIGHTS.astype(np.float16), np.zeros(5000), -WEIGHTS):
        assert inspect_array(np.asarray(array)) == []


def test_smooth_numbers_off_the_ladder_and_numbers_on_it_that_are_not_smooth_are_not_flagged() -> None:
    time = np.linspace(0, 20, 20_000)
    assert len(picture_windows(np.sin(time).astype(np.float32))) == 0
    quantised = np.rint(WEIGHTS / 0.002).clip(-127, 127) * np.float32(0.002)
    assert len(picture_windows(quantised)) == 0


def test_constants_masks_and_padding_are_not_flagged() -> None:
    mask = (np.arange(20_000) // 100 % 2).astype(np.float32)
    ones = np.concatenate([np.ones(2000, np.float32), WEIGHTS[:3000], np.zeros(2000, np.float32)])
    assert inspect_array(mask) == inspect_array(ones) == []


def test_nan_infinities_and_huge_numbers_are_no_trouble() -> None:
    wild = WEIGHTS.astype(np.float64)
    wild[::7], wild[1::1000], wild[2::999] = np.nan, np.inf, 1e308
    assert inspect_array(wild) == []


@pytest.mark.parametrize("array", [np.empty(0), np.array(["text"]), np.ones(600, np.bool_), np.ones(10)])
def test_what_holds_no_picture_gives_nothing(array: npt.NDArray[np.generic]) -> None:
    assert inspect_array(array) == []


def test_windows_of_something_else_than_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        picture_windows(np.array(["text"]))
