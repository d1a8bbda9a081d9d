"""Numbers as the reports write them."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.lab.report.words import breakdown_words, interval, p_value, panel_name, percent, points
from secure_fl.lab.statistics import Breakdown, Estimate


def test_shares_and_differences() -> None:
    assert percent(0.9412) == "94.1"
    assert points(-0.123) == "−12.3"
    assert points(0.05) == "+5.0"
    assert interval(Estimate(0.9, 0.85, 0.951, 3)) == "85.0–95.1"
    assert interval(Estimate(0.9, None, None, 2)) == ""


@pytest.mark.parametrize(("p", "words"), [(0.25, "0.25"), (0.0625, "0.0625"), (1.0, "1"), (0.00099, "< 0.001")])
def test_a_p_value_is_not_rounded_below_what_can_be_reached(p: float, words: str) -> None:
    assert p_value(p) == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "no clean baseline to judge by"),
        (Breakdown(None, None), "not measured"),
        (Breakdown(None, 0), "below the line already at f = 0"),
        (Breakdown(3, None), "no breakdown up to f = 3"),
        (Breakdown(2, None), "measured to f = 2, no breakdown"),
        (Breakdown(1, 3), "breaks between f = 1 and 3"),
    ],
)
def test_a_breakdown_in_words(found: Breakdown | None, words: str) -> None:
    assert breakdown_words(found, tried=3) == words


def test_alpha_is_named_only_where_it_deals_the_images(lab: Any) -> None:
    grid = lab.comparison()
    assert panel_name(grid, 1, 0.5) == "f = 1 of 4, α = 0.5"
    assert panel_name(lab.comparison(base=grid.base.changed(partition="iid")), 1, 0.5) == "f = 1 of 4, iid"
