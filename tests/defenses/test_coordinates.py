"""defenses/coordinates.py, both kinds of kernels: against NumPy's sort in float64, against each other to the bit."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from defenses import compiled, portable
from defenses.coordinates import NotFiniteError, closest_mean, mixed_chunks, order_mean
from tests.defenses.rounds import updates

KERNELS = (compiled, portable)
LARGEST = float(np.finfo(np.float32).max)
any_float = st.floats(-LARGEST, LARGEST, width=32)


def naive_order_mean(rows: np.ndarray, low: int, high: int) -> np.ndarray:
    ordered = np.sort(rows.astype(np.float64), axis=0)[low:high]
    return (np.add.reduce(ordered, axis=0) / (high - low)).astype(np.float32)


def naive_closest_mean(rows: np.ndarray, count: int) -> np.ndarray:
    wide = np.sort(rows.astype(np.float64), axis=0)
    median = np.median(wide, axis=0)
    nearest = np.argsort(np.abs(wide - median), axis=0, kind="stable")[:count]
    return np.take_along_axis(wide, nearest, axis=0).mean(axis=0).astype(np.float32)


def run(kernels: ModuleType, rows: np.ndarray, *, low: int = 0, high: int = 0, count: int = 0) -> np.ndarray:
    n, out = len(rows), np.empty(rows.shape[1], np.float32)
    kernel = kernels.closest_mean_kernel(n, count) if count else kernels.order_mean_kernel(n, low, high)
    assert kernel(list(rows), out)
    return out


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 11, 20, 33])
@pytest.mark.parametrize("d", [1, 7, 8, 9, 1001])
def test_means_of_order_statistics_are_those_of_numpys_sort(kernels: ModuleType, n: int, d: int) -> None:
    rows = updates(n, d, seed=n + d)
    for f in {0, (n - 1) // 4, (n - 1) // 2}:
        np.testing.assert_array_equal(run(kernels, rows, low=f, high=n - f), naive_order_mean(rows, f, n - f))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 11, 20])
def test_means_around_the_median_are_those_of_a_sort_by_distance(kernels: ModuleType, n: int) -> None:
    rows = updates(n, 777, seed=n)
    for count in {1, max(n // 3, 1), (n + 1) // 2, n - n // 4, n}:
        found = run(kernels, rows, count=count)
        np.testing.assert_allclose(found, naive_closest_mean(rows, count), rtol=2e-7, atol=1e-30)


def test_a_median_is_numpys_median_also_for_an_even_number() -> None:
    for n in (9, 10):
        rows = updates(n, 5000)
        np.testing.assert_array_equal(order_mean(list(rows), (n - 1) // 2, n // 2 + 1), np.median(rows, axis=0))


@given(rows=arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 40)), elements=any_float))
def test_both_kinds_of_kernels_give_the_same_bits_whatever_the_finite_values(rows: np.ndarray) -> None:
    n = len(rows)
    f = (n - 1) // 2
    for wanted in ({"low": f, "high": n - f}, {"low": f // 2, "high": n}, {"count": n - f}, {"count": 1}):
        one, other = (run(kernels, rows, **wanted) for kernels in KERNELS)
        assert one.tobytes() == other.tobytes()
        assert np.isfinite(one).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 5, 8, 20])
def test_a_single_value_that_is_not_finite_is_reported(kernels: ModuleType, value: float, column: int) -> None:
    rows, out = updates(5, 21), np.empty(21, np.float32)
    rows[3, column] = value
    assert not kernels.order_mean_kernel(5, 1, 4)(list(rows), out)
    assert not kernels.closest_mean_kernel(5, 3)(list(rows), out)


@pytest.mark.parametrize("kernels", KERNELS)
def test_equal_rows_come_back_unchanged_and_the_largest_floats_do_not_overflow(kernels: ModuleType) -> None:
    rows = np.tile(updates(1, 100), (7, 1))
    rows[:, 0], rows[:, 1] = LARGEST, -LARGEST
    np.testing.assert_array_equal(run(kernels, rows, low=0, high=7), rows[0])
    np.testing.assert_array_equal(run(kernels, rows, count=5), rows[0])


def test_an_outlier_leaves_no_rounding_in_a_mean_around_the_median() -> None:
    rows = updates(9, 50)
    with_outliers = np.vstack([rows, np.full((2, 50), 1e30, np.float32)])
    assert np.abs(closest_mean(list(with_outliers), 9)).max() < 10


@pytest.mark.parametrize("n", [6, 11])
def test_a_mixing_matrix_is_applied_before_the_rule(n: int) -> None:
    rows, mixing = updates(n, 3000), np.random.default_rng(1).dirichlet(np.ones(n), size=5)
    mixed = (mixing.astype(np.float32) @ rows).astype(np.float32)
    np.testing.assert_allclose(order_mean(list(rows), 1, 4, mixing), naive_order_mean(mixed, 1, 4), atol=2e-6)
    np.testing.assert_allclose(closest_mean(list(rows), 4, mixing), naive_closest_mean(mixed, 4), atol=2e-5)


def test_mixing_the_largest_floats_stays_finite() -> None:
    rows = [np.full(9, LARGEST, np.float32)] * 3
    ((_, _, values),) = mixed_chunks(rows, np.full((2, 3), 1 / 3 + 1e-7))
    assert np.isfinite(values).all()


def test_a_fault_is_an_error_of_its_own_kind() -> None:
    with pytest.raises(NotFiniteError):
        order_mean([np.full(9, np.nan, np.float32)], 0, 1)


def test_more_rows_than_are_compiled_for_fall_back_to_numpy() -> None:
    rows = updates(101, 64)
    np.testing.assert_array_equal(order_mean(list(rows), 50, 51), np.median(rows, axis=0))
