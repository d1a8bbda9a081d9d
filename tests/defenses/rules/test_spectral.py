"""defenses/rules/spectral.py: the d-dimensional algorithms, written out, against the n-dimensional ones."""

from __future__ import annotations

import numpy as np
import pytest

from defenses.rules.spectral import caf_weights
from tests.defenses.rounds import aggregated, surroundings, updates


def naive_caf(rows: np.ndarray, f: int) -> np.ndarray:
    rows, weights, calmest, best = rows.astype(np.float64), np.ones(len(rows)), np.inf, rows.mean(axis=0)
    while weights.sum() > len(rows) - 2 * f:
        mean = weights @ rows / weights.sum()
        away = rows - mean
        values, vectors = np.linalg.eigh((away * weights[:, None]).T @ away / weights.sum())
        if values[-1] < calmest:
            calmest, best = values[-1], mean
        spread = (away @ vectors[:, -1]) ** 2 * (weights > 0)
        weights = weights * (1 - spread / spread.max())
    return best


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "f"), [(5, 1), (11, 3), (12, 5)])
def test_caf_is_the_filter_with_the_exact_eigenvector_of_the_covariance(n: int, f: int, seed: int) -> None:
    rows = updates(n, 25, seed)
    rows[:f] += 4.0
    np.testing.assert_allclose(aggregated("caf", rows, f).step, naive_caf(rows, f), atol=1e-5)


def test_caf_gives_the_same_step_every_time() -> None:
    rows = updates(11, 1000)  # byzfl's differ by 0.1 in norm from call to call
    np.testing.assert_array_equal(aggregated("caf", rows, 3).step, aggregated("caf", rows, 3).step)


@pytest.mark.parametrize("size", [1e10, 1e18, 3e38])
def test_caf_ends_on_constant_vectors_of_any_size(size: float) -> None:
    # Facts 0.5: two such clients hang byzfl's server for good.
    rows = np.vstack([updates(9, 1000), np.full((2, 1000), size, np.float32)])
    done = aggregated("caf", rows, 2)
    assert done.weights is not None and (done.weights[9:] == 0).all()
    assert np.linalg.norm(done.step - rows[:9].mean(axis=0)) < 15


def test_caf_weighs_equal_updates_equally() -> None:
    np.testing.assert_allclose(caf_weights(np.zeros((4, 4)), 1), np.full(4, 0.25))


def naive_dnc(rows: np.ndarray, f: int, drawn: list[np.ndarray]) -> np.ndarray:
    good = set(range(len(rows)))
    for index in drawn:
        part = rows[:, index].astype(np.float64)
        part -= part.mean(axis=0)
        direction = np.linalg.svd(part, full_matrices=False)[2][0]
        outlying = np.argsort((part @ direction) ** 2, kind="stable")
        good &= set(outlying[: len(rows) - f].tolist())
    return rows[sorted(good)].mean(axis=0)


@pytest.mark.parametrize("iterations", [1, 3])
def test_dnc_removes_what_lies_out_in_the_main_direction_of_the_drawn_coordinates(iterations: int) -> None:
    rows = updates(13, 400)
    rows[:2] += 0.8
    rng = np.random.default_rng(7)  # that of `surroundings`
    drawn = [rng.choice(400, 100, replace=False) for _ in range(iterations)]
    done = aggregated("dnc", rows, 2, coordinates=100, iterations=iterations)
    np.testing.assert_allclose(done.step, naive_dnc(rows, 2, drawn), atol=1e-6)
    assert surroundings(rows).rng is not None and not done.kept[:2].any()


def test_dnc_sees_huge_vectors_that_differ_from_each_other_one_at_a_time() -> None:
    rows = updates(9, 50)
    rows[0], rows[1] = 1e18, 3e38
    assert not aggregated("dnc", rows, 2, factor=1.5).kept[1]
