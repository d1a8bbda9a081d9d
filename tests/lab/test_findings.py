"""What is concluded from cells, and what is not where cells are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab.cells import CellStore, Failure
from secure_fl.lab.comparison import CLEAN, UNDEFENDED, Setting
from secure_fl.lab.findings import Entry, Findings, Grade
from secure_fl.lab.results import Results, gather
from secure_fl.lab.statistics import Breakdown, least_p

ALL = {
    ("mean", ""): 0.90, ("mean", "sign_flip"): 0.50, ("mean", "backdoor_patch"): 0.85,
    ("median", ""): 0.89, ("median", "sign_flip"): 0.87, ("median", "backdoor_patch"): 0.80,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    return CellStore(tmp_path / "cells")


def entry(found: Findings, defense: str, attack: str, panel: int = 0) -> Entry:
    return found.panels[panel].entries[defense, attack]


def test_an_entry_with_all_its_seeds_has_a_mean_an_interval_and_a_grade(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    found = entry(gather(lab.comparison(), store, {}).findings, "median", "sign_flip")
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.88)
    assert (found.accuracy.low, found.accuracy.high) == (0.87, 0.89)
    assert found.kept == pytest.approx((0.88 - 0.5) / (0.91 - 0.5))
    assert found.grade is Grade.HOLDS
    assert found.damage is not None
    assert (found.damage.label, found.damage.drop) == (1, pytest.approx(0.13))


def test_one_missing_seed_and_there_is_no_mean_nor_anything_made_of_it(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, ALL)
    gone = next(c for c in grid.cells() if (c.setting.defense, c.setting.attack, c.seed) == ("median", "sign_flip", 2))
    store.path(gone.digest).unlink()
    results = gather(grid, store, {})
    found = entry(results.findings, "median", "sign_flip")
    assert (found.accuracy, found.kept, found.damage, found.versus, found.grade) == (None,) * 5
    assert found.missing == (2,)
    assert sorted(found.measured) == [0, 1]
    assert found.mean(lambda each: each.accuracy) is None
    assert results.findings.incomplete == (found,)
    worst = results.findings.panels[0].worst["median"]
    assert (worst.attack, worst.counted, worst.attacks) == ("backdoor_patch", 1, 2)
    curve = next(c for c in results.findings.curves if (c.defense, c.attack) == ("median", None))
    assert [point.byzantine for point in curve.points] == [0]
    assert results.findings.tests == 1


def test_a_failed_seed_is_told_and_counts_as_not_there(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, {at: value for at, value in ALL.items() if at != ("median", "sign_flip")})
    broken = next(cell for cell in grid.cells() if cell.setting == Setting(1, 0.5, "median", "sign_flip"))
    store.write_failure(broken.scenario, Failure("out of memory"), lab.MADE)
    results = gather(grid, store, {})
    found = entry(results.findings, "median", "sign_flip")
    assert (found.failed, found.missing, found.accuracy) == ({0: "out of memory"}, (1, 2), None)
    assert [str(fault.cell) for fault in results.faults] == [str(broken)]


def test_without_the_clean_baseline_nothing_is_graded(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), {at: value for at, value in ALL.items() if at != ("mean", "")})
    found = gather(lab.comparison(), store, {}).findings
    assert entry(found, "median", "sign_flip").accuracy is not None
    assert entry(found, "median", "sign_flip").grade is None
    assert entry(found, "median", "sign_flip").damage is None
    assert all(curve.breakdown is None for curve in found.curves)


def test_each_defense_is_tested_against_none_under_each_attack_and_corrected_together(
    store: CellStore, lab: Any
) -> None:
    lab.fill(store, lab.comparison(), ALL)
    found = gather(lab.comparison(), store, {}).findings
    tested = {(e.setting.defense, e.setting.attack): e.versus for e in found.entries if e.versus}
    assert tested.keys() == {("median", "sign_flip"), ("median", "backdoor_patch")}
    assert found.tests == 2
    versus = tested["median", "sign_flip"]
    assert versus is not None
    assert versus.difference.mean == pytest.approx(0.37)
    assert (versus.p, versus.adjusted) == (least_p(3), 2 * least_p(3))


def test_the_worst_case_is_over_attacks_and_not_over_the_baseline(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), {**ALL, ("median", ""): 0.1})
    worst = gather(lab.comparison(), store, {}).findings.panels[0].worst
    assert (worst["median"].attack, worst["median"].counted) == ("backdoor_patch", 2)
    assert worst["median"].accuracy.mean == pytest.approx(0.81)
    assert worst[UNDEFENDED].grade is Grade.BROKEN


def test_defenses_are_ranked_by_worst_case_with_no_defense_first(store: CellStore, lab: Any) -> None:
    grid = lab.comparison(defenses=("krum", "median"))
    krum = {("krum", attack): 0.6 for attack in ("", "sign_flip", "backdoor_patch")}
    lab.fill(store, grid, {**ALL, **krum})
    assert gather(grid, store, {}).findings.defenses == (UNDEFENDED, "median", "krum")


def test_a_curve_breaks_where_half_of_what_training_gains_is_lost(store: CellStore, lab: Any) -> None:
    grid = lab.comparison(attacks=("sign_flip",), byzantine=(1, 2))
    for cell in grid.cells():
        hit = bool(cell.setting.attack) and cell.setting.byzantine == 2
        values = {(cell.setting.defense, cell.setting.attack): 0.55 if hit else 0.9}
        one = lab.comparison(attacks=("sign_flip",), byzantine=(cell.setting.byzantine,))
        lab.fill(store, one, values)
    found = gather(grid, store, {}).findings
    curve = next(c for c in found.curves if (c.defense, c.attack) == ("median", "sign_flip"))
    assert [point.byzantine for point in curve.points] == [0, 1, 2]
    assert curve.breakdown == Breakdown(1, 2)


def test_a_refused_entry_is_neither_missing_nor_measured(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, ALL)
    refused = {Setting(1, 0.5, "median", attack): "too few" for attack in grid.attacks}
    results = gather(grid, store, refused)
    found = entry(results.findings, "median", CLEAN)
    assert (found.refusal, found.accuracy, dict(found.measured)) == ("too few", None, {})
    assert results.findings.incomplete == ()
    assert "median" not in results.findings.panels[0].worst


def test_cells_of_one_seed_with_different_images_are_not_called_paired(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, ALL)
    assert gather(grid, store, {}).paired
    cell = next(iter(grid.cells()))
    store.write_outcome(lab.outcome(cell.scenario, data="others"), lab.MADE)
    results: Results = gather(grid, store, {})
    assert not results.paired
    assert results.data[0.5, 0] == ("d", "others")


def test_nothing_at_all_is_no_error(store: CellStore, lab: Any) -> None:
    found = gather(lab.comparison(), store, {}).findings
    assert len(found.incomplete) == 6
    assert (found.tests, found.panels[0].worst, found.chance) == (0, {}, 0.0)
