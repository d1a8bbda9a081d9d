"""The charts draw what the findings say: every point where it belongs, and nothing where nothing was measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab.cells import CellStore
from secure_fl.lab.report.curves import HEIGHT, WIDTH, curve_charts
from secure_fl.lab.results import gather

GRID = {"attacks": ("sign_flip",), "byzantine": (1, 2)}


@pytest.fixture
def chart(tmp_path: Path, lab: Any) -> str:
    """The median: 90 % where nobody attacks, then 80 %, then 30 %; no defense the same but for its seeds."""
    store = CellStore(tmp_path / "cells")
    for f, hit in ((1, 0.8), (2, 0.3)):
        values = {(d, a): hit - 0.01 if a else 0.89 for d in ("mean", "median") for a in ("", "sign_flip")}
        lab.fill(store, lab.comparison(attacks=("sign_flip",), byzantine=(f,)), values)
    drawn = curve_charts(gather(lab.comparison(**GRID), store, {}).findings, 0.5)
    return drawn.split("<figure>")[2]


def test_points_lie_where_their_numbers_say(chart: str) -> None:
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)]
    assert [x for x, _ in dots] == [30, 141, 252]  # f = 0, 1, 2 between the margins
    bottom, top = HEIGHT - 24, 8
    assert [y for _, y in dots] == pytest.approx([bottom - (bottom - top) * each for each in (0.9, 0.8, 0.3)], abs=0.06)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in dots)


def test_the_chart_has_a_line_for_each_thing_it_names_and_says_the_rest_in_words(chart: str) -> None:
    kinds = re.findall(r'<path class="(\w+)"', chart)
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "grid": 3, "limit": 1, "one": 1, "baseline": 1, "band": 1, "lowest": 1,
    }  # fmt: skip
    assert "Worst case: breaks between f = 1 and 2." in chart
    assert "median" in chart


def test_what_was_not_measured_is_not_drawn(tmp_path: Path, lab: Any) -> None:
    drawn = curve_charts(gather(lab.comparison(**GRID), CellStore(tmp_path / "cells"), {}).findings, 0.5)
    assert set(re.findall(r'<path class="(\w+)"', drawn)) == {"grid"}
    assert "<circle" not in drawn
