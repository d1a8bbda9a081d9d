"""defenses/rules/front.py: each pre-aggregator by its definition, through the mean that follows it or its matrix."""

from __future__ import annotations

import numpy as np
import pytest

from defenses.base import Surroundings
from defenses.gram import gram
from defenses.rules.front import ARC, Clipping, nnm_mixing
from defenses.scene import Scene
from tests.defenses.rounds import aggregated, updates

GOLDEN = np.arange(1, 10, dtype=np.float32).reshape(3, 3)


def scene(rows: np.ndarray, f: int) -> Scene:
    return Scene(list(rows), f, tuple(range(len(rows))), Surroundings(), base=gram(list(rows))[0])


def applied(mixing: np.ndarray, rows: np.ndarray) -> np.ndarray:
    np.testing.assert_allclose(mixing.sum(axis=1), 1.0)
    return mixing[:, : len(rows)] @ rows.astype(np.float64)


def test_nnm_of_the_golden_round() -> None:
    mixing = nnm_mixing(gram(list(GOLDEN))[0].distances2(), 1)
    wanted = [[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]
    np.testing.assert_allclose(mixing @ GOLDEN, wanted)


@pytest.mark.parametrize(("n", "f"), [(5, 0), (9, 2), (20, 9)])
def test_nnm_takes_the_mean_of_the_nearest_itself_among_them(n: int, f: int) -> None:
    rows = updates(n, 40)
    distances2 = gram(list(rows))[0].distances2()
    mixing = nnm_mixing(distances2, f)
    assert ((mixing > 0).sum(axis=1) == n - f).all() and (mixing.diagonal() > 0).all()
    for i in range(n):
        inside, outside = distances2[i][mixing[i] > 0], distances2[i][mixing[i] == 0]
        assert not outside.size or inside.max() <= outside.min()


def test_nnm_keeps_a_row_to_itself_first_even_if_others_are_equal() -> None:
    assert (nnm_mixing(np.zeros((4, 4)), 3) == np.eye(4)).all()


def test_clipping_of_the_golden_round() -> None:
    wanted = [[0.534522, 1.069045, 1.603567], [0.911685, 1.139606, 1.367527], [1.005141, 1.148733, 1.292325]]
    np.testing.assert_allclose(applied(Clipping(2.0).mix(scene(GOLDEN, 1)), GOLDEN), wanted, atol=1e-6)


def test_arc_of_the_golden_round() -> None:
    found = applied(ARC().mix(scene(GOLDEN, 1)), GOLDEN)
    np.testing.assert_allclose(found, [[1, 2, 3], [4, 5, 6], [4.41004, 5.040046, 5.670052]], atol=1e-5)


@pytest.mark.parametrize(("n", "f"), [(5, 0), (7, 3), (10, 2), (20, 9)])
def test_arc_shortens_the_longest_to_the_norm_of_the_next(n: int, f: int) -> None:
    rows = updates(n, 30) * np.linspace(1, 3, n, dtype=np.float32)[:, None]
    norms = np.linalg.norm(applied(ARC().mix(scene(rows, f)), rows), axis=1)
    clipped = int(2 * f / n * (n - f) + 1e-9)
    bound = np.sort(np.linalg.norm(rows, axis=1))[n - clipped - 1]
    np.testing.assert_allclose(norms, np.minimum(np.linalg.norm(rows, axis=1), bound), rtol=1e-5)


def test_clipping_leaves_a_zero_update_alone() -> None:
    rows = np.vstack([np.zeros((1, 6), np.float32), updates(2, 6)])
    assert np.isfinite(applied(Clipping(1.0).mix(scene(rows, 1)), rows)).all()


def test_buckets_hold_everybody_once() -> None:
    rows = updates(11, 20)
    whole = aggregated("bucketing+mean", rows[:10], 2)
    np.testing.assert_allclose(whole.step, rows[:10].mean(axis=0), atol=1e-6)
    assert whole.weights is not None
    np.testing.assert_allclose(aggregated("bucketing+mean", rows, 2).weights.sum(), 1.0)  # type: ignore[union-attr]
