"""defenses/gram.py: distances in float64 are the oracle, in the cases where float32 norms cancel or overflow."""

from __future__ import annotations

import numpy as np
import pytest

from defenses.gram import ORIGIN, REFERENCE, Gram, gram, plain_gram
from tests.defenses.rounds import updates


@pytest.fixture(autouse=True, params=["compiled", "portable"])
def both_kinds_of_products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with the compiled products, and as on a machine without llvmlite."""
    if request.param == "portable":
        monkeypatch.setattr("defenses.gram._compiled", lambda: None)


def exact_distances2(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return ((wide[:, None] - wide[None]) ** 2).sum(axis=2)


def assert_close(found: np.ndarray, wanted: np.ndarray, rtol: float = 1e-5) -> None:
    off_diagonal = ~np.eye(len(wanted), dtype=bool)
    # Rounding is measured by the cloud, not by a pair that happens to be near.
    atol = 1e-6 * float(np.median(wanted[off_diagonal])) if len(wanted) > 1 else 0.0
    np.testing.assert_allclose(found[off_diagonal], wanted[off_diagonal], rtol=rtol, atol=atol)
    assert (found.diagonal() == 0).all()


@pytest.mark.parametrize("n", [1, 2, 5, 11, 40])
@pytest.mark.parametrize("d", [1, 3, 257, 20_000])
def test_distances_are_those_of_float64(n: int, d: int) -> None:
    rows = updates(n, d, seed=n * d)
    space, masked = gram(list(rows))
    assert_close(space.distances2(), exact_distances2(rows), rtol=1e-4)
    assert not masked.any()


@pytest.mark.parametrize("n", [20, 30, 60])
def test_small_differences_of_large_vectors_keep_their_digits(n: int) -> None:
    # Facts 0.2 and 0.3: ‖w‖² = 1e3, squared distances of 1e-3; float32 norms give negative ones.
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal(5000) * np.sqrt(0.2) + rng.standard_normal((n, 5000)) * 3e-4).astype(np.float32)
    naive = (rows**2).sum(axis=1)
    assert (naive[:, None] + naive[None] - 2 * rows @ rows.T < 0).any()
    assert_close(gram(list(rows))[0].distances2(), exact_distances2(rows), rtol=1e-3)


@pytest.mark.parametrize("size", [1e6, 1e18, 3e38])
def test_far_rows_cost_the_near_ones_no_digits(size: float) -> None:
    rows = updates(9, 4000)
    hostile = np.vstack([np.full((2, 4000), size, np.float32), rows, np.full((2, 4000), -size, np.float32)])
    found = gram(list(hostile))[0].distances2()
    assert np.isfinite(found).all()
    assert_close(found[2:11, 2:11], exact_distances2(rows))
    np.testing.assert_allclose(found[0, 12], 4000 * (2 * float(np.float32(size))) ** 2, rtol=1e-5)


def test_attackers_who_pull_the_centre_away_are_noticed() -> None:
    # Zero vectors are the shortest rows, so they would be the centre while the honest sit far off and close together.
    rng = np.random.default_rng(1)
    honest = (rng.standard_normal(3000) * 10 + rng.standard_normal((6, 3000)) * 1e-3).astype(np.float32)
    rows = np.vstack([np.zeros((5, 3000), np.float32), honest])
    assert_close(gram(list(rows))[0].distances2()[5:, 5:], exact_distances2(honest), rtol=1e-4)


def test_tiny_updates_do_not_vanish() -> None:
    rows = updates(5, 1000) * np.float32(1e-25)
    assert_close(gram(list(rows))[0].distances2(), exact_distances2(rows))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 700, 999])
def test_a_row_that_is_not_finite_is_masked_and_the_others_are_as_without_it(value: float, column: int) -> None:
    rows = updates(6, 1000)
    rows[2, column] = value
    space, masked = gram(list(rows))
    assert masked.tolist() == [False, False, True, False, False, False]
    assert_close(space.distances2(), exact_distances2(np.delete(rows, 2, axis=0)))


def test_a_row_that_fails_in_a_late_chunk_is_masked_as_a_whole() -> None:
    rows = updates(4, 400_000)
    rows[1, -1] = np.nan
    space, masked = gram(list(rows))
    assert masked.tolist() == [False, True, False, False]
    assert_close(space.distances2(), exact_distances2(rows[[0, 2, 3]]), rtol=1e-4)


def test_from_the_origin_it_is_the_plain_gram_matrix() -> None:
    rows = updates(7, 500, shift=0.5)
    wide = rows.astype(np.float64)
    space, _ = gram(list(rows))
    np.testing.assert_allclose(space.around(ORIGIN), wide @ wide.T, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(space.distances2_to(ORIGIN), (wide**2).sum(axis=1), rtol=1e-5)


def test_a_point_that_the_rule_brings_can_be_looked_from_and_along() -> None:
    rows, point = updates(7, 500), updates(1, 500, seed=9)[0]
    space, _ = gram(list(rows), point)
    wide, far = rows.astype(np.float64), point.astype(np.float64)
    np.testing.assert_allclose(space.around(REFERENCE), (wide - far) @ (wide - far).T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(space.along(REFERENCE), wide @ far, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(space.norm2_of(REFERENCE), far @ far, rtol=1e-5)
    np.testing.assert_allclose(space.distances2_to(REFERENCE), ((wide - far) ** 2).sum(axis=1), rtol=1e-5)


def test_centred_products_are_those_of_the_rows_minus_their_mean() -> None:
    rows = updates(8, 300, shift=3.0)
    wide = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(gram(list(rows))[0].centred(), wide @ wide.T, atol=1e-3)


def test_the_gram_of_a_mixture_is_the_mixture_of_the_gram() -> None:
    rows, mixing = updates(6, 400), np.random.default_rng(3).dirichlet(np.ones(7), size=4)
    mixed = mixing[:, :6] @ rows.astype(np.float64)  # the seventh point is the origin
    space = gram(list(rows))[0].mixed(mixing)
    np.testing.assert_allclose(space.distances2(), exact_distances2(mixed), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(space.distances2_to(ORIGIN), (mixed**2).sum(axis=1), rtol=1e-4)


def test_around_the_origin_a_hostile_majority_costs_no_digits_of_norms_and_directions() -> None:
    rows, point = updates(2, 3000), updates(1, 3000, seed=4)[0]
    hostile = np.vstack([rows, np.full((7, 3000), 1e12, np.float32)])
    space, masked = plain_gram(list(hostile), point)
    assert not masked.any()
    np.testing.assert_allclose(space.distances2_to(ORIGIN)[:2], (rows.astype(np.float64) ** 2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(space.along(REFERENCE)[:2], rows.astype(np.float64) @ point, rtol=1e-4, atol=1e-3)


def test_equal_rows_have_no_distance_and_none_is_negative() -> None:
    same = np.tile(updates(1, 3001, shift=100.0), (5, 1))
    assert isinstance(gram(list(same))[0], Gram)
    assert (gram(list(same))[0].distances2() >= 0).all()
    assert gram(list(same))[0].distances2().max() < 1e-6
