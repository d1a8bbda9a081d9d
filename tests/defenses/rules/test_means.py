"""defenses/rules/means.py: closed forms, and iterations on the vectors themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from defenses.base import DefenseError, Surroundings
from defenses.registry import build
from tests.defenses.rounds import aggregated, updates


def test_the_mean_is_the_mean_and_one_attacker_moves_it_anywhere() -> None:
    rows = updates(5, 100)
    np.testing.assert_allclose(aggregated("mean", rows, 0).step, rows.mean(axis=0), atol=1e-6)
    rows[0] = 1e9
    assert (aggregated("mean", rows, 1).step > 1e8).all()


def test_the_geometric_median_of_points_on_a_line_is_their_median() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [30.0, 30.0], [1000.0, 1000.0]], np.float32)
    np.testing.assert_allclose(aggregated("geometric_median", rows, 2).step, [2.0, 2.0], atol=0.02)


def test_the_geometric_median_of_a_symmetric_round_is_its_centre() -> None:
    # Golden round of the facts: byzfl stops after three steps at [3.79, 4.79, 5.79]; converged, it is the middle row.
    rows = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    np.testing.assert_allclose(aggregated("geometric_median", rows, 1).step, [4, 5, 6], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_point_has_a_smaller_sum_of_distances(seed: int) -> None:
    rows = updates(9, 4, seed).astype(np.float64)

    def total(point: np.ndarray) -> float:
        return float(np.linalg.norm(rows - point, axis=1).sum())

    step = aggregated("geometric_median", rows.astype(np.float32), 2).step
    found = minimize(total, rows.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert total(step) <= found.fun + 1e-5


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_small_updates_get_a_geometric_median_and_not_a_mean(scale: float) -> None:
    # byzfl's smoothing of 0.1 makes it the plain mean, silently, as soon as all distances are below.
    rows = np.vstack([updates(9, 50), np.full((3, 50), 40.0, np.float32)]) * np.float32(scale)
    step = aggregated("geometric_median", rows, 3).step
    honest, everybody = rows[:9].mean(axis=0), rows.mean(axis=0)
    assert np.linalg.norm(step - honest) < 0.2 * np.linalg.norm(everybody - honest)


def test_where_most_updates_are_equal_they_are_the_geometric_median() -> None:
    rows = np.vstack([np.ones((4, 6), np.float32), updates(3, 6)])
    np.testing.assert_array_equal(aggregated("geometric_median", rows, 3).step, np.ones(6))


def naive_clipping(rows: np.ndarray, centre: np.ndarray, tau: float, iterations: int) -> np.ndarray:
    for _ in range(iterations):
        away = rows.astype(np.float64) - centre
        norms = np.linalg.norm(away, axis=1)
        radius = tau or np.median(norms)
        centre = centre + (away * np.minimum(1.0, radius / norms)[:, None]).mean(axis=0)
    return centre


@pytest.mark.parametrize(("tau", "iterations"), [(0.0, 1), (0.0, 3), (5.0, 1), (5.0, 4), (1e6, 1)])
def test_centered_clipping_starts_from_the_step_before(tau: float, iterations: int) -> None:
    defense = build([("centered_clipping", {"tau": tau, "iterations": iterations})], n=9, f=2)
    centre = np.zeros(300)
    for round_ in range(4):
        rows = updates(9, 300, seed=round_, shift=0.3)
        centre = naive_clipping(rows, centre, tau, iterations)
        np.testing.assert_allclose(defense.aggregate(rows).step, centre, atol=1e-5)


def test_centered_clipping_refuses_updates_of_another_length_than_its_memory() -> None:
    defense = build([("centered_clipping", {})], n=3, f=1)
    defense.aggregate(updates(3, 10))
    with pytest.raises(DefenseError, match="compares them with a vector of shape"):
        defense.aggregate(updates(3, 11))


def test_norm_clipping_bounds_what_attackers_can_do() -> None:
    rows, f = updates(10, 200), 2
    honest = np.vstack([rows[f:], np.zeros((f, 200), np.float32)])
    rows[:f] = 1e20
    for bound, parameters in ((3.0, {"bound": 3.0}), (float(np.median(np.linalg.norm(rows[f:], axis=1))) * 1.1, {})):
        moved = aggregated("norm_clipping", rows, f, **parameters).step
        still = aggregated("norm_clipping", honest, f, **parameters).step
        assert np.linalg.norm(moved - still) <= 2 * f * bound / 10 * 1.2


def test_norm_clipping_leaves_short_updates_alone() -> None:
    rows = updates(6, 50)
    np.testing.assert_allclose(aggregated("norm_clipping", rows, 1, bound=1e3).step, rows.mean(axis=0), atol=1e-6)
    zero = np.zeros((4, 5), np.float32)
    assert (build([("norm_clipping", {})], n=4, f=1).aggregate(zero, Surroundings()).step == 0).all()
