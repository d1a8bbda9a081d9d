"""benchmarks/secagg.py: how bars come about, and tiny real rounds of either side.

Whether the bars are cleared is for the benchmark itself to say.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.report import Report
from benchmarks.secagg import BARS, SITES, Cell, hold, inputs, measure, measure_narrow
from benchmarks.secagg_flower import FlowerRound
from benchmarks.secagg_ours import complete, our_round
from secure_fl.secagg.graph import shape_of
from secure_fl.secagg.ring import FixedPoint, Ring

SILENT = {5: 1, 10: 3, 20: 6, 50: 15}


def everything() -> dict[Cell, list[float]]:
    """Every cell well within its bar and its moonshot."""
    return {
        Cell(what, n, silent): [200.0, 300.0, 400.0] if better == "higher" else [0.0]
        for what, _, _, _, better in BARS
        for n in SITES
        for silent in (0, SILENT[n])
    }


def held(found: dict[Cell, list[float]]) -> Report:
    report = Report("secagg", {})
    hold(report, found)
    return report


def test_good_ratios_clear_every_bar_and_the_moonshots_are_told() -> None:
    report = held(everything())
    assert all(bar.ok for bar in report.bars) and len(report.bars) == len(BARS)
    assert [name for name in report.figures if "reached" in name and "not reached" not in name] == list(report.figures)


def test_a_missed_moonshot_is_told_and_fails_nothing() -> None:
    cells = {cell: [14.0] if cell.what.startswith("site") else good for cell, good in everything().items()}
    report = held(cells)
    assert all(bar.ok for bar in report.bars)
    (missed,) = [name for name in report.figures if "not reached" in name]
    assert missed.startswith("moonshot, site") and report.figures[missed] == 14.0


@pytest.mark.parametrize(
    ("what", "n", "silent", "value"),
    [
        ("site", 20, 6, 4.9),
        ("site", 50, 0, 6.9),
        ("coordinator: Flower", 5, 0, 7.9),
        ("coordinator: Flower", 50, 0, 99.0),
        ("coordinator: Flower", 10, 3, 11.9),
        ("coordinator: ours", 5, 0, 2.6),
        ("uplink", 50, 0, 1.0011),
        ("relative RMSE", 10, 3, 3e-5),
    ],
)
def test_one_bad_cell_misses_one_bar_which_names_it(what: str, n: int, silent: int, value: float) -> None:
    found = everything()
    (cell,) = [each for each in found if each.what.startswith(what) and (each.n, each.silent) == (n, silent)]
    missed = [bar for bar in held(found | {cell: [value]}).bars if not bar.ok]
    assert len(missed) == 1 and missed[0].value == value
    assert missed[0].name.startswith(what) and f"n={n}, {silent} silent" in missed[0].name


def test_the_median_of_the_turns_counts() -> None:
    found = everything()
    cell = next(each for each in found if each.what.startswith("site") and each.n == 10)
    assert all(bar.ok for bar in held(found | {cell: [1.0, 100.0, 100.0]}).bars)
    assert not all(bar.ok for bar in held(found | {cell: [1.0, 1.0, 100.0]}).bars)


def test_what_was_not_measured_is_missed() -> None:
    assert all(math.isnan(bar.value) and not bar.ok for bar in held({}).bars)


def test_the_sparse_graph_costs_a_site_less_than_the_complete_one() -> None:
    updates, weights = inputs(50, 20)
    codec = FixedPoint(Ring(32), 50, 5.0, 1000)
    sparse, full = (
        our_round(updates, weights, codec, dropped=0, graph=graph) for graph in (shape_of(50), complete(50))
    )
    assert sparse.uplink < full.uplink / 2
    assert sparse.mean == pytest.approx(full.mean, abs=1e-5)


@pytest.mark.parametrize("silent", [0, 2])
def test_both_sides_come_to_the_weighted_mean_of_the_survivors(silent: int) -> None:
    updates, weights = inputs(7, 300)
    there = slice(7 - silent)
    mean = np.average(np.array(updates[there], np.float64), axis=0, weights=weights[there])
    ours = our_round(updates, weights, FixedPoint(Ring(32), 7, 5.0, 1000), dropped=silent)
    assert ours.mean == pytest.approx(mean, abs=1e-5)
    assert ours.uplink > 4 * 300 and ours.server_s > 0 and ours.client_s > 0
    theirs = FlowerRound(updates, weights, threshold=5, masking=7).end(silent)
    assert theirs.mean == pytest.approx(mean, abs=2e-3)
    assert theirs.uplink > 8 * 300 and theirs.server_s > 0 and theirs.client_s > 0


def test_a_round_of_flowers_can_be_ended_twice() -> None:
    updates, weights = inputs(5, 100)
    flower = FlowerRound(updates, weights, threshold=4, masking=5)
    before, after = flower.end(0), flower.end(0)
    flower.end(1)
    assert after.mean == pytest.approx(before.mean, abs=2e-3)


def test_a_tiny_real_run_fills_every_cell_of_its_size() -> None:
    report = Report("secagg", {})
    found = measure(report, 5, 2000, turns=2)
    assert {cell.what for cell in found} == {what for what, *_ in BARS}
    assert all(len(values) == 2 and min(values) > 0 for values in found.values())
    assert "n=5, 1 silent: coordinator, Flower, ms" in report.figures


def test_the_narrow_ring_is_shown_with_its_error() -> None:
    report = Report("secagg", {})
    measure_narrow(report, 5, 3000, turns=1)
    plain, rotated = (
        report.figures[f"n=5, {name}: relative RMSE of the mean"] for name in ("16 bits", "16 bits, rotated")
    )
    assert rotated < plain / 4
    assert any(name.startswith("moonshot, 16 bits rotated") for name in report.figures)


def test_inputs_stay_below_the_clip() -> None:
    updates, weights = inputs(max(SITES), 500)
    assert max(float(np.linalg.norm(update)) for update in updates) < 5.0
    assert len(updates) == len(weights) == 50 and min(weights) >= 1 and max(weights) <= 1000
