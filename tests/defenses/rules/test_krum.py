"""defenses/rules/krum.py against loops that follow the papers line by line."""

from __future__ import annotations

import numpy as np
import pytest

from defenses.rules.krum import bulyan_selection, krum_scores
from tests.defenses.rounds import aggregated, updates


def naive_scores(rows: np.ndarray, neighbours: int) -> list[float]:
    wide = rows.astype(np.float64)
    scores = []
    for i in range(len(wide)):
        distances = sorted(float(((wide[i] - wide[j]) ** 2).sum()) for j in range(len(wide)) if j != i)
        scores.append(sum(distances[:neighbours]))
    return scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "f"), [(3, 0), (5, 1), (7, 2), (20, 6), (30, 13)])
def test_krum_and_multi_krum_pick_the_best_scores_of_n_minus_f_minus_2_neighbours(n: int, f: int, seed: int) -> None:
    rows = updates(n, 200, seed)
    order = np.argsort(naive_scores(rows, n - f - 2), kind="stable")
    np.testing.assert_array_equal(aggregated("krum", rows, f).step, rows[order[0]])
    many = aggregated("multi_krum", rows, f)
    np.testing.assert_allclose(many.step, rows[order[: n - f]].mean(axis=0), atol=1e-6)
    assert set(np.flatnonzero(many.kept)) == set(order[: n - f])


def test_golden_scores_of_the_facts_with_byzfls_count_of_neighbours() -> None:
    # x = [[1,2,3],[4,5,6],[7,8,9]], f=1, n − f − 1 neighbours: a tie that the lowest row wins.
    rows = np.arange(1.0, 10.0).reshape(3, 3)
    distances2 = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    scores = krum_scores(distances2, 1)
    assert scores.tolist() == [27.0, 27.0, 27.0] and int(np.argmin(scores)) == 0


def test_of_equal_scores_the_lower_row_wins() -> None:
    rows = np.array([[0.0], [1.0], [10.0], [11.0], [5.0]], np.float32)
    assert np.flatnonzero(aggregated("krum", rows, 1).kept).tolist() == [1]
    same = np.ones((6, 4), np.float32)
    assert np.flatnonzero(aggregated("krum", same, 1).kept).tolist() == [0]


@pytest.mark.parametrize(("n", "f"), [(3, 0), (7, 1), (11, 2), (20, 4)])
def test_bulyan_is_iterated_krum_and_then_the_values_around_the_median(n: int, f: int) -> None:
    rows = updates(n, 150, seed=n)
    left, picked = list(range(n)), []
    while len(picked) < n - 2 * f:
        scores = naive_scores(rows[left], max(len(left) - f - 2, 1))
        picked.append(left.pop(int(np.argmin(scores))))
    distances2 = ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=2)
    assert bulyan_selection(distances2, f).tolist() == picked
    chosen = np.sort(rows[picked].astype(np.float64), axis=0)
    nearest = np.argsort(np.abs(chosen - np.median(chosen, axis=0)), axis=0, kind="stable")[: n - 4 * f]
    wanted = np.take_along_axis(chosen, nearest, axis=0).mean(axis=0)
    done = aggregated("bulyan", rows, f)
    np.testing.assert_allclose(done.step, wanted, atol=1e-6)
    assert sorted(np.flatnonzero(done.kept)) == sorted(picked)


def test_krum_breaks_where_its_guarantee_says_so_one_site_stands_for_all_under_skewed_data() -> None:
    # Two groups of honest sites: Krum returns one of the larger group and forgets the other.
    rows = np.vstack([updates(6, 100), updates(5, 100, seed=1, shift=20.0)])
    assert np.abs(aggregated("krum", rows, 0).step - rows.mean(axis=0)).min() > 4
