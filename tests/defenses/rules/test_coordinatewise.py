"""defenses/rules/coordinatewise.py: which order statistics each rule asks for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from tests.defenses.rounds import aggregated, updates


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_the_median_is_numpys(n: int) -> None:
    rows = updates(n, 1000)
    np.testing.assert_array_equal(aggregated("median", rows, 0).step, np.median(rows, axis=0))


@pytest.mark.parametrize(("n", "f"), [(5, 0), (10, 1), (10, 4), (20, 4)])
def test_the_trimmed_mean_is_scipys(n: int, f: int) -> None:
    rows = updates(n, 1000)
    wanted = trim_mean(rows.astype(np.float64), (f + 1e-9) / n, axis=0)
    np.testing.assert_allclose(aggregated("trimmed_mean", rows, f).step, wanted, rtol=1e-6, atol=1e-9)


def test_the_golden_round() -> None:
    rows = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(aggregated("median", rows, 1).step, [4, 5, 6])
    np.testing.assert_array_equal(aggregated("trimmed_mean", rows, 1).step, [4, 5, 6])
    np.testing.assert_array_equal(aggregated("meamed", rows, 1).step, [2.5, 3.5, 4.5])


def test_one_fault_costs_a_second_look_and_not_the_round() -> None:
    rows = updates(9, 2000)
    rows[4, 1999] = np.nan
    done = aggregated("median", rows, 2)
    np.testing.assert_array_equal(done.step, np.median(np.delete(rows, 4, axis=0), axis=0))
    assert np.flatnonzero(done.masked).tolist() == [4]


def test_skewed_data_pull_the_median_off_the_mean_as_its_guarantee_says() -> None:
    # Three sites of ten know a class: the median forgets it.
    rows = np.zeros((10, 50), np.float32)
    rows[:3] = 1.0
    assert (aggregated("median", rows, 0).step == 0).all()
