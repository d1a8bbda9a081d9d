"""defenses/rules/subsets.py: exact searches against looking at every subset."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from defenses.rules.subsets import least_diameter_subset, least_variance_subset
from tests.defenses.rounds import aggregated, updates


def distances2(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return ((wide[:, None] - wide[None]) ** 2).sum(axis=2)


def all_subsets(n: int, f: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(n), n - f))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "f"), [(3, 1), (7, 3), (9, 2), (11, 5), (12, 4)])
@pytest.mark.parametrize("d", [1, 2, 50])
def test_mda_finds_the_first_subset_of_least_diameter(n: int, f: int, seed: int, d: int) -> None:
    apart = distances2(updates(n, d, seed))
    wanted = min(all_subsets(n, f), key=lambda subset: apart[np.ix_(subset, subset)].max())
    assert tuple(least_diameter_subset(apart, f)) == wanted


def test_mda_takes_the_first_of_many_equal_subsets() -> None:
    grid = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    assert least_diameter_subset(distances2(grid), 2).tolist() == [0, 1, 2]
    assert least_diameter_subset(np.zeros((5, 5)), 2).tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["alike", "rings", "random"])
def test_mda_ends_at_the_largest_f_that_it_accepts(kind: str) -> None:
    rng, n, f = np.random.default_rng(0), 70, 30
    if kind == "random":  # no geometry to help the search
        apart = np.triu(rng.random((n, n)), 1)
        apart += apart.T
    elif kind == "rings":
        angle = np.arange(n) / n * 2 * np.pi
        apart = distances2(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    else:
        apart = distances2(rng.standard_normal((n, 500)))
    started = time.process_time()
    assert len(least_diameter_subset(apart, f)) == n - f
    assert time.process_time() - started < 60


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "f"), [(3, 1), (8, 3), (9, 2), (10, 4)])
def test_smea_finds_the_subset_of_least_variance_in_the_worst_direction(n: int, f: int, seed: int) -> None:
    rows = updates(n, 30, seed).astype(np.float64)

    def variance(subset: tuple[int, ...]) -> float:
        part = rows[list(subset)]
        return float(np.linalg.norm(part - part.mean(axis=0), ord=2))

    wanted = min(all_subsets(n, f), key=variance)
    assert tuple(least_variance_subset(rows @ rows.T, f)) == wanted
    step = aggregated("smea", rows.astype(np.float32), f).step
    np.testing.assert_allclose(step, rows[list(wanted)].mean(axis=0), atol=1e-6)


def test_smea_takes_the_first_of_equal_subsets() -> None:
    rows = np.arange(1.0, 10.0).reshape(3, 3)  # byzfl's random start gives one or the other
    assert least_variance_subset(rows @ rows.T, 1).tolist() == [0, 1]


@pytest.mark.parametrize("pivot", [0, 3])
def test_monna_averages_the_neighbourhood_of_its_pivot(pivot: int) -> None:
    rows = updates(9, 60)
    nearest = np.argsort(distances2(rows)[pivot], kind="stable")[:7]
    done = aggregated("monna", rows, 2, pivot=pivot)
    np.testing.assert_allclose(done.step, rows[nearest].mean(axis=0), atol=1e-6)
    assert done.kept[pivot]


@pytest.mark.parametrize("name", ["mda", "smea", "monna"])
def test_golden_round(name: str) -> None:
    rows = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    np.testing.assert_allclose(aggregated(name, rows, 1).step, [2.5, 3.5, 4.5])


@pytest.mark.parametrize("name", ["mda", "smea"])
def test_attackers_outside_the_honest_cloud_are_left_out(name: str) -> None:
    rows = np.vstack([updates(8, 40), updates(3, 40, seed=5, shift=9.0)])
    assert np.flatnonzero(aggregated(name, rows, 3).kept).tolist() == list(range(8))
