"""benchmarks/aggregators.py: how bars come about, and a tiny real run of every peer.

Whether the bars are cleared is for the benchmark itself to say.
"""

from __future__ import annotations

import math

import pytest

from benchmarks.aggregators import BARS, LARGE, Ratios, hold, measure
from benchmarks.report import Report


def everything(ratio: float = 100.0, reads: float = 1.0) -> Ratios:
    found: Ratios = {
        (rule, peer, 20, LARGE): [ratio, ratio * 2, ratio / 2] for rules, peer, *_ in BARS for rule in rules
    }
    return found | {(rule, "read", 20, LARGE): [reads] for rule in ("median", "trimmed_mean")}


def held(found: Ratios, peak_gb: float = 2.0) -> dict[str, bool]:
    report = Report("aggregators", {})
    hold(report, found, peak_gb)
    return {bar.name: bar.ok for bar in report.bars}


def test_all_bars_are_cleared_by_large_ratios() -> None:
    assert all(held(everything()).values())


def test_the_median_of_the_worst_cell_counts() -> None:
    report = Report("aggregators", {})
    hold(report, everything() | {("nnm", "byzfl", 50, 80_000): [7.0, 1.0, 90.0]}, 1.0)
    (bar,) = [bar for bar in report.bars if bar.name.startswith("nnm: byzfl")]
    assert bar.value == 7.0 and "n=50, d=80000" in bar.name


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (("median", "flower", 50, 80_000), "median: flower"),
        (("krum", "byzfl", 10, LARGE), "krum: byzfl"),
        (("caf", "byzfl", 50, LARGE), "caf: byzfl"),
        (("bulyan", "flower", 10, 80_000), "bulyan: flower"),
    ],
)
def test_a_slow_cell_misses_its_bar_and_no_other(cell: tuple, name: str) -> None:
    missed = [bar for bar, ok in held(everything() | {cell: [1.0]}).items() if not ok]
    assert len(missed) == 1 and missed[0].startswith(name)


def test_cells_for_which_no_bar_was_set_miss_none() -> None:
    found = everything() | {("krum", "byzfl", 50, LARGE): [1.0], ("caf", "byzfl", 10, 80_000): [1.0]}
    assert all(held(found).values())


def test_what_was_not_measured_is_missed_and_so_are_memory_and_reads_above_the_bar() -> None:
    report = Report("aggregators", {})
    hold(report, {}, 3.1)
    assert not any(bar.ok for bar in report.bars)
    assert sum(math.isnan(bar.value) for bar in report.bars) == len(report.bars) - 1
    assert sum(not ok for ok in held(everything(reads=1.6)).values()) == 2


def test_a_tiny_real_run_shows_every_peer() -> None:
    report = Report("aggregators", {})
    found = measure(report, 8, 500, turns=2, peers=("byzfl", "flower"))
    shown = {(rule, peer) for rule, peer, _, _ in found}
    assert {(rule, peer) for rules, peer, *_ in BARS for rule in rules} <= shown
    assert all(ratio > 0 for ratios in found.values() for ratio in ratios)
    assert "n=8, d=500, median: reads of the data" in report.figures
